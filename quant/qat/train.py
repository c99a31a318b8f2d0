"""Quantisation-aware training with Brevitas: layers that round in the forward pass, lowered to the same Program.

An adder layer's features and weights go through one quantiser with one learned step, so that what is trained is what
the shared scale computes. Steps begin where post-training calibration puts them.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import brevitas.nn as qnn
import numpy as np
import torch
from brevitas.core.function_wrapper import Identity, RoundSte, TensorClamp, TensorClampSte
from brevitas.core.quant import IntQuant
from brevitas.core.scaling import ParameterScaling
from brevitas.quant import Int8WeightPerChannelFloat
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ...common.errors import UserError
from ...models import data
from ...models.files.checkpoint import Recipe, build_for, fit, read_checkpoint, save_checkpoint
from ...models.layers.adder import AdderConv2d, adder_product
from ...models.layers.shift import ShiftConv2d
from ...models.nets import zoo
from ...models.training.loop import accuracy, train
from ..fold.calibrate import Grid
from ..fold.scheme import Scheme
from ..formats import Format, signed
from ..lower.calibration import Calibration, calibrate
from ..lower.lowering import feature_grids

__all__ = ["FeatureQuantiser", "SharedScaleAdderConv2d", "float_start", "load_trained", "prepare", "train_quantised"]

_LEARNING_RATE = 0.01


class FeatureQuantiser(nn.Module):
    """Rounds onto a grid whose step is learned; gradients pass straight through the rounding."""

    def __init__(self, grid: Grid):
        super().__init__()
        self.format = grid.format
        self.scaling = ParameterScaling(scaling_init=grid.step)
        self.features = self._quantiser(TensorClamp())
        # What the clamp takes from a weight is given back, so its gradient passes the clamp as well.
        self.weights = self._quantiser(TensorClampSte())
        self.register_buffer("zero_point", torch.tensor(0.0), persistent=False)
        self.register_buffer("bit_width", torch.tensor(float(grid.format.bits)), persistent=False)

    def _quantiser(self, clamp: nn.Module) -> nn.Module:
        return IntQuant(
            narrow_range=False, signed=self.format.signed, input_view_impl=Identity(), float_to_int_impl=RoundSte(),
            tensor_clamp_impl=clamp,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Features, any shape."""
        result: Tensor = self.features(self._step(x, x[0].numel()), self.zero_point, self.bit_width, x)
        return result

    def _step(self, values: Tensor, count: int) -> Tensor:
        """The step; its gradient, a sum over ``count`` values, is scaled to the size of a single parameter's (Esser et
        al., "Learned Step Size Quantization")."""
        step: Tensor = self.scaling(values)
        share = 1 / math.sqrt(count * self.format.hi)
        return step * share + (step * (1 - share)).detach()

    def shared(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (O, K) on the grid of the features, and what the clamp took from each filter, (O,)."""
        # An adder layer's weights have gradients of a set size (models/layers/adder.py), which say nothing about the
        # step.
        step = self.scaling(weight).detach()
        rounded = self.weights(step, self.zero_point, self.bit_width, weight)
        lo, hi = float(self.format.lo) * step, float(self.format.hi) * step
        lost = (weight - torch.minimum(torch.maximum(weight, lo), hi)).abs().sum(1)
        return rounded, lost.detach()

    @property
    def grid(self) -> Grid:
        """As it stands."""
        return Grid(format=self.format, step=float(self.scaling(torch.zeros(1)).detach()))


class _Trained(nn.Module):
    """A layer with a quantiser in front of it; pixels come on their own grid and have none."""

    quantiser: FeatureQuantiser | None

    @property
    def grid(self) -> Grid | None:
        """Of the features that the layer reads; what lowering stores them on."""
        return None if self.quantiser is None else self.quantiser.grid

    def rounded(self, x: Tensor) -> Tensor:
        """Features on their grid."""
        return x if self.quantiser is None else self.quantiser(x)


class SharedScaleAdderConv2d(_Trained, AdderConv2d):
    """An adder convolution whose features and weights share one learned step."""

    def __init__(self, layer: AdderConv2d, grid: Grid):
        AdderConv2d.__init__(
            self, layer.in_channels, layer.out_channels, layer.kernel_size, stride=layer.stride, padding=layer.padding
        )
        self.weight = layer.weight
        self.quantiser = FeatureQuantiser(grid)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H', W')."""
        assert self.quantiser is not None
        rows, columns = ((n + 2 * self.padding - self.kernel_size) // self.stride + 1 for n in x.shape[2:])
        patches = F.unfold(self.rounded(x), self.kernel_size, padding=self.padding, stride=self.stride)
        weight, lost = self.quantiser.shared(self.weight.flatten(1))
        out = adder_product(patches.transpose(1, 2).flatten(0, 1), weight) - lost
        return out.view(len(x), rows * columns, -1).transpose(1, 2).reshape(len(x), -1, rows, columns)


class QuantisedConv2d(_Trained, qnn.QuantConv2d):
    """An ordinary convolution with Brevitas' symmetric weights, one scale per output channel."""

    def __init__(self, layer: nn.Conv2d, grid: Grid | None, bits: int):
        qnn.QuantConv2d.__init__(
            self, layer.in_channels, layer.out_channels, layer.kernel_size, stride=layer.stride, padding=layer.padding,
            groups=layer.groups, bias=layer.bias is not None, weight_quant=Int8WeightPerChannelFloat,
            weight_bit_width=bits,
        )  # fmt: skip
        _copy(layer, self)
        self.bits = bits
        self.quantiser = None if grid is None else FeatureQuantiser(grid)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H', W')."""
        result: Tensor = qnn.QuantConv2d.forward(self, self.rounded(x))
        return result

    def integer_weight(self) -> tuple[NDArray[np.int64], NDArray[np.float64], Format]:
        """Integers, steps (O,) and format."""
        return _integers(self, self.bits)


class QuantisedLinear(_Trained, qnn.QuantLinear):
    """A dense layer with Brevitas' symmetric weights, one scale per output."""

    def __init__(self, layer: nn.Linear, grid: Grid | None, bits: int):
        qnn.QuantLinear.__init__(
            self, layer.in_features, layer.out_features, bias=layer.bias is not None,
            weight_quant=Int8WeightPerChannelFloat, weight_bit_width=bits,
        )  # fmt: skip
        _copy(layer, self)
        self.bits = bits
        self.quantiser = None if grid is None else FeatureQuantiser(grid)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I) -> (B, O)."""
        result: Tensor = qnn.QuantLinear.forward(self, self.rounded(x))
        return result

    def integer_weight(self) -> tuple[NDArray[np.int64], NDArray[np.float64], Format]:
        """Integers, steps (O,) and format."""
        return _integers(self, self.bits)


class QuantisedShiftConv2d(_Trained, ShiftConv2d):
    """A shift convolution that reads quantised features; its weights are powers of two anyway."""

    def __init__(self, layer: ShiftConv2d, grid: Grid | None):
        ShiftConv2d.__init__(
            self, layer.in_channels, layer.out_channels, layer.kernel_size, stride=layer.stride, padding=layer.padding
        )
        self.weight = layer.weight
        self.quantiser = None if grid is None else FeatureQuantiser(grid)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H', W')."""
        return ShiftConv2d.forward(self, self.rounded(x))


