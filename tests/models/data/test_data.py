"""Data sets: the pixels of the embedded digits, every file format, and one clear line for every broken file."""

import contextlib
import gzip
import io
import os
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.models import data
from sklearn.datasets import load_digits

MNIST = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "mnist"


def pixels(count=6, height=4, width=5, channels=None, seed=0):
    shape = (count, height, width) if channels is None else (count, height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def idx(array):
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def write_idx(folder, images, labels, *, split="train", suffix=""):
    """``images`` and ``labels`` are arrays, or the bytes of broken files."""
    folder.mkdir(exist_ok=True)
    for name, value in ((f"{split}-images-idx3-ubyte", images), (f"{split}-labels-idx1-ubyte", labels)):
        content = value if isinstance(value, bytes) else idx(value)
        packed = gzip.compress(content) if suffix and not isinstance(value, bytes) else content
        (folder / f"{name}{suffix}").write_bytes(packed)
    return str(folder)


def write_classes(folder, classes):
    """``classes`` maps folder names to lists of arrays, or of the bytes of broken files."""
    for name, images in classes.items():
        (folder / name).mkdir(parents=True)
        for index, image in enumerate(images):
            path = folder / name / f"{index}.npy"
            if isinstance(image, bytes):
                path.write_bytes(image)
            else:
                np.save(path, image)
    return str(folder)


def write_npz(path, **arrays):
    np.savez_compressed(path, **arrays)
    return str(path)


@contextlib.contextmanager
def refused(*parts):
    """A user error in one line that holds all ``parts``."""
    with pytest.raises(UserError) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


def test_digits_are_split_without_overlap_and_alike():
    """1,437 images to train, 360 to test, every digit with its share in both."""
    train, test = data.load("digits", "train"), data.load("digits", "test")

    assert (len(train), len(test)) == (1437, 360)
    assert train.shape == test.shape == (1, 16, 16)
    everything = np.bincount(load_digits().target)
    assert np.array_equal(np.bincount(train.y) + np.bincount(test.y), everything)
    assert np.abs(np.bincount(test.y) - everything * 360 / 1797).max() < 1


def test_digits_are_scaled_by_sixteen_and_repeated():
    """Grey level v of 0..16 becomes min(255, 16 v), so that all 256 pixel values stay free of rounding."""
    raw = {(image.tobytes(), label) for image, label in zip(load_digits().images, load_digits().target, strict=True)}
    seen = set()
    for split in ("train", "test"):
        images = data.load("digits", split)
        assert images.x.dtype == np.uint8 and images.y.dtype == np.int64
        small = images.x[:, 0, ::2, ::2]
        assert np.array_equal(images.x[:, 0], small.repeat(2, axis=1).repeat(2, axis=2))
        assert set(np.unique(small)) == {min(255, 16 * v) for v in range(17)}
        levels = np.where(small == 255, 16, small // 16).astype(np.float64)
        seen |= {(image.tobytes(), label) for image, label in zip(levels, images.y, strict=True)}
    assert seen == raw


def test_digits_come_in_the_same_order_every_time():
    first, second = data.load("digits", "test"), data.load("digits", "test")

    assert np.array_equal(first.x, second.x) and np.array_equal(first.y, second.y)


@pytest.mark.parametrize(("shape", "factor"), [((1, 8, 8), 1), ((1, 32, 32), 4)])
def test_digits_are_enlarged_to_the_shape_of_the_network(shape, factor):
    images, small = data.load("digits", "test", shape=shape), data.load("digits", "test", shape=(1, 8, 8))

    assert images.shape == shape
    assert np.array_equal(images.x, small.x.repeat(factor, axis=2).repeat(factor, axis=3))


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 16, 8), (1, 28, 28), (1, 12, 12)])
def test_digits_refuse_other_shapes(shape):
    with refused("digits are 8x8 grey images", "x".join(map(str, shape))):
        data.load("digits", "test", shape=shape)


