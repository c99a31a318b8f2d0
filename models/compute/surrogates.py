"""Gradients for `sign`, whose own is 0 almost everywhere: each is a value that a layer is given.

A surrogate says by what an upstream gradient is multiplied, as a function of the value whose sign was taken and of the
share of the training that is over, 0 at its begin and 1 at its end.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["BEYOND", "STRAIGHT_THROUGH", "Fourier", "PassThrough", "StraightThrough", "Surrogate"]

BEYOND = ("keep", "zero")
"""What a Fourier gradient is beyond its first zero: what the series says there, or nothing."""


class Surrogate(Protocol):
    """What stands for the derivative of `sign`: a frozen dataclass, so that a layer's choice is read and compared."""

    def slope(self, x: Tensor, progress: float) -> Tensor:
        """The derivative at every element of ``x``, of its shape and type.

        Parameters
        ----------
        progress : share of the training that is over, 0..1
        """
        ...


@dataclass(frozen=True, kw_only=True)
class StraightThrough:
    """1 where ``|x| <= limit``, else 0: the straight-through estimator (Courbariaux et al., "Binarized Neural
    Networks").

    Raises
    ------
    ValueError
        for a limit that is not positive.
    """

    limit: float = 1.0

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise ValueError(f"limit must be positive, not {self.limit}")

    def slope(self, x: Tensor, progress: float) -> Tensor:
        """0 or 1 at every element of ``x``."""
        return (x.abs() <= self.limit).to(x.dtype)


STRAIGHT_THROUGH = StraightThrough()
"""The gradient of a sign unless another is asked for."""


@dataclass(frozen=True, kw_only=True)
class PassThrough:
    """1 everywhere: how DoReFa-Net trains its binary weights (Zhou et al. 2016)."""

    def slope(self, x: Tensor, progress: float) -> Tensor:
        """1 at every element of ``x``."""
        return torch.ones_like(x)


@dataclass(frozen=True, kw_only=True)
class Fourier:
    """The derivative of a truncated Fourier series of the square wave (Xu et al., "Learning Frequency Domain
    Approximation for Binary Neural Networks").

    The square wave of period ``2 * pi / omega`` equals the sign for ``|x| < pi / omega``. Of its sine series the first
    ``n + 1`` terms are derived, ``4 * omega / pi * sum of cos((2i + 1) * omega * x)`` for i = 0..n; in closed form
    ``2 * omega / pi * sin(2 * (n + 1) * omega * x) / sin(omega * x)``, which is ``4 * omega * (n + 1) / pi`` at 0 and
    has its first zero at ``pi / (2 * omega * (n + 1))``.

    The paper gives neither omega nor the growth of n: 0.1, the mask, and a growth that is even over the training are
    those of re-implementations. With 19 terms and omega 0.1 the gradient is negative from 0.83 to the mask.

    Attributes
    ----------
    first, last : n at the begin and at the end of the training, between which it grows evenly
    omega : frequency of the first term, radians per unit of ``x``
    mask : the gradient is 0 where ``|x|`` is larger; at most half a period. None: nowhere
    beyond : one of `BEYOND`. ``keep`` is faithful to the series, which becomes negative there; ``zero`` never pushes a
        value away from where its gradient wants it

    Raises
    ------
    ValueError
        for a value out of range, by name.
    """

    first: int = 9
    last: int = 18
    omega: float = 0.1
    mask: float | None = 1.0
    beyond: str = "keep"

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last:
            raise ValueError(f"first and last must be numbers of terms that grow from 0, not {self.first}, {self.last}")
        if not self.omega > 0:
            raise ValueError(f"omega must be positive, not {self.omega}")
        if self.mask is not None and not 0 < self.mask <= math.pi / self.omega:
            raise ValueError(f"mask must be in 0..{math.pi / self.omega:.4g}, half a period, not {self.mask}")
        if self.beyond not in BEYOND:
            raise ValueError(f"beyond must be {' or '.join(BEYOND)}, not {self.beyond!r}")

    def n(self, progress: float) -> int:
        """n when a share ``progress`` of the training is over."""
        return self.first + int((self.last - self.first) * min(max(progress, 0.0), 1.0))

    def first_zero(self, progress: float) -> float:
        """The smallest positive ``x`` at which the gradient is 0."""
        return math.pi / (2 * self.omega * (self.n(progress) + 1))

    def slope(self, x: Tensor, progress: float) -> Tensor:
        """The closed form at every element of ``x``, masked."""
        twice = 2 * (self.n(progress) + 1)
        phase = self.omega / math.pi * x
        # Half periods are taken off first: near their ends both sines are small, and their ratio would be noise.
        periods = phase.round()
        rest = math.pi * (phase - periods)
        below = torch.sin(rest)
        ratio = torch.where(below == 0, twice, torch.sin(twice * rest) / below)
        found = (2 * self.omega / math.pi) * torch.where(periods.remainder(2) == 0, ratio, -ratio)
        ends = [end for end in (self.mask, self.first_zero(progress) if self.beyond == "zero" else None) if end]
        return found * (x.abs() <= min(ends)) if ends else found
