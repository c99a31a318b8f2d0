"""How a network is made binary: the choices of a method as one value, and the methods that have been published."""

from dataclasses import dataclass

from ..compute.surrogates import STRAIGHT_THROUGH, Fourier, PassThrough, Surrogate
from .binary import BinaryConv2d, Sign
from .noise import NoiseAdaptation

__all__ = ["BINARISATIONS", "Binarisation"]


@dataclass(frozen=True, kw_only=True)
class Binarisation:
    """What all binary layers of a network have in common.

    Attributes
    ----------
    features, weights : gradients of their signs
    scale : of the signs of weights, see `BinaryConv2d`
    noise : noise adaptation of features and of weights, in training
    at_zero : whether the sign of 0 is +1
    border : what a padded tap reads, -1 or 0
    scale_gradient : whether the scale multiplies the gradient of the weights, too
    """

    features: Surrogate = STRAIGHT_THROUGH
    weights: Surrogate = STRAIGHT_THROUGH
    scale: str = "none"
    noise: bool = False
    at_zero: bool = True
    border: int = -1
    scale_gradient: bool = True

    @staticmethod
    def named(name: str) -> "Binarisation":
        """The published method called ``straight-through``, ``dorefa`` or ``fda``; a ``ValueError`` for another."""
        if name not in BINARISATIONS:
            raise ValueError(f"binarisation must be one of {', '.join(BINARISATIONS)}, not {name!r}")
        return BINARISATIONS[name]

    def sign(self, channels: int | None = None) -> Sign:
        """The activation of a map of ``channels``; a ``ValueError`` where noise adaptation is not told how many."""
        if self.noise and channels is None:
            raise ValueError("noise adaptation needs the number of channels")
        noise = NoiseAdaptation(channels) if self.noise and channels is not None else None
        return Sign(at_zero=self.at_zero, surrogate=self.features, noise=noise)

    def convolution(
        self, in_channels: int, out_channels: int, size: int, *, stride: int = 1, padding: int = 0, groups: int = 1
    ) -> BinaryConv2d:
        """A convolution of signs, with windows of ``size`` by ``size``."""
        return BinaryConv2d(
            in_channels, out_channels, size, stride=stride, padding=padding, groups=groups, surrogate=self.weights,
            scale=self.scale, noise=self.noise, at_zero=self.at_zero, border=self.border,
            scale_gradient=self.scale_gradient,
        )  # fmt: skip


BINARISATIONS = {
    "straight-through": Binarisation(),
    "dorefa": Binarisation(weights=PassThrough(), scale="layer", at_zero=False, scale_gradient=False),
    "fda": Binarisation(features=Fourier(), weights=Fourier(), scale="filter", noise=True, at_zero=False),
}
"""By name: Courbariaux et al. 2016 with the signs alone; DoReFa-Net with one bit; FDA-BNN. All pad with -1 here."""
