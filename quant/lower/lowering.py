"""Lowering: a trained torch network and calibration images to an integer Program."""

import json
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from ...common.errors import UserError
from ...models.data.sets import check_pixels
from ...models.layers.adder import AdderConv2d
from ...models.layers.binary import BinaryConv2d, Sign
from ...models.layers.normalize import Normalise
from ...models.layers.shift import ShiftConv2d, nearest_powers
from ...models.layers.spatial_shift import SpatialShift2d
from ...models.training.loop import to_float
from ..fold.assembly import Assembly, Bits, Pending, Stored
from ..fold.calibrate import Grid, Ranges, group_steps, observe, per_channel_symmetric, shared_scale
from ..fold.choice import Choice
from ..fold.factors import Threshold as FoldedThreshold
from ..fold.factors import fold_sign
from ..fold.regrid import requantised_once
from ..fold.scheme import Scheme
from ..formats import Format, signed, unsigned
from ..program import (
    SHIFT_MAX,
    AveragePool,
    Concat,
    Convolution,
    Flatten,
    Input,
    MaxPool,
    Op,
    PixelShuffle,
    Program,
    Shape,
    SpatialShift,
    Threshold,
    Upsample,
)  # fmt: skip
from .moves import interpolate_factor, shuffle_factor, upsample_factor

__all__ = ["ORIGINS", "Calibration", "batches", "calibrate", "feature_grids", "lower", "trace"]

Floats = NDArray[np.float64]
ORIGINS = "origins"
"""Key of a Program's metadata: which value of the float network each operation stands for, as JSON."""
_BATCH = 64
_LEAVES = (AdderConv2d, BinaryConv2d, ShiftConv2d, Sign, Normalise, SpatialShift2d)
_CONVOLUTIONS = (AdderConv2d, BinaryConv2d, ShiftConv2d, nn.Conv2d, nn.Linear)
_LAYERS = (
    "AdderConv2d, BinaryConv2d, ShiftConv2d, Conv2d, Linear, BatchNorm1d/2d, ReLU, Sign, Normalise, MaxPool2d, "
    "AvgPool2d, AdaptiveAvgPool2d to 1x1, SpatialShift2d, PixelShuffle, Upsample (nearest), Flatten, Unflatten, "
    "Identity, Dropout, Sequential"
)
_FUNCTIONS = (
    "addition, relu, flatten, view or reshape to (batch, -1), cat of channels, pixel_shuffle, interpolate (nearest)"
)
_SATURATED = 0.99
"""Share of white pixels beyond which images say nothing about a network."""


