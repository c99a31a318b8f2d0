"""Pairs of images: a large one, and the same ``scale`` times smaller in both directions; at scale 1 a clean one, and
the same degraded.

numpy only: evaluation and simulation load data without torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...common.errors import UserError
from .bicubic import shrink
from .pictures import read_image
from .sets import SPLITS

__all__ = ["PHOTOGRAPHS", "PicturePair", "PicturePairs", "holds_pairs", "load_pairs"]

PHOTOGRAPHS = "photographs"
"""Name of the embedded set: the photographs that come with scikit-learn and matplotlib."""
HELD_PIXELS = 4 << 30
"""Bytes of pixels that a set may have; all are held in memory."""
_TRAINED = 4
"""Of this many parts of the height of an embedded photograph, all but the lowest are the train split."""
_LARGE = "HR"
_SMALL = ("LR_bicubic", "LR")
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".npy"}


@dataclass(frozen=True, kw_only=True)
class PicturePair:
    """One picture in two sizes.

    Attributes
    ----------
    name : of its file, without the suffix
    low : (C, H, W) uint8
    high : (C, scale * H, scale * W) uint8
    """

    name: str
    low: NDArray[np.uint8]
    high: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class PicturePairs:
    """Pictures in two sizes each; they differ in size from one another.

    Attributes
    ----------
    pairs : one at least
    scale : how many times ``high`` is as wide and high as ``low``, in all of them
    said : where they are from, for metadata
    clean : ``low`` and ``high`` are one picture, at scale 1, and nobody has made it worse yet
    """

    pairs: tuple[PicturePair, ...]
    scale: int
    said: str
    clean: bool = False

    def __post_init__(self) -> None:
        for pair in self.pairs:
            channels, height, width = pair.low.shape
            if pair.high.shape != (channels, self.scale * height, self.scale * width):
                raise UserError(f"{pair.name} is {_text(pair.low)} and {_text(pair.high)}, not {self.scale} times that")

    def __len__(self) -> int:
        return len(self.pairs)

    def head(self, count: int | None) -> "PicturePairs":
        """The first ``count`` pictures, or all."""
        return replace(self, pairs=self.pairs[:count])


def holds_pairs(source: str | Path, split: str = SPLITS[0]) -> bool:
    """Whether `load_pairs` would read ``source``: `PHOTOGRAPHS`, or a folder in which pictures lie, or a folder ``HR``,
    or one for each split that is such a folder."""
    if str(source) == PHOTOGRAPHS:
        return True
    root = _root(Path(source), split)
    return root.is_dir() and bool((root / _LARGE).is_dir() or _files(root))


def load_pairs(
    source: str | Path, split: str = "test", *, scale: int, channels: int = 3, limit: int | None = None,
    beside: bool = True,
) -> PicturePairs:  # fmt: skip
    """One split of a set of pictures, in two sizes; at scale 1 clean, or with the degraded ones that lie beside them.

    Parameters
    ----------
    source : `PHOTOGRAPHS`, or a folder with pictures, ``HR/NAME.png``, or with a folder of these for each ``split``.
        Beside ``HR`` their small images may lie, as ``NAMEx2.png`` or ``NAME.png`` in ``LR_bicubic/X2``, ``LR/X2``,
        ``LR_bicubic`` or ``LR``; without, they are made by `shrink`. Rows and columns of a large image that ``scale``
        does not divide are cut off at its bottom and right. At scale 1 degraded pictures, of the size of the clean
        ones, may lie in ``LR/X1`` or ``LR``; without, the pictures are only clean
    split : ``train`` or ``test``; a folder that has neither is both
    channels : 3 or 1. Grey pictures become three equal channels where 3 are asked for
    limit : take the first so many
    beside : whether what lies beside ``HR`` is looked at

    Raises
    ------
    UserError
        for an unknown source or split, a file that is no picture, a small image that is missing or does not fit the
        large one, pictures of other channels, and more pixels than are held.
    """
    if split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    root = _root(Path(source), split)
    if str(source) == PHOTOGRAPHS:
        given, small = _photographs(split, channels), None
    elif holds_pairs(source, split):
        large = root / _LARGE if (root / _LARGE).is_dir() else root
        given = ((path.stem, _pixels(path, channels)) for path in _files(large))
        small = _small_folder(root, scale) if beside else None
    else:
        raise UserError(
            f"no pictures at {str(source)!r}: expected {PHOTOGRAPHS!r}, or a folder of pictures, perhaps in a folder "
            f"{_LARGE} beside one of {' or '.join(_SMALL)}"
        )
    said = f"the {split} split of {Path(source).name}"
    found: list[PicturePair] = []
    size = 0
    for name, high in given:
        if limit is not None and len(found) >= limit:
            break
        found.append(_pair(name, high, small, scale, channels))
        size += high.size
        if size > HELD_PIXELS:
            raise UserError(
                f"pictures of {source} have more than {HELD_PIXELS >> 30} GiB of pixels; say --limit, or fewer"
            )
    if not found:
        raise UserError(f"{said} holds no pictures")
    return PicturePairs(pairs=tuple(found), scale=scale, said=said, clean=scale == 1 and small is None)


def _photographs(split: str, channels: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The upper part of each is the train split, the lower the test split."""
    import matplotlib
    import sklearn.datasets

    ours = Path(sklearn.datasets.__file__).parent / "images"
    files = (ours / "china.jpg", ours / "flower.jpg", Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg")
    for path in files:
        pixels = _pixels(path, channels)
        cut = pixels.shape[1] * (_TRAINED - 1) // _TRAINED
        yield path.stem, pixels[:, :cut] if split == "train" else pixels[:, cut:]


def _root(source: Path, split: str) -> Path:
    return source / split if (source / split).is_dir() else source


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES and p.is_file() and p.name[0] != ".")


