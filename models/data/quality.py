"""How near an image is to another: PSNR and SSIM of the luma without a border, as super-resolution has them, or of all
channels, as denoising has them.

On tensors, so that a training can measure on its device.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["BEST_PSNR", "as_bytes", "luma", "psnr", "ssim"]

BEST_PSNR = 100.0
"""Decibels that images are said to have that are equal, or nearly: a mean over images stays a number."""
_LUMA = (65.481, 128.553, 24.966)
"""Of red, green and blue in 0..1, ITU-R BT.601, above an offset of 16."""
_WINDOW, _DEVIATION = 11, 1.5
_SHARES = (0.01, 0.03)


def as_bytes(images: Tensor) -> Tensor:
    """Images in 0..1, or beyond, as the pixels 0..255 that a file of them holds, in their type."""
    return (images * 255).round().clamp(0, 255)


def luma(images: Tensor, border: int = 0) -> Tensor:
    """(B, C, H, W) pixels 0..255 to (B, H, W) float64 without ``border`` pixels on each side.

    Of three channels the Y of ``rgb2ycbcr``, 16..235; of one channel that channel.
    """
    inside = _inside(images, border)
    if images.shape[1] == 1:
        return inside[:, 0]
    weights = torch.tensor(_LUMA, dtype=torch.float64, device=images.device) / 255
    return 16 + (inside * weights.view(1, -1, 1, 1)).sum(1)


def psnr(images: Tensor, wanted: Tensor, border: int, *, colour: bool = False) -> Tensor:
    """Peak signal to noise ratio in decibels of each of (B, C, H, W) pixels 0..255: (B,), at most `BEST_PSNR`.

    Parameters
    ----------
    border : pixels on each side that are left out
    colour : compare all channels, by the mean of their squared differences, and not the luma
    """
    left, right = (_compared(pixels, border, colour) for pixels in (images, wanted))
    squares = (left - right).square().mean((1, 2, 3))
    return (10 * torch.log10(255**2 / squares)).clamp(max=BEST_PSNR)


def ssim(images: Tensor, wanted: Tensor, border: int, *, colour: bool = False) -> Tensor:
    """The structural similarity of Wang et al. (2004), (B,), of (B, C, H, W) pixels 0..255: Gaussian windows of 11x11
    that lie inside the image, K = 0.01 and 0.03; of ``colour`` the mean over channels. ``nan`` where no window lies
    inside."""
    left, right = (_compared(pixels, border, colour) for pixels in (images, wanted))
    if min(left.shape[2:]) < _WINDOW:
        return torch.full((len(images),), torch.nan, dtype=torch.float64)
    # Channels are compared one by one.
    count, left, right = len(images), left.flatten(0, 1)[:, None], right.flatten(0, 1)[:, None]
    mean_left, mean_right = _blurred(left), _blurred(right)
    variances = _blurred(left**2) - mean_left**2 + _blurred(right**2) - mean_right**2
    covariance = _blurred(left * right) - mean_left * mean_right
    one, two = ((share * 255) ** 2 for share in _SHARES)
    light = (2 * mean_left * mean_right + one) / (mean_left**2 + mean_right**2 + one)
    found = (light * (2 * covariance + two) / (variances + two)).mean((1, 2, 3))
    return found.view(count, -1).mean(1)


def _inside(images: Tensor, border: int) -> Tensor:
    rows, columns = (slice(border, size - border) for size in images.shape[2:])
    return images[:, :, rows, columns].double()


def _compared(images: Tensor, border: int, colour: bool) -> Tensor:
    """(B, planes, H, W): all channels, or the luma."""
    return _inside(images, border) if colour else luma(images, border)[:, None]


def _blurred(x: Tensor) -> Tensor:
    """Weighted means over windows, rows and columns one after the other."""
    places = torch.arange(_WINDOW, dtype=x.dtype, device=x.device) - _WINDOW // 2
    weights = torch.exp(-(places**2) / (2 * _DEVIATION**2))
    weights /= weights.sum()
    return F.conv2d(F.conv2d(x, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
