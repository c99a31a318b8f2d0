"""Images as people hold them in Python: arrays, tensors, pairs with labels, data sets of torch, or where they lie."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...common.errors import UserError
from .pictures import check_pixels
from .sets import Images, check_labels, load

__all__ = ["Samples", "samples"]

_EXACT = 1e-3
"""How far 255 times a float may lie from an integer: 32-bit floats of a standardisation that was undone lie nearer."""
_CHANNELS = (1, 3, 4)


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Images, perhaps with labels.

    Attributes
    ----------
    x : (N, C, H, W) uint8; what is given to a network of another input, its integers
    y : (N,) int64 class indices, or None
    said : where they are from, for metadata: "the train split of digits", "an ndarray"
    """

    x: NDArray[np.uint8]
    y: NDArray[np.int64] | None
    said: str

    def __len__(self) -> int:
        return len(self.x)

    def labelled(self) -> Images:
        """The images with their labels; raises `UserError` where there are none."""
        return Images(x=self.x, y=self.known())

    def known(self) -> NDArray[np.int64]:
        """The labels of the images; raises `UserError` where there are none, or not one class index per image."""
        if self.y is None:
            raise UserError("these images have no labels; give (images, labels), a data set, or where they lie")
        check_labels(self.y, len(self.x), "images")
        return self.y


