"""Images as unsigned 8-bit pixels, from scikit-learn, idx files, CIFAR-10, a .npz, or a folder of class folders.

numpy only: simulation loads data without torch.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...common.errors import UserError
from ...common.reading import check_unpacked, gunzip, read_npz, read_regular
from .cifar import cifar10, is_cifar10
from .pictures import check_pixels, class_files, read_image

__all__ = ["DIGITS", "Images", "check_labels", "is_class_folder", "load"]

SPLITS = ("train", "test")
DIGITS = "digits"
"""Name of the embedded data set."""
DIGITS_SEED = 0
DIGITS_TEST_IMAGES = 360
_IDX_NAMES = {"train": "train", "test": "t10k"}
MAX_DIGITS = 256
"""Rows of an enlarged digit."""
MAX_LABEL = (1 << 31) - 1


@dataclass(frozen=True, kw_only=True)
class Images:
    """A labelled set of images.

    Attributes
    ----------
    x : (N, C, H, W) uint8
    y : (N,) int64 class indices

    Raises
    ------
    UserError
        from the constructor: for pixels that are not unsigned bytes, labels that are not one class index per image.
    """

    x: NDArray[np.uint8]
    y: NDArray[np.int64]

    def __post_init__(self) -> None:
        check_pixels(self.x, "images")
        check_labels(self.y, len(self.x), "images")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        _, channels, height, width = self.x.shape
        return channels, height, width

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, chosen: slice | NDArray[Any]) -> "Images":
        """Some of them, as numpy chooses rows: ``images[:100]``, ``images[images.y == 3]``."""
        if isinstance(chosen, int):
            raise TypeError("one image is no set of images; say images[k:k + 1]")
        return Images(x=self.x[chosen], y=self.y[chosen])

    def head(self, count: int | None) -> "Images":
        """The first ``count`` images, or all."""
        return self if count is None else Images(x=self.x[:count], y=self.y[:count])


def check_labels(y: Any, count: int, what: str) -> None:
    """Refuse labels of ``count`` images, called ``what``, that are no class indices: a `UserError` says what came."""
    if not isinstance(y, np.ndarray):
        raise UserError(f"labels of {what} must be a numpy array of {count} integers, not {type(y).__name__}")
    if y.shape != (count,) or not np.issubdtype(y.dtype, np.integer):
        raise UserError(f"labels of {what} must be {count} integers, not {y.dtype} of shape {y.shape}")
    if count and not 0 <= int(y.min()) <= int(y.max()) <= MAX_LABEL:
        wrong = int(y.min()) if int(y.min()) < 0 else int(y.max())
        raise UserError(f"labels of {what} must be in 0..{MAX_LABEL}; there is a label {wrong}")


def load(source: str | Path, split: str = "test", *, shape: tuple[int, int, int] | None = None) -> Images:
    """Load one split of a data set.

    Parameters
    ----------
    source : ``digits``, a folder of idx files (.gz or not), CIFAR-10's folder of Python batches, a ``.npz`` with
        ``<split>_x`` and ``<split>_y``, or a folder of ``<split>/<class>/`` (or ``<class>/``) folders of images:
        ``.npy``, or what Pillow reads of PNG, JPEG, BMP, GIF, TIFF, WebP and PPM without loss in 8 bits
    split : ``train`` or ``test``
    shape : (C, H, W) that the images must have. ``digits`` (8x8) is enlarged to it by pixel repetition, 16x16 unless
        said otherwise; everything else must have it already. Rows of F features in a ``.npz``, (N, F), are (F, 1, 1).

    Raises
    ------
    UserError
        for an unknown source or split, broken files, images of another size or other numbers than unsigned bytes.
    """
    source = str(source)
    if split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    if source == DIGITS:
        images = _digits(split, shape or (1, 16, 16))
    else:
        path = Path(source)
        if path.suffix == ".npz" and path.is_file():
            images = _npz(path, split)
        elif path.is_dir():
            images = _folder(path, split)
        else:
            raise UserError(
                f"no data at {source!r}: expected 'digits', a folder of idx files, a .npz file, or a folder of "
                "class folders"
            )
    if len(images) == 0:
        raise UserError(f"the {split} split of {source} holds no images")
    if shape is not None and images.shape != shape:
        raise UserError(f"images of {source} are {_text(images.shape)}, but the network takes {_text(shape)}")
    return images


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) + " (channels x height x width)"


def _digits(split: str, shape: tuple[int, int, int]) -> Images:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    channels, height, width = shape
    if channels != 1 or height != width or height % 8 or height > MAX_DIGITS:
        raise UserError(f"digits are 8x8 grey images enlarged by repetition; they cannot become {_text(shape)}")
    raw = load_digits()
    pixels = np.minimum(255, 16 * raw.images).astype(np.uint8)
    train_x, test_x, train_y, test_y = train_test_split(
        pixels, raw.target, test_size=DIGITS_TEST_IMAGES, random_state=DIGITS_SEED, stratify=raw.target
    )
    x, y = (train_x, train_y) if split == "train" else (test_x, test_y)
    factor = height // 8
    return _images(x.repeat(factor, axis=1).repeat(factor, axis=2), y, "digits")


def _npz(path: Path, split: str) -> Images:
    names = f"{split}_x", f"{split}_y"
    try:
        arrays, held = read_npz(path, names)
    except OSError as error:
        raise UserError(f"cannot read {path} as .npz: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"cannot read {path} as .npz: {error}") from error
    if missing := [name for name in names if name not in arrays]:
        raise UserError(f"{path} has no array {missing[0]!r}; it holds {', '.join(held) or 'nothing'}")
    x, y = (arrays[name] for name in names)
    if x.dtype == np.uint8 and x.ndim == 2:  # rows of features are images of one pixel
        x = x[:, None, None]
    return _images(x, y, str(path))


def is_class_folder(source: str | Path) -> bool:
    """Whether `load` would read ``source`` as a folder of class folders."""
    path = Path(source)
    other = is_cifar10(path) or any(found for split in SPLITS for found in _idx_files(path, split).values())
    return str(source) != DIGITS and path.is_dir() and not other


def _folder(path: Path, split: str) -> Images:
    if is_cifar10(path):
        x, y = cifar10(path, split)
        return Images(x=x, y=y)
    found = _idx_files(path, split)
    images, labels = found.values()
    if images and labels:
        return _images(_idx(images, 3), _idx(labels, 1), str(path))
    if images or labels:
        missing = next(name for name, file in found.items() if file is None)
        raise UserError(
            f"{path} has no {missing}, perhaps .gz; the {split} split of idx files is {' and '.join(found)}"
        )
    return _class_folders(path, split)


def _idx_files(path: Path, split: str) -> dict[str, Path | None]:
    """The files of images and of labels of one split, None where there is none, by their usual names."""
    names = (f"{_IDX_NAMES[split]}-images-idx3-ubyte", f"{_IDX_NAMES[split]}-labels-idx1-ubyte")
    return {name: next((p for p in (path / name, path / f"{name}.gz") if p.is_file()), None) for name in names}


def _idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    header = 4 * (1 + dimensions)
    try:
        data = read_regular(path)
        packed = path.suffix == ".gz"
        magic, *shape = struct.unpack_from(f">{1 + dimensions}I", gunzip(data, header) if packed else data)
        if magic != 0x800 + dimensions:
            raise UserError(f"{path} is not an idx file of {dimensions} dimensions (magic number {magic:#x})")
        size = math.prod(shape)
        if packed:
            check_unpacked(size, len(data))
            data = gunzip(data, header + size)
        if len(data) != header + size:
            more = "more" if len(data) > header + size else f"{len(data) - header}"
            raise ValueError(f"its header says {size} bytes, but {more} follow")
        return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
    except OSError as error:
        raise UserError(f"cannot read idx file {path}: {error.strerror}") from error
    except (ValueError, struct.error) as error:
        raise UserError(f"cannot read idx file {path}: {error}") from error


def _class_folders(path: Path, split: str) -> Images:
    """``.npy`` images need no imaging library; others are read through Pillow when it is installed."""
    found = class_files(path, split)
    if not found.files:
        raise UserError(f"no data in {path}: expected idx files or folders of images, one per class")
    pixels: list[NDArray[np.uint8]] = []
    packed = unpacked = 0
    for p in found.files:
        image, size = read_image(p)
        packed, unpacked = packed + size, unpacked + image.size
        pixels.append(image)
        if image.shape != pixels[0].shape:
            raise UserError(f"{p} is {image.shape}, but {found.files[0]} is {pixels[0].shape}: sizes must agree")
        try:
            check_unpacked(unpacked, packed)
        except ValueError as error:
            raise UserError(f"cannot read the images in {path}: {error}") from error
    return _images(np.stack(pixels), found.y, str(path))


def _images(x: NDArray[np.generic], y: NDArray[np.generic], source: str) -> Images:
    """From (N, H, W[, C]) to (N, C, H, W), checked."""
    check_pixels(x, f"images of {source}", form="(N, H, W[, C])", ranks=(3, 4))
    check_labels(y, len(x), source)
    if x.size == 0 and len(x):
        raise UserError(f"images of {source} have no pixels: shape {x.shape}")
    if x.ndim == 3:
        x = x[..., None]
    return Images(x=np.ascontiguousarray(x.transpose(0, 3, 1, 2), dtype=np.uint8), y=y.astype(np.int64))
