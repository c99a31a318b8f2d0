"""Small files of images in every format that data sets are read from."""

import contextlib
import gzip
import io
import struct

import numpy as np
import pytest
from addax.common.errors import UserError


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


GOOD_X, GOOD_Y = idx(pixels()), idx(np.zeros(6, np.uint8))


def npz_bytes():
    buffer = io.BytesIO()
    np.savez_compressed(buffer, train_x=pixels(100), train_y=np.zeros(100, int))
    return buffer.getvalue()


def npy_bytes(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


NPZ = npz_bytes()