def _small_folder(root: Path, scale: int) -> Path | None:
    """Where the small images lie; None where they are to be made."""
    if not (root / _LARGE).is_dir():
        return None
    if scale == 1:
        return next((place for place in (root / "LR" / "X1", root / "LR") if place.is_dir() and _files(place)), None)
    places = [root / name / f"X{scale}" for name in _SMALL] + [root / name for name in _SMALL]
    return next((place for place in places if place.is_dir()), None)


def _pair(
    name: str, high: NDArray[np.uint8], small: Path | None, scale: int, channels: int
) -> PicturePair:  # fmt: skip
    """A picture with its small image, out of the folder ``small`` or made."""
    rows, columns = (size // scale for size in high.shape[1:])
    if not rows or not columns:
        raise UserError(f"{name} is {_text(high)}, too small to be made {scale} times smaller")
    cut = np.ascontiguousarray(high[:, : rows * scale, : columns * scale])
    if small is None:
        return PicturePair(name=name, low=cut if scale == 1 else shrink(cut, scale), high=cut)
    names = (f"{name}x{scale}", name)
    path = next((p for stem in names for p in _files(small) if p.stem == stem), None)
    if path is None:
        kind = "degraded" if scale == 1 else "small"
        raise UserError(f"{small} has no picture {names[0]} or {name}, the {kind} one of {_LARGE}/{name}")
    low = _pixels(path, channels)
    if scale == 1 and low.shape != high.shape:
        raise UserError(f"{path} is {_text(low)}, but the clean picture {_LARGE}/{name} is {_text(high)}")
    if low.shape != (len(cut), rows, columns):
        raise UserError(
            f"{path} is {_text(low)}, but {_LARGE}/{name} is {_text(high)}, and {scale} times smaller that is "
            f"{rows}x{columns}"
        )
    return PicturePair(name=name, low=low, high=cut)


def _pixels(path: Path, channels: int) -> NDArray[np.uint8]:
    """(C, H, W) of a picture, with ``channels``."""
    pixels = read_image(path)[0]
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if len(pixels) == 1 and channels == 3:
        pixels = pixels.repeat(3, 0)
    if len(pixels) != channels:
        raise UserError(f"{path} has {len(pixels)} channels, but the network takes {channels}")
    return np.array(pixels, order="C")  # a copy that torch may share: decoded pictures are read-only


def _text(image: NDArray[np.uint8]) -> str:
    return "x".join(map(str, image.shape[1:])) + " pixels"