def _copy(source: nn.Conv2d | nn.Linear, target: nn.Conv2d | nn.Linear) -> None:
    """Into the parameters that the quantiser of ``target`` already knows."""
    target.load_state_dict(source.state_dict(), strict=False)


def _integers(layer: Any, bits: int) -> tuple[NDArray[np.int64], NDArray[np.float64], Format]:
    with torch.no_grad():
        quantised = layer.quant_weight()
        steps = quantised.scale.double().flatten().numpy()
        words = torch.round(quantised.value.double() / quantised.scale.double()).numpy().astype(np.int64)
    return words, np.broadcast_to(steps, (len(words),)).copy(), signed(bits)


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
        """Of the features; None for pixels."""
        return Grid(format=Format(bits=self.features, signed=self.signed), step=self.step) if self.features else None


def layer_grids(calibration: Calibration, scheme: Scheme) -> dict[str, LayerGrid]:
    """Where training begins: the grids of post-training quantisation, by path of layer."""
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
                made = QuantisedShiftConv2d(layer, entry.grid)
            case nn.Conv2d():
                made = QuantisedConv2d(layer, entry.grid, entry.weights)
            case nn.Linear():
                made = QuantisedLinear(layer, entry.grid, entry.weights)
            case _:
                continue
        parent, _, name = path.rpartition(".")
        trained.get_submodule(parent).register_module(name, made)
    return trained


