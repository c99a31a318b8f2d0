"""Images as unsigned 8-bit pixels, from scikit-learn, idx files, a .npz, or a folder of class folders.

numpy only: simulation loads data without torch.
"""

import io
import logging
import math
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...common.errors import UserError
from ...common.reading import check_unpacked, gunzip, parse_npy, read_npz, read_regular

__all__ = ["DIGITS", "Images", "check_labels", "check_pixels", "load"]

SPLITS = ("train", "test")
DIGITS = "digits"
"""Name of the embedded data set."""
DIGITS_SEED = 0
DIGITS_TEST_IMAGES = 360
_IDX_NAMES = {"train": "train", "test": "t10k"}
MAX_DIGITS = 256
"""Rows of an enlarged digit."""
MAX_LABEL = (1 << 31) - 1
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""Formats of images that are read. Of those that Pillow knows besides, Ghostscript would run one (EPS) as a program."""
_PLAIN = {"1": "L", "L": "L", "RGB": "RGB"}
_COVERED = {"LA": "LA", "RGBA": "RGBA", "P": "RGBA", "PA": "RGBA"}
"""Modes with a palette or an opaque fourth channel, and what shows it."""
_WIDE = 257
"""A pixel v of 8 bits is 257 v in 16: both ends meet."""

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what is wrong with an image is said once, by us


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


def check_pixels(x: Any, what: str, *, form: str = "(N, C, H, W)", ranks: tuple[int, ...] = (4,)) -> None:
    """Refuse images that are not unsigned 8-bit pixels: they would be cut to bytes, and nobody would see it.

    Parameters
    ----------
    what : the images are called in the message
    form, ranks : of the array, in words and as numbers of dimensions

    Raises
    ------
    UserError
        saying what came, and how to write it as pixels.
    """
    if not isinstance(x, np.ndarray):
        raise UserError(f"{what} must be a numpy array, uint8 of shape {form}, not {type(x).__name__}")
    if x.dtype == np.uint8 and x.ndim in ranks:
        return
    came, advice = f"{x.dtype} of shape {x.shape}", ""
    if x.dtype != np.uint8 and x.dtype.kind in "biuf" and x.size:
        came += f" in {x.min():g}..{x.max():g}"
        advice = f"; {_advice(x)}"
    raise UserError(f"{what} must be uint8 of shape {form}, not {came}{advice}")


def _advice(x: NDArray[Any]) -> str:
    """How an array of other numbers becomes pixels."""
    least, most = float(x.min()), float(x.max())
    if x.dtype.kind == "b" or (x.dtype.kind == "f" and 0 <= least <= most <= 1):
        return "write round(255 * x) as uint8"
    if 0 <= least <= most <= 255:
        return "write round(x) as uint8"
    if 0 <= least <= most <= 65535:
        return "write round(x / 257) as uint8"
    return "undo their standardisation, write the pixels 0..255 as uint8, and let the network standardise them"


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
    source : ``digits``, a folder of idx files (.gz or not), a ``.npz`` with ``<split>_x`` and ``<split>_y``, or a
        folder of ``<split>/<class>/`` (or ``<class>/``) folders of images: ``.npy``, or what Pillow reads of PNG, JPEG,
        BMP, GIF, TIFF, WebP and PPM without loss in 8 bits
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
    root = path / split if (path / split).is_dir() else path
    classes = sorted(p for p in root.iterdir() if p.is_dir())
    files = [(p, index) for index, folder in enumerate(classes) for p in sorted(folder.iterdir()) if p.is_file()]
    if not files:
        raise UserError(f"no data in {path}: expected idx files or folders of images, one per class")
    pixels: list[NDArray[np.uint8]] = []
    packed = unpacked = 0
    for p, _ in files:
        image, size = _image(p)
        packed, unpacked = packed + size, unpacked + image.size
        pixels.append(image)
        if image.shape != pixels[0].shape:
            raise UserError(f"{p} is {image.shape}, but {files[0][0]} is {pixels[0].shape}: sizes must agree")
        try:
            check_unpacked(unpacked, packed)
        except ValueError as error:
            raise UserError(f"cannot read the images in {path}: {error}") from error
    return _images(np.stack(pixels), np.array([label for _, label in files]), str(path))


def _image(path: Path) -> tuple[NDArray[np.uint8], int]:
    """(H, W[, C]) of an image, and the size of its file."""
    try:
        data = read_regular(path)
        pixels = parse_npy(data) if path.suffix == ".npy" else _decoded(data)
    except ImportError as error:
        raise UserError(f"cannot read {path}: images other than .npy need the package pillow") from error
    except OSError as error:
        raise UserError(f"cannot read image {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"cannot read image {path}: {error}") from error
    check_pixels(pixels, f"pixels of {path}", form="(H, W[, C])", ranks=(2, 3))
    return pixels, len(data)


def _decoded(data: bytes) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata; sizes are checked below
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                check_unpacked(4 * math.prod(image.size), len(data))
                return _bytes_of(image)
    except (OSError, ValueError):
        raise
    except Exception as error:  # decoders of damaged files raise anything
        raise ValueError(str(error) or type(error).__name__) from error


def _bytes_of(image: Any) -> NDArray[np.uint8]:
    """The pixels of a Pillow image; raises ``ValueError`` where 8 bits do not hold them exactly."""
    if getattr(image, "is_animated", False):
        raise ValueError(f"it holds {image.n_frames} pictures; one is read")
    words = any(_is_wide(tile) for tile in image.tile) or image.mode.startswith("I;16")
    if words and image.mode.startswith("I"):
        wide = np.asarray(image)
        if (wide % _WIDE).any():
            raise ValueError(
                f"its pixels have 16 bits, up to {wide.max()}, which 8 do not hold; write round(x / {_WIDE}) as 8 bits"
            )
        return (wide // _WIDE).astype(np.uint8)
    if words:
        raise ValueError(f"its channels ({image.mode}) have 16 bits; write them as 8 bits")
    if image.mode in _PLAIN:
        return np.asarray(image.convert(_PLAIN[image.mode]))
    if image.mode in _COVERED:
        shown = np.asarray(image.convert(_COVERED[image.mode]))
        if int(shown[..., -1].min()) < 255:
            raise ValueError(f"it has transparent pixels (mode {image.mode}); lay it on a background")
        return shown[..., 0] if shown.shape[-1] == 2 else shown[..., :-1]
    known = ", ".join((*_PLAIN, *_COVERED))
    raise ValueError(f"it is of mode {image.mode}, not one of {known}, which 8 bits hold; write it as L or RGB")


def _is_wide(tile: Any) -> bool:
    """Whether Pillow decodes a part of an image from 16 bits, of which it may keep 8 without a word."""
    codec, *_, arguments = tile
    return ";16" in str(arguments) or (codec == "ppm" and arguments[1] > 255)


def _images(x: NDArray[np.generic], y: NDArray[np.generic], source: str) -> Images:
    """From (N, H, W[, C]) to (N, C, H, W), checked."""
    check_pixels(x, f"images of {source}", form="(N, H, W[, C])", ranks=(3, 4))
    check_labels(y, len(x), source)
    if x.size == 0 and len(x):
        raise UserError(f"images of {source} have no pixels: shape {x.shape}")
    if x.ndim == 3:
        x = x[..., None]
    return Images(x=np.ascontiguousarray(x.transpose(0, 3, 1, 2), dtype=np.uint8), y=y.astype(np.int64))
