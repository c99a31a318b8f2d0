"""Damaged, truncated and absurd idx files are refused in one clear line."""

import gzip
import struct

import numpy as np
import pytest
from addax.models import data
from image_files import GOOD_X, GOOD_Y, idx, pixels, refused, write_idx

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
