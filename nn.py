"""Layers without multiplications, to build networks of: what `addax.quantize` takes beside those of torch; and the
learning rule of adder layers."""

from .models.compute.surrogates import Fourier, PassThrough, StraightThrough
from .models.layers.adder import AdderConv2d
from .models.layers.adder_gradients import scale_adder_gradients, scale_at_each_step
from .models.layers.binarisation import Binarisation
from .models.layers.binary import BinaryConv2d, Sign, set_progress
from .models.layers.noise import NoiseAdaptation
from .models.layers.normalize import Normalise
from .models.layers.shift import ShiftConv2d
from .models.layers.spatial_shift import SpatialShift2d

__all__ = [
    "AdderConv2d", "Binarisation", "BinaryConv2d", "Fourier", "NoiseAdaptation", "Normalise", "PassThrough",
    "ShiftConv2d", "Sign", "SpatialShift2d", "StraightThrough", "scale_adder_gradients", "scale_at_each_step",
    "set_progress",
]  # fmt: skip
