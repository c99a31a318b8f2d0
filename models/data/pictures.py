"""Pictures in files: which of a folder belong to which class, and their unsigned 8-bit pixels.

numpy only; Pillow is imported when a picture needs it.
"""

import io
import logging
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...common.errors import UserError
from ...common.reading import check_unpacked, parse_npy, read_regular

__all__ = ["ClassFiles", "check_pixels", "class_files", "read_image"]

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""Formats of images that are read. Of those that Pillow knows besides, Ghostscript would run one (EPS) as a program."""
_PLAIN = {"1": "L", "L": "L", "RGB": "RGB"}
_COVERED = {"LA": "LA", "RGBA": "RGBA", "P": "RGBA", "PA": "RGBA"}
"""Modes with a palette or an opaque fourth channel, and what shows it."""
_WIDE = 257
"""A pixel v of 8 bits is 257 v in 16: both ends meet."""

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what is wrong with an image is said once, by us


@dataclass(frozen=True, kw_only=True)
class ClassFiles:
    """The files of one split of a folder of class folders, class after class.

    Attributes
    ----------
    y : (N,) class indices
    names : of the classes, in order of their indices
    """

    files: tuple[Path, ...]
    y: NDArray[np.int64]
    names: tuple[str, ...]


def class_files(path: Path, split: str) -> ClassFiles:
    """The files of ``path/<split>/<class>/``, or of ``path/<class>/`` where there is no such split.

    Raises
    ------
    UserError
        when the folders of two splits name different classes, or a class has no files.
    """
    root = path / split if (path / split).is_dir() else path
    classes = _class_names(root)
    for other in (path / name for name in ("train", "test")):
        if root != path and other.is_dir() and (theirs := _class_names(other)) != classes:
            odd = sorted(set(theirs) ^ set(classes))
            raise UserError(f"{root} and {other} must have the same classes; only one of them has {', '.join(odd)}")
    files: list[Path] = []
    y: list[int] = []
    for index, name in enumerate(classes):
        own = sorted(p for p in (root / name).iterdir() if p.is_file())
        if not own and len(classes) > 1:
            raise UserError(f"the class folder {root / name} holds no images")
        files += own
        y += [index] * len(own)
    return ClassFiles(files=tuple(files), y=np.array(y, np.int64), names=classes)


def _class_names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))


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


def read_image(path: Path) -> tuple[NDArray[np.uint8], int]:
    """The pixels (H, W[, C]) of an image file, and its size in bytes; raises `UserError` for what is none, by name."""
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
