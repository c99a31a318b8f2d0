"""Folders of pictures: what 8 bits hold is read exactly, all else is refused by name."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from addax.models import data
from image_files import NPZ, npy_bytes, pixels, refused, write_classes

NPY = npy_bytes(pixels(1)[0])


@pytest.mark.parametrize(
    "content",
    [*[NPY[:cut] for cut in (0, 5, 20, len(NPY) - 1)], b"text", NPZ, NPZ[:50], npy_bytes(np.zeros((4, 5)))],
    ids=["empty", "magic", "header", "cut", "text", "npz", "cut-npz", "float"],
)
def test_broken_image_in_a_class_folder_is_refused(tmp_path, content):
    source = write_classes(tmp_path, {"a": [content]})

    with refused(tmp_path):
        data.load(source, "train")


def test_images_of_different_sizes_are_refused_by_name(tmp_path):
    source = write_classes(tmp_path, {"a": [pixels(1)[0]], "b": [pixels(1)[0], pixels(1, width=6)[0]]})

    with refused("b/1.npy", "(4, 6)", "a/0.npy", "(4, 5)", "sizes must agree"):
        data.load(source, "train")


def test_image_that_needs_pillow_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "photo.jpeg").write_bytes(b"\xff\xd8\xff")

    with refused("photo.jpeg", "pillow"):
        data.load(str(tmp_path), "train")


def save(folder, image, name="0.png", **options):
    (folder / "c0").mkdir(exist_ok=True)
    image.save(folder / "c0" / name, **options)
    return str(folder)


GREY = pixels(1)[0]
COLOUR = pixels(1, channels=3)[0]
OPAQUE = np.concatenate([COLOUR, np.full((4, 5, 1), 255, np.uint8)], axis=2)


@pytest.mark.parametrize(
    ("array", "mode", "name", "expected"),
    [
        (GREY, "L", "0.png", GREY[None]),
        (COLOUR, "RGB", "0.png", COLOUR.transpose(2, 0, 1)),
        (OPAQUE, "RGBA", "0.png", COLOUR.transpose(2, 0, 1)),
        (np.stack([GREY, np.full_like(GREY, 255)], 2), "LA", "0.png", GREY[None]),
        (GREY > 99, "1", "0.png", np.where(GREY > 99, 255, 0)[None]),
        (GREY.astype(np.uint16) * 257, "I;16", "0.png", GREY[None]),
        (GREY.astype(np.uint16) * 257, "I;16", "0.tiff", GREY[None]),
        (COLOUR, "RGB", "0.tiff", COLOUR.transpose(2, 0, 1)),
        (COLOUR, "RGB", "0.ppm", COLOUR.transpose(2, 0, 1)),
        (COLOUR, "RGB", "0.bmp", COLOUR.transpose(2, 0, 1)),
    ],
    ids=["grey", "colour", "opaque", "opaque-grey", "bits", "16", "16-tiff", "tiff", "ppm", "bmp"],
)
def test_images_that_8_bits_hold_are_read_exactly(tmp_path, array, mode, name, expected):
    from PIL import Image

    image = Image.fromarray(array)
    assert image.mode == mode

    assert np.array_equal(data.load(save(tmp_path, image, name), "test").x[0], expected)


def test_palettes_are_looked_up(tmp_path):
    from PIL import Image

    image = Image.fromarray(COLOUR).quantize(20)
    assert image.mode == "P"

    found = data.load(save(tmp_path, image), "test").x[0]

    assert np.array_equal(found, np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def png16(colours):
    """A PNG of one pixel with 16 bits per channel, which Pillow would cut to 8 without a word."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 1, 1, 16, {3: 2, 4: 6, 2: 4}[colours], 0, 0, 0)
    rows = zlib.compress(b"\0" + b"\x12\x34" * colours)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def encoded(array, form, mode=None, **options):
    from PIL import Image

    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, form, **options)
    return buffer.getvalue()


def picture(array):
    from PIL import Image

    return Image.fromarray(array)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: encoded(np.full((4, 5), 1000, np.uint16), "png"), "16 bits, up to 1000, which 8 do not hold"),
        (lambda: encoded(np.full((4, 5), 1000, np.uint16), "tiff"), "16 bits, up to 1000"),
        (lambda: png16(3), "channels (RGB) have 16 bits"),
        (lambda: png16(4), "channels (RGBA) have 16 bits"),
        (lambda: png16(2), "have 16 bits"),
        (lambda: b"P6 1 1 65535\n" + bytes(6), "channels (RGB) have 16 bits"),
        (lambda: encoded(np.zeros((4, 5), np.int32), "tiff"), "mode I, not one of"),
        (lambda: encoded(np.zeros((4, 5), np.float32), "tiff"), "mode F, not one of"),
        (lambda: encoded(COLOUR, "jpeg", "CMYK"), "mode CMYK, not one of"),
        (lambda: encoded(np.zeros((4, 5, 4), np.uint8), "png"), "transparent pixels (mode RGBA)"),
        (lambda: encoded(COLOUR, "gif", save_all=True, append_images=[picture(255 - COLOUR)]),
         "holds 2 pictures"),
        (lambda: EPS, "cannot identify image file"),
        (lambda: encoded(COLOUR, "png")[:-30], "cannot read image"),
        (lambda: b"", "cannot read image"),
    ],
    ids=["16", "16-tiff", "16-rgb", "16-rgba", "16-la", "16-ppm", "32", "float", "cmyk", "transparent", "film", "eps",
         "cut", "empty"],
)  # fmt: skip
def test_images_that_8_bits_do_not_hold_are_refused_by_name(tmp_path, content, message):
    """An EPS image is a program, which Pillow would hand to Ghostscript."""
    (tmp_path / "c0").mkdir()
    (tmp_path / "c0" / "0.png").write_bytes(content())

    with refused("c0/0.png", message):
        data.load(str(tmp_path), "test")


def bomb_png(side):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9000, 20_000])
def test_an_image_that_fills_the_memory_is_refused(tmp_path, side):
    """Below and above what Pillow refuses by itself."""
    (tmp_path / "c0").mkdir()
    (tmp_path / "c0" / "0.png").write_bytes(bomb_png(side))

    with refused("cannot read image", "c0/0.png"):
        data.load(str(tmp_path), "test")
