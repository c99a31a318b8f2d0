"""Layers without multiplications, to build networks of: what `addax.quantize` takes beside those of torch; and the
learning rule of adder layers."""

from .models.layers.adder import AdderConv2d
from .models.layers.adder_gradients import scale_adder_gradients, scale_at_each_step
from .models.layers.binary import BinaryConv2d, Sign
from .models.layers.normalize import Normalise
from .models.layers.shift import ShiftConv2d
from .models.layers.spatial_shift import SpatialShift2d

__all__ = [
    "AdderConv2d", "BinaryConv2d", "Normalise", "ShiftConv2d", "Sign", "SpatialShift2d", "scale_adder_gradients",
    "scale_at_each_step",
]  # fmt: skip