def samples(
    given: Any,
    split: str,
    *,
    shape: tuple[int, int, int] | None = None,
    limit: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Samples:
    """Unsigned 8-bit pixels of whatever holds images.

    Parameters
    ----------
    given : `Images`, or `Samples` as this function returns them, or what `load` takes (``digits``, a path); an array or
        tensor (N, C, H, W), (N, H, W) or (N, F), uint8, or floats 0..1 that are pixels / 255, as torchvision's
        ``ToTensor`` makes them; a pair of such images and their labels; a data set or loader of torch, or any other
        iterable of images or of (image, label)
    split : that `load` takes of a path
    shape : (C, H, W) that the images must have
    limit : take the first so many; nothing behind them is read of an iterable
    mean, std : of a standardisation ``(x - mean) / std`` of pixels / 255, per channel, that is undone

    Raises
    ------
    UserError
        for pixels that 8 bits do not hold exactly, images of another shape, labels that are no class indices.
    """
    if (mean is None) != (std is None):
        raise UserError("mean and std go together")
    if isinstance(given, str | Path):
        return _of_images(load(given, split, shape=shape), limit, f"the {split} split of {_name(given)}")
    if isinstance(given, Images):
        return _fitting(_of_images(given, limit, "images"), shape)
    if isinstance(given, Samples):
        labels = None if given.y is None else given.y[:limit]
        return _fitting(Samples(x=given.x[:limit], y=labels, said=given.said), shape)
    said = _article(type(given).__name__)
    x: Any
    y: Any
    if isinstance(given, Mapping):
        raise UserError(f"expected images, not {said}; give the array of images, or (images, labels)")
    if isinstance(given, tuple | list) and len(given) == 2 and _is_array(given[0]) and np.ndim(given[1]) == 1:
        x, y = given
        said = _article(type(x).__name__)
    elif _is_array(given):
        x, y = given, None
    elif isinstance(given, Iterable) or hasattr(given, "__getitem__"):
        x, y = _collected(given, limit, said)
    else:
        raise UserError(f"expected images: an array, a tensor, a data set or where they lie, not {said}")
    pixels = _pixels(_numpy(x)[:limit], mean, std)
    classes = None if y is None else _labels(_numpy(y)[:limit], len(pixels))
    if not len(pixels):
        raise UserError(f"{said} holds no images")
    return _fitting(Samples(x=pixels, y=classes, said=said), shape)


def _of_images(images: Images, limit: int | None, said: str) -> Samples:
    few = images.head(limit)
    return Samples(x=few.x, y=few.y, said=said)


def _fitting(found: Samples, shape: tuple[int, int, int] | None) -> Samples:
    own = found.x.shape[1:]
    if shape is None or own == shape:
        return found
    raise UserError(
        f"images are {'x'.join(map(str, own))} (channels x height x width), but the network takes "
        f"{'x'.join(map(str, shape))}"
    )


def _name(path: str | Path) -> str:
    """The name of a data set, without the folders in which it lies here."""
    return Path(path).resolve().name if Path(path).exists() else str(path)


def _article(name: str) -> str:
    return f"{'an' if name[0].lower() in 'aeiou' or name.startswith('ndarray') else 'a'} {name}"


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or (hasattr(value, "detach") and hasattr(value, "numpy"))


def _numpy(value: Any) -> NDArray[Any]:
    """An array of an array, a tensor on any device, or a picture."""
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _collected(given: Any, limit: int | None, said: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Images and labels of an iterable, one by one or batch by batch, until there are ``limit``."""
    images: list[NDArray[Any]] = []
    labels: list[NDArray[Any]] = []
    count = 0
    for item in _items(given):
        pair = isinstance(item, tuple | list) and len(item) >= 2
        image = _numpy(item[0] if pair else item)
        if image.dtype == object or image.ndim < 2:
            raise UserError(f"{said} must hold images or (image, label), not {_article(type(item).__name__)}")
        many = image.ndim == 4
        if not many and image.ndim == 3 and not _is_array(item[0] if pair else item):
            image = image.transpose(2, 0, 1)  # a picture of Pillow
        images.append(image if many else (image[None] if image.ndim == 2 else image)[None])
        if images[-1].shape[1:] != images[0].shape[1:]:
            raise UserError(f"images of {said} must agree in shape, not {images[0].shape[1:]} and {image.shape}")
        if pair:
            labels.append(np.atleast_1d(_numpy(item[1])))
        count += len(images[-1])
        if limit is not None and count >= limit:
            break
    if not images:
        raise UserError(f"{said} holds no images")
    return np.concatenate(images), np.concatenate(labels) if len(labels) == len(images) else None


def _items(given: Any) -> Iterator[Any]:
    """What it holds: data sets of torch are read by index, and may have no iterator that ends."""
    if hasattr(given, "__getitem__") and hasattr(given, "__len__"):
        return (given[k] for k in range(len(given)))
    return iter(given)


def _pixels(x: NDArray[Any], mean: Sequence[float] | None, std: Sequence[float] | None) -> NDArray[np.uint8]:
    """(N, C, H, W) uint8 of an array of images."""
    if x.ndim == 2:
        x = x[:, :, None, None]
    elif x.ndim == 3:
        x = x[:, None]
    if x.ndim == 4 and x.shape[-1] in _CHANNELS and x.shape[1] not in _CHANNELS and x.shape[1] > 1:
        raise UserError(f"images must be (N, C, H, W), not {x.shape}: channels come first; transpose(0, 3, 1, 2)")
    if x.ndim == 4 and x.size and np.issubdtype(x.dtype, np.floating):
        x = _undone(x, mean, std)
    elif mean is not None:
        raise UserError(f"mean and std are for standardised images, of floats; these are {x.dtype}")
    check_pixels(x, "images", form="(N, C, H, W), (N, H, W) or (N, F)")
    return np.ascontiguousarray(x)


def _undone(x: NDArray[Any], mean: Sequence[float] | None, std: Sequence[float] | None) -> NDArray[np.uint8]:
    """Pixels of floats."""
    if not np.isfinite(x).all():
        raise UserError("images hold NaN or infinite values")
    values = x.astype(np.float64)
    if mean is not None and std is not None:
        channels = x.shape[1]
        if len(mean) != channels or len(std) != channels:
            raise UserError(f"mean and std must be {channels} values each, one per channel")
        values = values * np.reshape(std, (1, -1, 1, 1)) + np.reshape(mean, (1, -1, 1, 1))
    values *= 255
    rounded = np.rint(values)
    if rounded.min() >= 0 and rounded.max() <= 255 and np.abs(values - rounded).max() <= _EXACT:
        return rounded.astype(np.uint8)
    if mean is not None:
        raise UserError("images are no pixels / 255 after their standardisation is undone; are mean and std theirs?")
    if values.min() < -_EXACT:
        raise UserError(
            f"images must be pixels, but these floats lie in {x.min():g}..{x.max():g}, as if standardised; say by what "
            "(mean=, std=), or give the pixels as uint8"
        )
    check_pixels(x, "images", form="(N, C, H, W), or floats that are pixels / 255")
    raise AssertionError("floats are no pixels")


def _labels(y: NDArray[Any], count: int) -> NDArray[np.int64]:
    check_labels(y, count, "the images")
    return y.astype(np.int64)