def test_head_takes_the_first_images_or_all():
    images = data.Images(x=pixels(5)[:, None], y=np.arange(5))

    assert images.head(2).y.tolist() == [0, 1] and np.array_equal(images.head(2).x, images.x[:2])
    assert images.head(None) is images
    assert len(images.head(99)) == 5


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(("split", "name"), [("train", "train"), ("test", "t10k")])
def test_idx_files_are_read(tmp_path, suffix, split, name):
    x, y = pixels(), np.array([3, 1, 4, 1, 5, 9], np.uint8)

    images = data.load(write_idx(tmp_path / "set", x, y, split=name, suffix=suffix), split)

    assert np.array_equal(images.x, x[:, None])
    assert images.y.tolist() == y.tolist() and images.y.dtype == np.int64


def test_plain_idx_file_goes_before_the_packed_one(tmp_path):
    write_idx(tmp_path / "set", pixels(seed=1), np.zeros(6, np.uint8), suffix=".gz")
    source = write_idx(tmp_path / "set", pixels(seed=2), np.ones(6, np.uint8))

    images = data.load(source, "train")

    assert np.array_equal(images.x[:, 0], pixels(seed=2)) and images.y.all()


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_npz_is_read_with_channels_first(tmp_path, channels):
    x = pixels(channels=channels)
    source = write_npz(tmp_path / "set.npz", train_x=pixels(2, channels=channels), train_y=np.zeros(2, np.int32),
                       test_x=x, test_y=np.arange(6, dtype=np.uint8))  # fmt: skip

    images = data.load(source, "test")

    assert images.shape == (channels or 1, 4, 5)
    assert np.array_equal(images.x.transpose(0, 2, 3, 1), x.reshape(6, 4, 5, -1))
    assert images.x.flags.c_contiguous
    assert images.y.tolist() == list(range(6))


def test_class_folders_are_read_in_the_order_of_their_names(tmp_path):
    x = pixels(5, channels=3)
    source = write_classes(tmp_path, {"train/b": [x[2]], "train/a": [x[0], x[1]], "test/a": [x[3]], "test/b": [x[4]]})

    train, test = data.load(source, "train"), data.load(source, "test")

    assert train.y.tolist() == [0, 0, 1] and test.y.tolist() == [0, 1]
    assert np.array_equal(train.x, x[:3].transpose(0, 3, 1, 2))
    assert np.array_equal(test.x, x[3:].transpose(0, 3, 1, 2))


def test_class_folders_without_splits_serve_both(tmp_path):
    source = write_classes(tmp_path, {"cat": [pixels(1)[0]], "dog": [pixels(2)[1]]})

    for split in data.SPLITS:
        assert data.load(source, split).y.tolist() == [0, 1]


def test_shape_that_fits_is_accepted_and_another_is_refused(tmp_path):
    source = write_npz(tmp_path / "set.npz", train_x=pixels(), train_y=np.zeros(6, int))

    assert data.load(source, "train", shape=(1, 4, 5)).shape == (1, 4, 5)
    with refused("set.npz", "1x4x5", "3x4x5"):
        data.load(source, "train", shape=(3, 4, 5))


def test_mnist_is_read():
    """The real files: sizes, and the labels that everybody knows."""
    if not (MNIST / "t10k-images-idx3-ubyte.gz").is_file():
        pytest.skip("shared/data/mnist/t10k-images-idx3-ubyte.gz is missing beside the repository")

    test = data.load(str(MNIST), "test", shape=(1, 28, 28))

    assert len(test) == 10_000
    assert test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert (int(test.x.min()), int(test.x.max())) == (0, 255)


def test_unknown_split_is_refused():
    with refused("split must be one of train, test, not 'validation'"):
        data.load("digits", "validation")


@pytest.mark.parametrize("name", ["mnist", "gone.npz", "gone/", "set.txt"])
def test_unknown_source_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set.txt").write_text("text")

    with refused("no data at", name, "expected 'digits'"):
        data.load(name, "train")


def test_empty_folder_is_refused(tmp_path):
    with refused("no data in", tmp_path):
        data.load(str(tmp_path), "train")


