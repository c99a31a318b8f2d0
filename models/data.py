"""Images as unsigned 8-bit pixels, from scikit-learn, idx files, a .npz, or a folder of class folders.

numpy only: simulation loads data without torch.
"""

import gzip
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..common.errors import UserError

__all__ = ["Images", "load"]

SPLITS = ("train", "test")
DIGITS = "digits"
"""Name of the embedded data set."""
DIGITS_SEED = 0
DIGITS_TEST_IMAGES = 360
_IDX_NAMES = {"train": "train", "test": "t10k"}
_BROKEN = (OSError, EOFError, ValueError, struct.error, zlib.error, zipfile.BadZipFile)
"""What readers raise on truncated or foreign files."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """A labelled set of images.

    Attributes
    ----------
    x : (N, C, H, W) uint8
    y : (N,) int64 class indices
    """

    x: NDArray[np.uint8]
    y: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        _, channels, height, width = self.x.shape
        return channels, height, width

    def __len__(self) -> int:
        return len(self.x)

    def head(self, count: int | None) -> "Images":
        """The first ``count`` images, or all."""
        return self if count is None else Images(x=self.x[:count], y=self.y[:count])


def load(source: str, split: str, *, shape: tuple[int, int, int] | None = None) -> Images:
    """Load one split of a data set.

    Parameters
    ----------
    source : ``digits``, a folder of idx files (.gz or not), a ``.npz`` with ``<split>_x`` and ``<split>_y``, or a
        folder of ``<split>/<class>/`` (or ``<class>/``) folders of ``.npy`` images
    split : ``train`` or ``test``
    shape : (C, H, W) that the images must have. ``digits`` (8x8) is enlarged to it by pixel repetition, 16x16 unless
        said otherwise; everything else must have it already.

    Raises
    ------
    UserError
        for an unknown source or split, broken files, or images of another size.
    """
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
    if channels != 1 or height != width or height % 8:
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
    try:
        with path.open("rb") as stream, np.lib.npyio.NpzFile(stream, allow_pickle=False) as archive:
            names = f"{split}_x", f"{split}_y"
            if missing := [name for name in names if name not in archive]:
                raise UserError(f"{path} has no array {missing[0]!r}; it holds {', '.join(archive.files) or 'nothing'}")
            x, y = (archive[name] for name in names)
    except _BROKEN as error:
        raise UserError(f"cannot read {path} as .npz: {error}") from error
    return _images(x, y, str(path))


def _folder(path: Path, split: str) -> Images:
    stem = _IDX_NAMES[split]
    found = [
        next((p for p in (path / name, path / f"{name}.gz") if p.is_file()), None)
        for name in (f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte")
    ]
    if found[0] and found[1]:
        return _images(_idx(found[0], 3), _idx(found[1], 1), str(path))
    return _class_folders(path, split)


def _idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        magic, *shape = struct.unpack_from(f">{1 + dimensions}I", data)
        if magic != 0x800 + dimensions:
            raise UserError(f"{path} is not an idx file of {dimensions} dimensions (magic number {magic:#x})")
        return np.frombuffer(data, np.uint8, offset=4 * (1 + dimensions)).reshape(shape)
    except _BROKEN as error:
        raise UserError(f"cannot read idx file {path}: {error}") from error


def _class_folders(path: Path, split: str) -> Images:
    """``.npy`` images need no imaging library; others are read through Pillow when it is installed."""
    root = path / split if (path / split).is_dir() else path
    classes = sorted(p for p in root.iterdir() if p.is_dir())
    files = [(p, index) for index, folder in enumerate(classes) for p in sorted(folder.iterdir()) if p.is_file()]
    if not files:
        raise UserError(f"no data in {path}: expected idx files or folders of images, one per class")
    pixels = [_image(p) for p, _ in files]
    for (p, _), image in zip(files, pixels, strict=True):
        if image.shape != pixels[0].shape:
            raise UserError(f"{p} is {image.shape}, but {files[0][0]} is {pixels[0].shape}: sizes must agree")
    return _images(np.stack(pixels), np.array([label for _, label in files]), str(path))


def _image(path: Path) -> NDArray[np.uint8]:
    try:
        if path.suffix == ".npy":
            with path.open("rb") as stream:
                return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
        from PIL import Image

        with Image.open(path) as image:
            return np.asarray(image.convert("L" if image.mode in ("1", "L", "I;16") else "RGB"))
    except ImportError as error:
        raise UserError(f"cannot read {path}: images other than .npy need the package pillow") from error
    except _BROKEN as error:
        raise UserError(f"cannot read image {path}: {error}") from error


def _images(x: NDArray[np.generic], y: NDArray[np.generic], source: str) -> Images:
    """From (N, H, W[, C]) to (N, C, H, W), checked."""
    if x.dtype != np.uint8 or x.ndim not in (3, 4):
        raise UserError(f"images of {source} must be uint8 of shape (N, H, W[, C]), not {x.dtype} of shape {x.shape}")
    if y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer):
        raise UserError(f"labels of {source} must be {len(x)} integers, not {y.dtype} of shape {y.shape}")
    if x.size == 0 and len(x):
        raise UserError(f"images of {source} have no pixels: shape {x.shape}")
    if len(y) and int(y.min()) < 0:
        raise UserError(f"labels of {source} must be 0 or more; there is a label {int(y.min())}")
    if x.ndim == 3:
        x = x[..., None]
    return Images(x=np.ascontiguousarray(x.transpose(0, 3, 1, 2), dtype=np.uint8), y=y.astype(np.int64))