def train_quantised(
    start: Path,
    *,
    bits: int,
    source: str,
    epochs: int,
    seed: int,
    out: Path,
    images: int = 1000,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Go on training a float checkpoint at ``bits`` bits, test it once, write its checkpoint.

    Raises
    ------
    UserError
        for a checkpoint that is missing or already quantised, unknown data, bits out of range.
    """
    try:
        scheme = Scheme(bits=bits)
    except ValueError as error:
        raise UserError(str(error)) from error
    module, recipe = load_trained(start)
    if recipe.bits is not None:
        raise UserError(f"{start} is trained at {recipe.bits} bits already; start from a float checkpoint")
    chosen = data.load(source, "train", shape=recipe.shape)
    test = data.load(source, "test", shape=recipe.shape)
    torch.manual_seed(seed)
    grids = layer_grids(calibrate(module, chosen.head(images).x, scheme=scheme), scheme)
    trained = prepare(module, grids)
    train(
        trained, chosen, epochs=epochs, seed=seed, learning_rate=_LEARNING_RATE,
        progress=lambda epoch, loss: progress(),
    )  # fmt: skip
    share = accuracy(trained, test)
    made = replace(
        recipe, data=Path(source).name, seed=seed, epochs=epochs, accuracy=share, bits=bits,
        grids={path: asdict(entry) for path, entry in grids.items()},
    )  # fmt: skip
    save_checkpoint(out, trained, made)
    return {
        "accuracy": share,
        "images": len(test),
        "epochs": epochs,
        "seed": seed,
        "bits": bits,
        "checkpoint": str(out),
    }


def float_start(network: str, kernel: str, path: Path | None) -> Path:
    """The float checkpoint that training at few bits starts from: ``path``, or the one that comes with ``network``.

    Raises
    ------
    UserError
        when none comes with it, or ``path`` holds another network.
    """
    zoo.build(network, kernel=kernel)  # names what is wrong with either
    if path is None:
        path = zoo.shipped_checkpoint(network, kernel)
        if path is None:
            raise UserError(f"no checkpoint comes with {network}, kernel {kernel}; name a float one with --from")
    _, recipe = read_checkpoint(path)
    if (recipe.network, recipe.kernel) != (network, kernel):
        raise UserError(f"{path} holds {recipe.network} with kernel {recipe.kernel}, not {network} with {kernel}")
    return path


def load_trained(path: Path) -> tuple[nn.Module, Recipe]:
    """Read a checkpoint, float or trained at few bits, and build its network in evaluation mode.

    Raises
    ------
    UserError
        as `load_checkpoint`.
    """
    path = Path(path)
    tensors, recipe = read_checkpoint(path)
    module = build_for(recipe, tensors, path, extra=recipe.grids is not None)
    try:
        if recipe.grids is not None:
            module = prepare(module, {layer: LayerGrid(**entry) for layer, entry in recipe.grids.items()})
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} is a broken checkpoint: {error}") from error
    return fit(module, tensors, str(path), recipe.network), recipe
