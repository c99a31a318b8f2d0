"""A float network made ready to be trained at few bits: which grid each layer begins with, and the layers that round.

Steps begin where post-training calibration puts them.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from ...common.errors import UserError
from ...models.layers.adder import AdderConv2d
from ...models.layers.shift import ShiftConv2d
from ..fold.calibrate import Grid
from ..fold.scheme import Scheme
from ..formats import Format
from ..lower.calibration import Calibration
from ..lower.lowering import feature_grids
from .layers import QuantizedConv2d, QuantizedLinear, QuantizedShiftConv2d, SharedScaleAdderConv2d

__all__ = ["LayerGrid", "layer_grids", "prepare"]


@dataclass(frozen=True, kw_only=True)
class LayerGrid:
    """What a trained layer is built from: bits of its weights, and the grid of its features.

    Attributes
    ----------
    features : their bits, 0 for pixels, which come on their own grid
    signed : of the features
    step : at the start of training
    """

    weights: int
    features: int
    signed: bool
    step: float

    def __post_init__(self) -> None:
        for what, bits in (("weights", self.weights), ("features", self.features)):
            if type(bits) is not int or not 0 <= bits <= 16:
                raise ValueError(f"{what} of a trained layer have 0 to 16 bits, not {bits!r}")
        if not isinstance(self.step, int | float) or not 0 < self.step < math.inf:
            raise ValueError(f"the step of a trained layer must be a positive number, not {self.step!r}")

    @property
    def grid(self) -> Grid | None:
        """The grid of the features that the layer reads; None for pixels."""
        return Grid(format=Format(bits=self.features, signed=self.signed), step=self.step) if self.features else None


def layer_grids(calibration: Calibration, scheme: Scheme) -> dict[str, LayerGrid]:
    """The grids of post-training quantisation by path of layer, from which training begins."""
    return {
        path: LayerGrid(
            weights=bits,
            features=0 if grid is None else grid.format.bits,
            signed=grid is not None and grid.format.signed,
            step=1.0 if grid is None else grid.step,
        )
        for path, (grid, bits) in feature_grids(calibration, scheme).items()
    }


def prepare(module: nn.Module, grids: Mapping[str, LayerGrid]) -> nn.Module:
    """A copy of ``module`` whose layers round as the Program will; binary layers round already and stay.

    Raises
    ------
    UserError
        when ``grids`` names a layer that ``module`` does not have.
    """
    trained = copy.deepcopy(module)
    for path, entry in grids.items():
        try:
            layer = trained.get_submodule(path)
        except AttributeError as error:
            raise UserError(f"the network has no layer {path!r}") from error
        made: nn.Module
        match layer:
            case AdderConv2d():
                if entry.grid is None:
                    raise UserError(f"layer {path!r} is an adder layer, whose features have a grid")
                made = SharedScaleAdderConv2d(layer, entry.grid)
            case ShiftConv2d():
                made = QuantizedShiftConv2d(layer, entry.grid)
            case nn.Conv2d():
                made = QuantizedConv2d(layer, entry.grid, entry.weights)
            case nn.Linear():
                made = QuantizedLinear(layer, entry.grid, entry.weights)
            case _:
                continue
        parent, _, name = path.rpartition(".")
        trained.get_submodule(parent).register_module(name, made)
    return trained
