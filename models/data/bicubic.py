"""Bicubic scaling by whole factors as MATLAB's ``imresize`` has it, by which papers make small images of large ones.

The cubic is that of Keys (a = -0.5). To make an image smaller, it is stretched by the factor, so that every pixel of
the result averages what it covers (antialiasing); beyond the border the image is mirrored. Rows are scaled before
columns, and unsigned bytes are rounded after each, halves upwards.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["enlarge", "shrink"]

_REACH = 2
"""Pixels to either side of a point that the cubic has values for."""


def shrink(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """(C, H, W) to (C, H / factor, W / factor); a ``ValueError`` where ``factor`` does not divide both."""
    if any(size % factor for size in image.shape[1:]):
        raise ValueError(f"an image of {image.shape[1]}x{image.shape[2]} cannot be made {factor} times smaller")
    return _scaled(image, *(_weights(size, size // factor) for size in image.shape[1:]))


def enlarge(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """(C, H, W) to (C, factor * H, factor * W)."""
    return _scaled(image, *(_weights(size, size * factor) for size in image.shape[1:]))


def _scaled(
    image: NDArray[np.uint8], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.uint8]:  # fmt: skip
    return _bytes(_bytes(rows @ image.astype(np.float64)).astype(np.float64) @ columns.T)


def _bytes(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.floor(values + 0.5).clip(0, 255).astype(np.uint8)


@cache
def _weights(given: int, wanted: int) -> NDArray[np.float64]:
    """(wanted, given): what of every pixel of a row goes into every pixel of the scaled row. Sums of rows are 1."""
    scale = wanted / given
    narrow = min(scale, 1.0)
    reach = _REACH / narrow
    centres = (np.arange(wanted) + 0.5) / scale - 0.5
    near = np.floor(centres - reach).astype(np.int64)[:, None] + np.arange(int(np.ceil(2 * reach)) + 2)
    shares = _cubic(narrow * (centres[:, None] - near))
    shares /= shares.sum(1, keepdims=True)
    mirrored = np.concatenate([np.arange(given), np.arange(given)[::-1]])[near % (2 * given)]
    weights = np.zeros((wanted, given))
    np.add.at(weights, (np.arange(wanted)[:, None], mirrored), shares)
    return weights


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The convolution kernel of Keys."""
    x = np.abs(distance)
    inner, outer = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, inner, np.where(x <= _REACH, outer, 0.0))
