"""Arrays of images and labels, by hand or from .npz: other types, ranks and values are refused."""

import io
import zipfile

import numpy as np
import pytest
from addax.models import data
from image_files import NPZ, npy_bytes, pixels, refused, write_npz


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