def test_missing_split_of_class_folders_is_refused(tmp_path):
    source = write_classes(tmp_path, {"train/a": [pixels(1)[0]]})

    with refused("no data in", tmp_path):
        data.load(source, "test")


def test_images_without_labels_are_refused(tmp_path):
    source = write_idx(tmp_path / "set", pixels(), np.zeros(6, np.uint8))
    (tmp_path / "set" / "train-labels-idx1-ubyte").unlink()

    with refused("no data in", "set"):
        data.load(source, "train")


def test_set_without_images_is_refused(tmp_path):
    source = write_npz(tmp_path / "set.npz", train_x=pixels(0), train_y=np.zeros(0, int))

    with refused("train split", "set.npz", "holds no images"):
        data.load(source, "train")


GOOD_X, GOOD_Y = idx(pixels()), idx(np.zeros(6, np.uint8))
PACKED = gzip.compress(idx(pixels(100)))
ZEROS = gzip.compress(bytes(8000))


@pytest.mark.parametrize("cut", [0, 3, 4, 15, 16, len(GOOD_X) - 1])
def test_truncated_idx_file_is_refused(tmp_path, cut):
    source = write_idx(tmp_path / "set", GOOD_X[:cut], GOOD_Y)

    with refused("cannot read idx file", "train-images-idx3-ubyte"):
        data.load(source, "train")


