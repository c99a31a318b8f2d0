"""Reading what others wrote: regular files alone, bounded, parsed without running anything."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from addax.common.reading import check_unpacked, gunzip, parse_json, parse_npy, read_npz, read_regular


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def test_a_regular_file_is_read_up_to_its_limit(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")

    assert read_regular(tmp_path / "a", limit=5) == read_regular(str(tmp_path / "a")) == b"12345"
    with pytest.raises(OSError, match="it has 5 bytes; at most 4 are read"):
        read_regular(tmp_path / "a", limit=4)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "/dev/zero", "link", "zero byte"])
def test_anything_else_is_refused_at_once_and_with_a_reason(kind, tmp_path):
    """A named pipe without a writer would keep a plain ``open`` waiting for ever."""
    path = tmp_path / "a"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "/dev/zero":
            path = kind
        case "link":
            path.symlink_to("/dev/zero")
        case "zero byte":
            path = "a\0b"
    before = len(list(Path("/proc/self/fd").iterdir()))

    with pytest.raises(OSError) as caught:
        read_regular(path)

    assert caught.value.strerror
    assert len(list(Path("/proc/self/fd").iterdir())) == before, "nothing stays open"


@pytest.mark.parametrize(
    ("text", "message"),
    [("[" * 200_000, "nested too deeply"), ('{"a":' * 200_000, "nested too deeply"), ("NaN", "NaN is no number"),
     ("[Infinity]", "Infinity is no number"), ("9" * 5000, "integer string conversion"), ("{", "Expecting"),
     (b"\xff", "codec can't decode"), ("[" + "0," * (1 << 23) + "0]", "at most 16,777,216 are read")],
    ids=["lists", "objects", "nan", "infinity", "digits", "cut", "binary", "long"],
)  # fmt: skip
def test_json_that_is_none_is_a_value_error(text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(text)


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i2", "f4", "?", "U3"])
def test_arrays_are_those_that_numpy_wrote(dtype, fortran):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    array = np.asfortranarray(array) if fortran else array

    found = parse_npy(npy(array))

    assert np.array_equal(found, array) and found.dtype == array.dtype
    assert parse_npy(npy(np.zeros((0, 3), dtype))).shape == (0, 3)
    assert parse_npy(npy(np.array(1).astype(dtype))).shape == ()


def header(text, version=b"\1\0"):
    line = text.encode() + b"\n"
    return b"\x93NUMPY" + version + len(line).to_bytes(2, "little") + line


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x93NUMPY", header("{}"), header("[" * 9000), header("{'descr': '|u1', 'shape': (3,)}"),
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (10**9,)}"),
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (999999999999,)}"),
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}") + b"1",
        header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}") + bytes(8),
        header("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (1,)}") + bytes(1),
        header("{'descr': '|V0', 'fortran_order': False, 'shape': (5,)}"),
        header("{'descr': '<U0', 'fortran_order': False, 'shape': (999999999999,)}"),
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (3,)}") + b"four",
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (3,)}", b"\x09\0") + b"123",
        header("__import__('os').abort()"),
    ],
    ids=range(15),
)  # fmt: skip
def test_arrays_that_are_none_are_a_value_error(data):
    """No size is believed before the bytes are there; no object is unpickled, no expression evaluated."""
    with pytest.raises(ValueError):
        parse_npy(data)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_that_cannot_be_bounded_are_refused(method, tmp_path):
    """``zipfile`` unpacks these as one piece, however long it gets."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.writestr("a.npy", npy(np.zeros(3)))

    with pytest.raises(ValueError, match="encrypted or packed in a way that is not read"):
        read_npz(tmp_path / "a.npz")


def test_only_the_wanted_arrays_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.arange(3), b=np.array([{}], object))

    arrays, names = read_npz(tmp_path / "a.npz", ["a", "c"])

    assert list(arrays) == ["a"] and arrays["a"].tolist() == [0, 1, 2] and names == ["a", "b"]


def test_what_unpacks_absurdly_is_refused_and_real_data_are_not():
    check_unpacked(1 << 28, 100)
    check_unpacked(784 * 60_000, 9_912_422)  # MNIST
    check_unpacked(1 << 33, 1 << 27)
    with pytest.raises(ValueError, match="its 9,500,000 bytes would unpack to 2,500,000,000"):
        check_unpacked(2_500_000_000, 9_500_000)


def test_no_more_is_unpacked_than_was_asked_for():
    import gzip

    packed = gzip.compress(bytes(1_000_000))
    assert gunzip(packed, 9) == bytes(10)
    with pytest.raises(ValueError):
        gunzip(packed[:-9], 1_000_000)