_Value = Stored | Pending | Bits


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A traced network and what its values were over the calibration images of ``shape``."""

    traced: fx.GraphModule
    ranges: Ranges
    shape: Shape

    def convolutions(self) -> list[str]:
        """Paths of all convolutions and dense layers."""
        return [str(node.target) for node in self.traced.graph.nodes if _is_convolution(self.traced, node)]


def lower(
    module: nn.Module,
    calibration: NDArray[np.uint8] | Calibration,
    *,
    bits: int = 8,
    scheme: Scheme | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Program:
    """Quantise a trained network after training, with one scale shared by the weights and features of adder layers.

    Parameters
    ----------
    module : built of AdderConv2d, BinaryConv2d, ShiftConv2d, Conv2d, Linear, BatchNorm, ReLU, Sign, Normalise,
        MaxPool2d, AvgPool2d, AdaptiveAvgPool2d(1), SpatialShift2d, PixelShuffle, Upsample(mode="nearest"), Flatten,
        Unflatten to 1x1, Identity, Dropout, residual additions and concatenations of channels; takes images scaled to
        0..1, ends in (B, classes) scores or in a map (B, C, H, W), which the Program then gives raw
    calibration : (N, C, H, W) uint8 images from the training split, or what `calibrate` made of them, when the same
        network is lowered several times
    bits : 2..16, of features and weights; short for ``scheme=Scheme(bits=bits)``
    scheme : every other choice

    Raises
    ------
    UserError
        bits out of range, NaN or infinite weights, an unsupported layer (named with its path), calibration images that
        are no unsigned bytes, all alike or white, factors that no multiplier holds.
    """
    if scheme is None:
        try:
            scheme = Scheme(bits=bits)
        except ValueError as error:
            raise UserError(str(error)) from error
    found = calibration if isinstance(calibration, Calibration) else calibrate(module, calibration, scheme=scheme)
    return _Lowering(found, scheme).program(metadata or {})


def calibrate(module: nn.Module, images: NDArray[np.uint8], *, scheme: Scheme | None = None) -> Calibration:
    """Run ``module`` over (N, C, H, W) uint8 images; raises `UserError` as `lower` does."""
    for name, value in module.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise UserError(f"tensor {name!r} holds NaN or infinite values; it cannot be quantised")
    _check_calibration(images)
    traced = trace(module)
    shape = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))
    try:
        ranges = observe(traced, batches(images), quantile=(scheme or Scheme()).quantile)
    except (RuntimeError, IndexError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"the network cannot take images of {'x'.join(map(str, shape))}: {reason}") from error
    return Calibration(traced=traced, ranges=ranges, shape=shape)


def feature_grids(calibration: Calibration, scheme: Scheme) -> dict[str, tuple[Grid | None, int]]:
    """By path of layer: the grid of the features that it reads (None for pixels), and the bits of its weights."""
    lowering = _Lowering(calibration, scheme)
    lowering.program({})
    return lowering.grids


def _check_calibration(images: NDArray[np.uint8]) -> None:
    check_pixels(images, "calibration images")
    if len(images) == 0:
        raise UserError("calibration needs at least one image")
    if int(images.min()) == int(images.max()):
        raise UserError(f"calibration images are constant: every pixel is {int(images.max())}")
    white = float((images == 255).mean())
    if white > _SATURATED:
        raise UserError(f"calibration images are saturated: {100 * white:.1f} % of their pixels are 255")


def batches(pixels: NDArray[np.uint8]) -> Iterator[Tensor]:
    """Images in 0..1, a few at a time."""
    for begin in range(0, len(pixels), _BATCH):
        yield to_float(pixels[begin : begin + _BATCH])


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _LEAVES) or hasattr(m, "quantiser") or super().is_leaf_module(m, module_qualified_name)


def trace(module: nn.Module) -> fx.GraphModule:
    """The graph of ``module`` in evaluation mode; raises `UserError` when there is none."""
    module.eval()
    try:
        return _pools_behind_relus(fx.GraphModule(module, _Tracer().trace(module)))
    except UserError:
        raise
    except Exception as error:  # tracing runs the user's code, which may raise anything
        raise UserError(f"{type(module).__name__} cannot be traced: {type(error).__name__}: {error}") from error


def _pools_behind_relus(traced: fx.GraphModule) -> fx.GraphModule:
    """The same network with every max pool in front of a ReLU behind it, where sums have become features: the largest
    of a window is the same before and after what never falls."""
    for pool in list(traced.graph.nodes):
        if pool.op != "call_module" or not isinstance(traced.get_submodule(str(pool.target)), nn.MaxPool2d):
            continue
        relu, source = next(iter(pool.users), None), _argument(pool)
        # A ReLU in place would change what others read of its new source.
        if len(pool.users) != 1 or len(source.users) != 1 or relu is None or not _is_relu(traced, relu):
            continue
        relu.replace_all_uses_with(pool)
        pool.replace_input_with(source, relu)
        relu.replace_input_with(pool, source)
        pool.prepend(relu)
    traced.graph.lint()
    traced.recompile()
    return traced


def _is_relu(traced: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(traced.get_submodule(str(node.target)), nn.ReLU)
    named = node.target in (torch.relu, nn.functional.relu) if node.op == "call_function" else node.target == "relu"
    return node.op in ("call_function", "call_method") and bool(named)


def _numpy(value: Tensor) -> Floats:
    return value.detach().double().numpy()


class _Lowering(Assembly):
    """One walk over the traced graph."""

    def __init__(self, calibration: Calibration, scheme: Scheme):
        layers = [calibration.traced.get_submodule(path) for path in calibration.convolutions()]
        # What has been trained on grids has been rounded as torch rounds.
        trained = any(getattr(layer, "grid", None) is not None for layer in layers)
        super().__init__(
            terms=scheme.terms, ties="even" if trained else "up", shared=scheme.shifts == "shared"
        )  # fmt: skip
        self.traced = calibration.traced
        self.ranges = calibration.ranges
        self.scheme = scheme
        self.origins: dict[str, str] = {}
        self.grids: dict[str, tuple[Grid | None, int]] = {}
        self.values: dict[fx.Node, _Value] = {}
        self.roots: dict[fx.Node, fx.Node] = {}
        self.stored: dict[tuple[fx.Node, Format, float], Stored] = {}
        self.emit(Input(name="pixels", shape=calibration.shape), 1 / 255)
        known = calibration.convolutions()
        if unknown := [path for path in scheme.layer_bits if path not in known]:
            raise UserError(f"the network has no convolution {unknown[0]!r}; it has {', '.join(known)}")

    def program(self, metadata: Mapping[str, str]) -> Program:
        for node in self.traced.graph.nodes:
            match node.op:
                case "placeholder":
                    if self.values:
                        raise UserError(f"the network must take one tensor, the images; it also takes {node.name!r}")
                    self.values[node] = Stored(op="pixels", step=1 / 255)
                case "call_module":
                    self.values[node] = self._module(node)
                case "call_function" if node.target is getattr and node.args[1] == "shape":
                    pass  # the batch size of a view
                case "call_function" if node.target is operator.getitem and node.args[0] not in self.values:
                    pass  # of that shape
                case "call_function":
                    self.values[node] = self._function(node)
                case "call_method":
                    self._method(node)
                case "output":
                    self._output(node.args[0])
                case _:
                    raise UserError(f"unsupported {node.op} {node.target!r} in the network")
        try:
            formats = {name: fmt for name, (_, fmt) in self.inferred.items()}
            ordered = requantised_once(list(self.ops.values()), self.steps, formats, terms=self.terms)
            self.ops = {op.name: op for op in ordered}
            return self.assembled({**metadata, ORIGINS: json.dumps(self.origins, sort_keys=True)})
        except ValueError as error:
            raise UserError(f"the network does not make a program: {error}") from error

    # Operations of the graph

    def _module(self, node: fx.Node) -> _Value:
        path = str(node.target)
        layer = self.traced.get_submodule(path)
        source = _argument(node)
        match layer:
            case nn.Identity() | nn.Dropout():
                return self._same(node, source)
            case AdderConv2d() | BinaryConv2d() | ShiftConv2d() | nn.Conv2d() | nn.Linear():
                return self._convolution(node, path, layer, source)
            case nn.BatchNorm2d() | nn.BatchNorm1d():
                return self._batch_norm(path, layer, source)
            case Normalise():
                return self._normalise(path, layer, source)
            case nn.ReLU():
                return self._relu(path, source, node)
            case Sign():
                return self._sign(node, path, layer, source)
            case nn.MaxPool2d():
                return self._max_pool(node, path, layer, source)
            case nn.AvgPool2d():
                return self._average_pool(node, path, layer, source)
            case nn.AdaptiveAvgPool2d():
                return self._global_pool(node, path, layer, source)
            case SpatialShift2d():
                return self._spatial_shift(node, path, layer, source)
            case nn.PixelShuffle():
                return self._pixel_shuffle(node, path, layer.upscale_factor, source)
            case nn.Upsample():
                return self._upsample(node, path, upsample_factor(path, layer, self._shape_of(source)), source)
            case nn.Flatten():
                if (layer.start_dim, layer.end_dim) != (1, -1):
                    raise UserError(f"flatten at {path!r} must keep the batch and flatten all the rest")
                return self._flatten(node, source)
            case nn.Unflatten():
                return self._unflatten(node, path, layer, source)
        raise UserError(f"unsupported layer {type(layer).__name__} at {path!r}; supported: {_LAYERS}")

    def _function(self, node: fx.Node) -> _Value:
        table: dict[Callable[..., Any], Callable[[fx.Node], _Value]] = {
            operator.add: self._add,
            torch.add: self._add,
            torch.cat: self._concat,
            torch.flatten: self._flatten_function,
            nn.functional.interpolate: lambda n: self._upsample(
                n, n.name, interpolate_factor(n, self._shape_of(_argument(n))), _argument(n)
            ),
            nn.functional.pixel_shuffle: lambda n: self._pixel_shuffle(n, n.name, shuffle_factor(n), _argument(n)),
            torch.relu: lambda n: self._relu(n.name, _argument(n), n),
            nn.functional.relu: lambda n: self._relu(n.name, _argument(n), n),
        }
        target = node.target
        if callable(target) and target in table:
            return table[target](node)
        name = getattr(target, "__name__", target)
        raise UserError(f"unsupported function {name!r} at {node.name!r}; supported: {_FUNCTIONS}")

    def _method(self, node: fx.Node) -> None:
        match node.target:
            case "size":
                return
            case "relu":
                self.values[node] = self._relu(node.name, _argument(node), node)
            case "flatten":
                self.values[node] = self._flatten_function(node)
            case "view" | "reshape" if len(node.args) == 3 and node.args[2] == -1:
                self.values[node] = self._flatten(node, _argument(node))
            case _:
                raise UserError(f"unsupported method {node.target!r} at {node.name!r}; supported: {_FUNCTIONS}")

    def _convolution(self, node: fx.Node, path: str, layer: nn.Module, source: fx.Node) -> Pending:
        value = self.values[source]
        ordinary = isinstance(layer, nn.Conv2d | nn.Linear) and getattr(layer, "groups", 1) == 1
        if isinstance(value, Pending) and value.op == "pixels" and not value.relu and ordinary:
            return self._on_pixels(path, layer, value)
        if isinstance(layer, BinaryConv2d) and isinstance(value, Bits):
            words = (_weights(layer) >= 0).astype(np.int64)
            return self._sums(path, layer, value.op, "xnor", words, unsigned(1), np.ones(len(words)))
        stored = self._features(node, path, layer, source)
        if self.shape(stored.op)[1:] != (1, 1) and isinstance(layer, nn.Linear):
            raise UserError(f"dense layer at {path!r} reads a map of {self.shape(stored.op)}; flatten it first")
        if isinstance(layer, AdderConv2d):
            return self._adder(node, path, layer, source, stored)
        kernel, words, fmt, steps = self._factors(path, layer, edge=self._at_edge(node, stored.op))
        return self._sums(path, layer, stored.op, kernel, words, fmt, stored.step * steps, unit=stored.step)

    def _factors(self, path: str, layer: nn.Module, *, edge: bool) -> tuple[str, NDArray[np.int64], Format, Floats]:
        """Kernel, words, format and steps (O,) of the weights of a layer that multiplies."""
        weight = _weights(layer)
        if isinstance(layer, BinaryConv2d):
            return "mult", (weight >= 0).astype(np.int64), unsigned(1), np.ones(len(weight))
        if isinstance(layer, ShiftConv2d):
            words, unit = _shift_words(layer.weight)
            return "shift", words, unsigned(4), np.full(len(weight), unit)
        fmt = signed(self.scheme.of(path, edge=edge))
        trained = getattr(layer, "integer_weight", None)
        if trained is not None:
            words, steps, fmt = trained()
            return "mult", words.reshape(weight.shape), fmt, steps
        words, steps = per_channel_symmetric(weight, fmt)
        return "mult", words, fmt, steps

    def _sums(
        self, path: str, layer: nn.Module, source: str, kernel: str, words: NDArray[np.int64], fmt: Format,
        gain: Floats, *, unit: float = 1.0, centre: Floats | None = None, pad: NDArray[np.int64] | None = None,
    ) -> Pending:  # fmt: skip
        stride, padding, groups = _geometry(layer, path)
        channels = self.shape(source)[0]
        if pad is None:
            pad = np.zeros(channels, np.int64)
            if padding and kernel == "mult" and isinstance(layer, BinaryConv2d):
                pad -= round(1 / unit)  # a binary layer pads with -1
                if not self.format(source).allows(pad):
                    raise UserError(f"binary layer at {path!r} pads with -1, which {self.format(source)} cannot hold")
        bias = getattr(layer, "bias", None)
        name = self.emit(
            Convolution(
                name=self.unique(path), source=source, kernel=kernel, weight=words, weight_format=fmt, stride=stride,
                padding=padding, pad=pad, groups=groups,
            )
        )  # fmt: skip
        zero = np.zeros(len(words))
        return Pending(
            op=name, gain=gain, centre=zero if centre is None else centre, bias=zero if bias is None else _numpy(bias)
        )

    def _on_pixels(self, path: str, layer: nn.Module, value: Pending) -> Pending:
        """A layer that multiplies normalised pixels: their scale goes into its weights, their centre into its sums.

        The framework pads with zeros after normalisation: with the centre.
        """
        pixels = np.rint(value.centre - value.bias / value.gain).astype(np.int64) * (_geometry(layer, path)[1] > 0)
        if not self.format(value.op).allows(pixels):
            raise UserError(f"layer at {path!r} pads with {pixels.tolist()}, which are no pixels")
        scaled = np.asarray(_weights(layer) * value.gain[None, :, None, None], np.float64)
        fmt = signed(self.scheme.of(path, edge=True))
        self.grids[path] = None, fmt.bits
        words, steps = per_channel_symmetric(scaled, fmt)
        centre = np.einsum("oikl,i->o", words.astype(np.float64), value.centre - value.bias / value.gain)
        return self._sums(path, layer, value.op, "mult", words, fmt, steps, centre=centre, pad=pixels)

    def _adder(self, node: fx.Node, path: str, layer: AdderConv2d, source: fx.Node, stored: Stored) -> Pending:
        """An adder layer, in one part or, where groups of filters want grids of their own, in several: features stored
        once per step, one convolution per group, their sums side by side."""
        weight, fmt = _weights(layer), self.format(stored.op)
        # A trained layer's batch norm has met its roundings already.
        patches = None if getattr(layer, "grid", None) is not None else self.ranges.patches.get(node.name)
        groups = [(len(weight), stored.step)]
        free = isinstance(self.values[source], Pending)
        if free and patches is not None and (self.scheme.groups > 1 or self.scheme.ranges == "sums"):
            groups = group_steps(weight, patches, stored.step, fmt, self.scheme.groups)
        lossless = self.scheme.sharing == "lossless"
        begin, parts = 0, []
        for count, step in groups:
            some = slice(begin, begin + count)
            of_group = stored if step == stored.step else self._materialise(source, fmt, step)
            words, centre = shared_scale(weight[some], step, fmt, lossless=lossless)
            if self.scheme.correct and lossless and patches is not None:
                centre = centre + replace(patches, sums=patches.sums[:, some]).on_grid(weight[some], step, fmt)[0]
            parts.append(self._sums(path, layer, of_group.op, "adder", words, fmt, np.full(count, step), centre=centre))
            begin += count
        if len(parts) == 1:
            return parts[0]
        name = self.emit(
            Concat(name=self.unique(f"{path}_sums"), source=parts[0].op, others=tuple(part.op for part in parts[1:]))
        )
        return Pending(
            op=name,
            gain=np.concatenate([part.gain for part in parts]),
            centre=np.concatenate([part.centre for part in parts]),
            bias=np.concatenate([part.bias for part in parts]),
        )

    def _batch_norm(self, path: str, layer: nn.BatchNorm1d | nn.BatchNorm2d, source: fx.Node) -> Pending:
        value = self.values[source]
        if not isinstance(value, Pending) or value.relu or value.residual:
            raise UserError(f"batch norm at {path!r} must follow a convolution directly")
        if layer.running_mean is None or layer.running_var is None:
            raise UserError(f"batch norm at {path!r} has no running statistics")
        deviation = np.sqrt(_numpy(layer.running_var) + layer.eps)
        gamma = _numpy(layer.weight) if layer.affine else np.ones_like(deviation)
        beta = _numpy(layer.bias) if layer.affine else np.zeros_like(deviation)
        mean = _numpy(layer.running_mean) - value.bias
        constant = value.gain == 0  # behind another batch norm that switched the channel off
        return replace(
            value,
            gain=value.gain * gamma / deviation,
            centre=value.centre + np.divide(mean, value.gain, out=np.zeros_like(mean), where=~constant),
            bias=beta - np.where(constant, mean * gamma / deviation, 0.0),
        )

    def _normalise(self, path: str, layer: Normalise, source: fx.Node) -> Pending:
        value = self.values[source]
        if not isinstance(value, Stored) or value.op != "pixels":
            raise UserError(f"normalisation at {path!r} must be the first layer")
        mean, deviation = _numpy(layer.mean).reshape(-1), _numpy(layer.deviation).reshape(-1)
        return Pending(op=value.op, gain=value.step / deviation, centre=mean / value.step, bias=np.zeros_like(mean))

    def _relu(self, path: str, source: fx.Node, node: fx.Node) -> _Value:
        value = self.values[source]
        if isinstance(value, Pending):
            return replace(value, relu=True)
        if isinstance(value, Bits) or self.format(value.op).signed:
            raise UserError(f"ReLU at {path!r} must follow a convolution, a batch norm or an addition")
        return self._same(node, source)

    def _sign(self, node: fx.Node, path: str, layer: Sign, source: fx.Node) -> Bits:
        value = self._pending(source)
        if value.relu or value.residual is not None:
            value = self.pending_of(self._stored(source))
        found = fold_sign(
            gain=value.gain, centre=value.centre, bias=value.bias, accumulator=self.format(value.op),
            at_zero=layer.at_zero,
        )  # fmt: skip
        name = self.emit(
            Threshold(
                name=self.unique(path), source=value.op, thresholds=found.levels, falling=found.falling,
                format=unsigned(1),
            )
        )  # fmt: skip
        self.origins[name] = node.name
        return Bits(op=name)

    def _same(self, node: fx.Node, source: fx.Node) -> _Value:
        """``node`` changes nothing: it is calibrated, and stored, as ``source``."""
        self.roots[node] = self.roots.get(source, source)
        return self.values[source]

    def _max_pool(self, node: fx.Node, path: str, layer: nn.MaxPool2d, source: fx.Node) -> _Value:
        if layer.dilation not in (1, (1, 1)) or layer.ceil_mode or layer.return_indices:
            raise UserError(f"max pool at {path!r}: dilation, ceil_mode and return_indices are not supported")
        stride = layer.stride if layer.stride is not None else layer.kernel_size
        return self._moved(
            node, source,
            lambda name, op: MaxPool(
                name=name, source=op, size=_square(layer.kernel_size, path), stride=_square(stride, path),
                padding=_square(layer.padding, path),
            ), path,
        )  # fmt: skip

    def _moved(
        self, node: fx.Node, source: fx.Node, make: Callable[[str, str], Op], path: str, *, bits: bool = True
    ) -> _Value:
        """The result of an operation that only moves or chooses values, on the grid of what it reads; where it may not
        be of ``bits``, on that of the numbers that they stand for."""
        value = self.values[source]
        if isinstance(value, Bits) and bits:
            name = self.emit(make(self.unique(path), value.op))
            self.origins[name] = node.name
            return Bits(op=name)
        stored = self._stored(source)
        name = self.emit(make(self.unique(path), stored.op), stored.step)
        self.origins[name] = node.name
        return Stored(op=name, step=stored.step)

    def _shape_of(self, node: fx.Node) -> Shape:
        return self.shape(self.values[node].op)

    def _spatial_shift(self, node: fx.Node, path: str, layer: SpatialShift2d, source: fx.Node) -> _Value:
        offsets = layer.offsets.numpy().copy()
        # Zeros that move in are neither +1 nor -1.
        return self._moved(
            node, source, lambda name, op: SpatialShift(name=name, source=op, offsets=offsets), path, bits=False
        )

    def _pixel_shuffle(self, node: fx.Node, path: str, factor: int, source: fx.Node) -> _Value:
        return self._moved(node, source, lambda name, op: PixelShuffle(name=name, source=op, factor=factor), path)

    def _upsample(self, node: fx.Node, path: str, factor: int, source: fx.Node) -> _Value:
        return self._moved(node, source, lambda name, op: Upsample(name=name, source=op, factor=factor), path)

    def _average_pool(self, node: fx.Node, path: str, layer: nn.AvgPool2d, source: fx.Node) -> Pending:
        if layer.padding not in (0, (0, 0)) or layer.ceil_mode or layer.divisor_override is not None:
            raise UserError(f"average pool at {path!r}: padding and ceil_mode and divisor_override are not supported")
        size = _square(layer.kernel_size, path)
        stride = _square(layer.stride if layer.stride is not None else layer.kernel_size, path)
        return self._average(path, source, size, stride)

    def _global_pool(self, node: fx.Node, path: str, layer: nn.AdaptiveAvgPool2d, source: fx.Node) -> Pending:
        _, height, width = self._shape_of(source)
        if layer.output_size not in (1, (1, 1)):
            raise UserError(f"adaptive average pool at {path!r} must make one pixel, not {layer.output_size}")
        return self._average(path, source, height, height) if height == width else self._mean(path, source)

    def _mean(self, path: str, source: fx.Node) -> Pending:
        """The mean of a map that is not square: a sum by a convolution of ones; the requantise behind it divides."""
        stored = self._stored(source)
        channels, height, width = self.shape(stored.op)
        name = self.emit(
            Convolution(
                name=self.unique(path), source=stored.op, kernel="mult", weight_format=unsigned(1),
                weight=np.ones((channels, 1, height, width), np.int64), pad=np.zeros(channels, np.int64),
                groups=channels,
            )
        )  # fmt: skip
        zero = np.zeros(channels)
        gain = np.full(channels, stored.step / (height * width))
        return Pending(op=name, gain=gain, centre=zero, bias=zero, relu=not self.format(stored.op).signed)

    def _average(self, path: str, source: fx.Node, size: int, stride: int) -> Pending:
        stored = self._stored(source)
        name = self.emit(AveragePool(name=self.unique(path), source=stored.op, size=size, stride=stride))
        channels = self.shape(name)[0]
        zero = np.zeros(channels)
        relu = not self.format(stored.op).signed
        return Pending(op=name, gain=np.full(channels, stored.step / size**2), centre=zero, bias=zero, relu=relu)

    def _flatten_function(self, node: fx.Node) -> _Value:
        start = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)
        end = node.args[2] if len(node.args) > 2 else node.kwargs.get("end_dim", -1)
        if (start, end) != (1, -1):
            raise UserError(f"flatten at {node.name!r} must keep the batch and flatten all the rest")
        return self._flatten(node, _argument(node))

    def _flatten(self, node: fx.Node, source: fx.Node) -> _Value:
        if self.shape(self.values[source].op)[1:] == (1, 1):
            return self._same(node, source)
        return self._moved(node, source, lambda name, op: Flatten(name=name, source=op), node.name)

    def _unflatten(self, node: fx.Node, path: str, layer: nn.Unflatten, source: fx.Node) -> _Value:
        value = self.values[source]
        wanted = tuple(int(n) for n in layer.unflattened_size)
        if wanted != (self.shape(value.op)[0], 1, 1) or self.shape(value.op)[1:] != (1, 1):
            raise UserError(f"unflatten at {path!r} must make one pixel of all channels, not {wanted}")
        return self._same(node, source)

    def _add(self, node: fx.Node) -> Pending:
        if len(node.args) != 2 or node.kwargs:
            raise UserError(f"addition at {node.name!r} must be of two tensors, without a factor")
        left, right = (_node(arg) for arg in node.args)
        if not self._can_join(left):
            left, right = right, left
        main = self.values[left]
        if not isinstance(main, Pending) or not self._can_join(left):
            raise UserError(f"addition at {node.name!r} must join a convolution and a shortcut")
        return replace(main, residual=self._shortcut(right))

    def _can_join(self, node: fx.Node) -> bool:
        """Whether a shortcut can be added to what ``node`` left pending."""
        value = self.values[node]
        return isinstance(value, Pending) and value.residual is None and not value.relu

    def _shortcut(self, node: fx.Node) -> Stored:
        """What joins an addition: a convolution or what lies behind it, wider than features need to be."""
        value = self.values[node]
        if not isinstance(value, Pending):
            return self._stored(node)
        if value.relu:
            return self._materialise(node, unsigned(max(self.scheme.bits, self.scheme.residual_bits)))
        return self._materialise(node, signed(max(self.scheme.bits, self.scheme.shortcut_bits)))

    def _concat(self, node: fx.Node) -> _Value:
        parts = node.args[0] if node.args else node.kwargs.get("tensors")
        dimension = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        if not isinstance(parts, list | tuple) or dimension != 1:
            raise UserError(f"concatenation at {node.name!r} must be of channels (dimension 1)")
        nodes = [_node(part) for part in parts]
        values = [self.values[part] for part in nodes]
        if all(isinstance(value, Bits) for value in values):
            return Bits(op=self._joined(node, [value.op for value in values]))
        # All parts come onto the widest of their grids.
        grids = [self._grid(part) for part in nodes]
        fmt = Format(bits=max(g.format.bits for g in grids), signed=any(g.format.signed for g in grids))
        step = max(g.step if g.format == fmt else g.step * g.format.hi / fmt.hi for g in grids)
        same = [
            self._materialise(part, fmt, step) if isinstance(self.values[part], Pending)
            else self._stored(part) if grid == Grid(format=fmt, step=step)
            else self._regridded(self._stored(part), step, fmt)
            for part, grid in zip(nodes, grids, strict=True)
        ]  # fmt: skip
        return Stored(op=self._joined(node, [s.op for s in same], step), step=step)

    def _regridded(self, stored: Stored, step: float, fmt: Format) -> Stored:
        return self.requantise(self.unique(f"{stored.op}_regrid"), self.pending_of(stored), step, fmt)

    def _joined(self, node: fx.Node, names: list[str], step: float | None = None) -> str:
        name = self.emit(Concat(name=self.unique(node.name), source=names[0], others=tuple(names[1:])), step)
        self.origins[name] = node.name
        return name

    def _output(self, node: Any) -> None:
        value = self.values[_node(node)]
        if self.shape(value.op)[1:] != (1, 1):
            raw = value if isinstance(value, Bits) else self._stored(_node(node))
            self.origins.setdefault(self.ending(raw.op), _node(node).name)
            return
        if not isinstance(value, Pending):
            raise UserError("the network must end in a convolution, a dense layer or their batch norm")
        if value.relu or value.residual is not None:
            raise UserError("class scores must not pass a ReLU or a residual addition")
        self.origins[self.scores(value).op] = _node(node).name

    # Who reads what

    def _readers(self, node: fx.Node) -> tuple[list[fx.Node], bool]:
        """The convolutions that read what ``node`` leads to, and whether an addition does."""
        found, joins = [], False
        follow = list(node.users)
        while follow:
            user = follow.pop()
            if _is_convolution(self.traced, user):
                found.append(user)
                continue
            joins |= user.op == "call_function" and user.target in (operator.add, torch.add)
            follow.extend(user.users)
        return found, joins

    def _at_edge(self, node: fx.Node, source: str) -> bool:
        """Whether a convolution is the first or the last of the network."""
        return source == "pixels" or not self._readers(node)[0]

    def _wanted(self, node: fx.Node) -> tuple[int, float | None]:
        """Bits of the grid on which the readers of ``node`` want it, and its step where training has settled it."""
        if _is_convolution(self.traced, node):
            readers, joins = [node], False
        else:
            readers, joins = self._readers(node)
        bits = [self.scheme.residual_bits] if joins else []
        steps = []
        for reader in readers:
            path = str(reader.target)
            grid = getattr(self.traced.get_submodule(path), "grid", None)
            if grid is not None:
                steps.append(grid)
            last = not self._readers(reader)[0]
            bits.append(self.scheme.of(path, edge=last))
        if len(steps) == len(readers) == 1:
            return steps[0].format.bits, steps[0].step
        return max(bits, default=self.scheme.bits), None

    # From accumulators to tensors

    def _features(self, node: fx.Node, path: str, layer: nn.Module, source: fx.Node) -> Stored:
        """What the convolution ``node`` reads, on the grid that it wants."""
        value = self.values[source]
        if isinstance(value, Pending):
            bits, step = self._wanted(node)
            fmt = unsigned(bits) if value.relu else signed(bits)
            if step is None and self.scheme.sharing == "union" and isinstance(layer, AdderConv2d):
                fmt = signed(bits)
                features = self.ranges.statistics[self.roots.get(source, source).name].most
                reach = max(features, np.abs(_weights(layer)).max())
                step = float(reach) / fmt.hi
            found = self._materialise(source, fmt, step)
        else:
            found = self._stored(source)
        fmt = self.format(found.op)
        edge = self._at_edge(node, found.op)
        own = Grid(format=fmt, step=found.step) if found.op != "pixels" else None
        self.grids[path] = own, self.scheme.of(path, edge=edge)
        return found

    def _stored(self, node: fx.Node) -> Stored:
        value = self.values[node]
        if isinstance(value, Stored):
            return value
        if isinstance(value, Bits):
            return self.numbers_of(value)
        grid = self._grid(node)
        return self._materialise(node, grid.format, grid.step)

    def _grid(self, node: fx.Node) -> Grid:
        """The grid on which `_stored` holds ``node``."""
        value = self.values[node]
        if isinstance(value, Bits):
            return Grid(format=signed(2), step=1.0)
        if isinstance(value, Stored):
            return Grid(format=self.format(value.op), step=value.step)
        bits, step = self._wanted(node)
        fmt = unsigned(bits) if value.relu else signed(bits)
        own = self.ranges.step(self.roots.get(node, node).name, fmt, self.scheme) if step is None else step
        return Grid(format=fmt, step=own)

    def _pending(self, node: fx.Node) -> Pending:
        value = self.values[node]
        return value if isinstance(value, Pending) else self.pending_of(self._stored(node))

    def _materialise(self, node: fx.Node, fmt: Format, step: float | None = None) -> Stored:
        """Requantise what ``node`` left pending. One tensor may be stored on several grids, each once."""
        root = self.roots.get(node, node)
        if step is None:
            step = self.ranges.step(root.name, fmt, self.scheme)
        if (root, fmt, step) not in self.stored:
            value = self.values[root]
            assert isinstance(value, Pending)
            found = self.requantise(self.unique(value.op + "_out"), value, step, fmt)
            self.origins[found.op] = root.name
            self.stored[root, fmt, step] = found
        return self.stored[root, fmt, step]

    def chosen(
        self, name: str, value: Pending, step: float, lo: int | None, hi: int | None
    ) -> Choice | FoldedThreshold:
        """As `Assembly`; says what is requantised."""
        try:
            return super().chosen(name, value, step, lo, hi)
        except ValueError as error:
            raise UserError(f"requantising {value.op!r}: {error}") from error

    def emit(self, op: Op, step: float | None = None) -> str:
        """As `Assembly`; says what does not fit."""
        try:
            return super().emit(op, step)
        except ValueError as error:
            raise UserError(f"the network does not fit together at {op.name!r}: {error}") from error


def _is_convolution(traced: fx.GraphModule, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(traced.get_submodule(str(node.target)), _CONVOLUTIONS)


def _weights(layer: nn.Module) -> Floats:
    """(O, I, Kh, Kw)."""
    weight = _numpy(layer.weight)  # type: ignore[arg-type]
    return weight[:, :, None, None] if weight.ndim == 2 else weight


def _shift_words(weight: Tensor) -> tuple[NDArray[np.int64], float]:
    """A sign above a code of three bits for every weight, and what the code 1 stands for."""
    powers = _numpy(nearest_powers(weight.detach()))
    magnitudes = np.abs(powers[powers != 0])
    unit = float(magnitudes.max()) / SHIFT_MAX if magnitudes.size else 1.0
    with np.errstate(divide="ignore"):
        code = np.where(powers == 0, 0, np.rint(np.log2(np.abs(powers) / unit)) + 1)
    return (code + 8 * (powers < 0)).astype(np.int64), unit


def _node(value: Any) -> fx.Node:
    if not isinstance(value, fx.Node):
        raise UserError(f"expected a tensor in the network's graph, not {value!r}")
    return value


def _argument(node: fx.Node) -> fx.Node:
    """The tensor that a layer or function is called with, by position or by name."""
    values = [*node.args, *node.kwargs.values()]
    return _node(values[0] if values else None)


def _square(value: Any, path: str) -> int:
    pair = value if isinstance(value, tuple) else (value, value)
    if len(set(pair)) != 1 or not isinstance(pair[0], int):
        raise UserError(f"layer at {path!r} must have equal vertical and horizontal parameters, not {value}")
    return pair[0]


def _geometry(layer: nn.Module, path: str) -> tuple[int, int, int]:
    """Stride, padding and groups."""
    if isinstance(layer, nn.Linear):
        return 1, 0, 1
    if isinstance(layer, nn.Conv2d) and (layer.dilation, layer.padding_mode) != ((1, 1), "zeros"):
        raise UserError(f"convolution at {path!r}: dilation and padding modes are not supported")
    assert isinstance(layer, nn.Conv2d | AdderConv2d | BinaryConv2d | ShiftConv2d)
    return _square(layer.stride, path), _square(layer.padding, path), int(getattr(layer, "groups", 1))