@pytest.mark.parametrize("cut", [0, 1, 9, 10, 20, len(PACKED) // 2, len(PACKED) - 8, len(PACKED) - 1])
def test_truncated_packed_idx_file_is_refused(tmp_path, cut):
    source = write_idx(tmp_path / "set", PACKED[:cut], gzip.compress(GOOD_Y), suffix=".gz")

    with refused("cannot read idx file", "train-images-idx3-ubyte.gz"):
        data.load(source, "train")


@pytest.mark.parametrize(
    "broken",
    [
        b"not gzip at all, but long enough",
        ZEROS[:10] + b"\xff" * 8 + ZEROS[18:],
        PACKED[:300] + bytes(8) + PACKED[308:],
        PACKED[:-8] + bytes(8),
    ],
    ids=["foreign", "impossible-block", "changed-values", "wrong-checksum"],
)
def test_damaged_packed_idx_file_is_refused(tmp_path, broken):
    source = write_idx(tmp_path / "set", broken, gzip.compress(GOOD_Y), suffix=".gz")

    with refused("cannot read idx file", "train-images-idx3-ubyte.gz"):
        data.load(source, "train")


def test_idx_file_with_more_than_it_says_is_refused(tmp_path):
    source = write_idx(tmp_path / "set", GOOD_X + b"more", GOOD_Y)

    with refused("cannot read idx file", "train-images-idx3-ubyte"):
        data.load(source, "train")


def test_idx_file_of_absurd_size_is_refused(tmp_path):
    """Protects against allocating what a broken header asks for."""
    header = struct.pack(">4I", 0x803, *[0xFFFFFFFF] * 3)
    source = write_idx(tmp_path / "set", header + bytes(100), GOOD_Y)

    with refused("cannot read idx file", "train-images-idx3-ubyte"):
        data.load(source, "train")


def test_idx_files_in_each_others_place_are_refused(tmp_path):
    source = write_idx(tmp_path / "set", GOOD_Y + bytes(16), GOOD_X)

    with refused("not an idx file of 3 dimensions", "0x801"):
        data.load(source, "train")


def test_idx_labels_of_another_number_are_refused(tmp_path):
    source = write_idx(tmp_path / "set", pixels(), np.zeros(5, np.uint8))

    with refused("must be 6 integers", "(5,)"):
        data.load(source, "train")


def npz_bytes():
    buffer = io.BytesIO()
    np.savez_compressed(buffer, train_x=pixels(100), train_y=np.zeros(100, int))
    return buffer.getvalue()


def npy_bytes(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


NPZ = npz_bytes()


@pytest.mark.parametrize(
    "content",
    [
        *[NPZ[:cut] for cut in (0, 2, 10, 100, len(NPZ) // 2, len(NPZ) - 1)],
        b"text",
        npy_bytes(pixels()),
        NPZ[:60] + b"\xff" * 10 + NPZ[70:],
        NPZ[:1000] + bytes(10) + NPZ[1010:],
    ],
    ids=[*[f"cut{n}" for n in range(6)], "text", "npy", "impossible-block", "changed-values"],
)
def test_broken_npz_is_refused(tmp_path, content):
    (tmp_path / "set.npz").write_bytes(content)

    with refused("set.npz"):
        data.load(str(tmp_path / "set.npz"), "train")


@pytest.mark.parametrize("missing", ["test_x", "test_y"])
def test_npz_without_the_split_says_what_it_holds(tmp_path, missing):
    arrays = {"test_x": pixels(), "test_y": np.zeros(6, int), "train_x": pixels()}
    del arrays[missing]

    with refused("set.npz has no array", missing, "train_x"):
        data.load(write_npz(tmp_path / "set.npz", **arrays), "test")


def test_npz_of_objects_is_not_unpickled(tmp_path):
    source = write_npz(tmp_path / "set.npz", train_x=np.array([{}], object), train_y=np.zeros(1, int))

    with refused("cannot read", "set.npz"):
        data.load(source, "train")


@pytest.mark.parametrize(
    "x",
    [pixels().astype(np.float32), pixels().astype(np.int64), pixels()[..., None, None], np.uint8(3)],
    ids=["float", "int64", "five-dimensions", "scalar"],
)
def test_images_of_another_type_or_rank_are_refused(tmp_path, x):
    with refused("set.npz", "must be uint8 of shape (N, H, W[, C])", str(x.shape)):
        data.load(write_npz(tmp_path / "set.npz", train_x=x, train_y=np.zeros(6, int)), "train")


def test_images_without_pixels_are_refused(tmp_path):
    with refused("set.npz"):
        data.load(write_npz(tmp_path / "set.npz", train_x=pixels(6, height=0), train_y=np.zeros(6, int)), "train")


@pytest.mark.parametrize(
    "y",
    [np.zeros(6), np.zeros(6, bool), np.zeros((6, 1), int), np.array(["a"] * 6), np.zeros(7, int)],
    ids=["float", "bool", "one-hot", "text", "too-many"],
)
def test_labels_that_are_not_one_integer_per_image_are_refused(tmp_path, y):
    with refused("set.npz", "must be 6 integers", str(y.dtype)):
        data.load(write_npz(tmp_path / "set.npz", train_x=pixels(), train_y=y), "train")


def test_negative_labels_are_refused(tmp_path):
    """-1 is a common mark for "no label"; training on it would end in an index error of torch."""
    source = write_npz(tmp_path / "set.npz", train_x=pixels(), train_y=np.array([0, 1, 2, -1, 0, 1]))

    with refused("set.npz", "label"):
        data.load(source, "train")


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


# What is no pixel, no label, no file


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.linspace(0, 1, 80, dtype=np.float32).reshape(4, 4, 5),
         "float32 of shape (4, 4, 5) in 0..1; write round(255 * x)"),
        (np.linspace(-2, 3, 80).reshape(4, 4, 5), "in -2..3; undo their standardisation"),
        (np.linspace(0, 255, 80).reshape(4, 4, 5), "in 0..255; write round(x) as uint8"),
        (np.full((4, 4, 5), 65535, np.uint16), "uint16 of shape (4, 4, 5) in 65535..65535; write round(x / 257)"),
        (np.ones((4, 4, 5), bool), "write round(255 * x) as uint8"),
        (np.zeros((4, 4, 5), np.int64), "int64 of shape (4, 4, 5) in 0..0; write round(x) as uint8"),
    ],
    ids=["unit", "standardised", "float-bytes", "words", "bool", "int64"],
)  # fmt: skip
def test_images_of_other_numbers_say_how_to_write_them(tmp_path, x, message):
    """Cut to bytes, a standardised image would be all but black; nobody would see it."""
    with refused("must be uint8 of shape (N, H, W[, C])", message):
        data.load(write_npz(tmp_path / "set.npz", train_x=x, train_y=np.zeros(4, int)), "train")
    with refused("must be uint8 of shape (N, C, H, W)", message.partition("; ")[2]):
        data.Images(x=x[:, None], y=np.zeros(4, np.int64))


@pytest.mark.parametrize("label", [-1, 2**31, 2**63, 2**64 - 1])
def test_labels_beyond_a_class_index_are_refused(tmp_path, label):
    """2**64 - 1 used to wrap to -1, and the class with it."""
    y = np.array([0, label], np.uint64 if label > 0 else np.int64)

    with refused("labels of", "set.npz", f"must be in 0..2147483647; there is a label {label}"):
        data.load(write_npz(tmp_path / "set.npz", train_x=pixels(2), train_y=y), "train")


def test_images_made_by_hand_are_checked():
    with refused("images must be uint8 of shape (N, C, H, W), not float64"):
        data.Images(x=np.zeros((2, 1, 4, 4)), y=np.zeros(2, np.int64))
    with refused("images must be a numpy array", "not list"):
        data.Images(x=[[1]], y=np.zeros(1, np.int64))
    with refused("labels of images must be 2 integers"):
        data.Images(x=pixels(2)[:, None], y=np.zeros(3, np.int64))


def test_rows_of_features_are_images_of_one_pixel(tmp_path):
    """Tabular data: F features are F channels, in their order."""
    x = pixels(6)[:, 0]
    source = write_npz(tmp_path / "set.npz", train_x=x, train_y=np.zeros(6, int))

    images = data.load(source, "train", shape=(5, 1, 1))

    assert np.array_equal(images.x, x[:, :, None, None])
    with refused("set.npz are 5x1x1", "takes 1x4x5"):
        data.load(source, "train", shape=(1, 4, 5))


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


def test_an_archive_that_fills_the_memory_is_refused(tmp_path):
    """2.5 GB of zeros in less than 3 MB; nothing of it is unpacked."""
    with zipfile.ZipFile(tmp_path / "set.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("train_x.npy", "w", force_zip64=True) as member:
            head = io.BytesIO()
            np.lib.format.write_array_header_1_0(
                head, {"descr": "|u1", "fortran_order": False, "shape": (300_000_000,)}
            )
            member.write(head.getvalue())
            block = bytes(10_000_000)
            for _ in range(30):
                member.write(block)
        archive.writestr("train_y.npy", npy_bytes(np.zeros(1, int)))

    with refused("set.npz", "would unpack to 300,000", "no real data"):
        data.load(str(tmp_path / "set.npz"), "train")


def test_a_packed_idx_file_that_fills_the_memory_is_refused(tmp_path):
    """By its header, and where there is more behind than the header says."""
    head = struct.pack(">4I", 0x803, 1_000_000, 28, 28)
    source = write_idx(tmp_path / "set", gzip.compress(head + bytes(1000)), gzip.compress(GOOD_Y), suffix=".gz")
    with refused("cannot read idx file", "would unpack to 784,000,000"):
        data.load(source, "train")

    long = gzip.compress(GOOD_X + bytes(300_000_000), 1)
    source = write_idx(tmp_path / "set", long, gzip.compress(GOOD_Y), suffix=".gz")
    with refused("cannot read idx file", "its header says 120 bytes, but more follow"):
        data.load(source, "train")


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    """A named pipe would wait for ever for somebody to write."""
    (tmp_path / "set").mkdir()
    os.mkfifo(tmp_path / "set" / "train-images-idx3-ubyte")
    os.mkfifo(tmp_path / "set.npz")

    with refused("no data in"):
        data.load(str(tmp_path / "set"), "train")
    with refused("no data at"):
        data.load(str(tmp_path / "set.npz"), "train")
