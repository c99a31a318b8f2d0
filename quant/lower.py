"""Lowering: a trained torch network and calibration images to an integer Program."""

import itertools
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from ..common.errors import UserError
from ..models.adder import AdderConv2d
from .calibrate import Ranges, observe, per_channel_symmetric, shared_scale
from .formats import Format, signed, unsigned
from .program import (
    MAX_SHIFT,
    MULTIPLIER_BITS,
    RESIDUAL_MULTIPLIER_BITS,
    ArgMax,
    AveragePool,
    Convolution,
    Flatten,
    Input,
    MaxPool,
    Op,
    Program,
    Requantise,
    Shape,
    factor_bound,
    infer,
    offset_format,
    score_format,
)

__all__ = ["lower"]

Floats = NDArray[np.float64]
_SHORTCUT_BITS = 12
"""Width of a shortcut that is itself a convolution, before it joins."""
_JOINED_BITS = 8
"""Width that features have at least where they join an addition as they are."""
_EDGE_BITS = 8
"""Weights of the first and last layer never have fewer bits: they are few, and accuracy hangs on them."""
_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """An integer tensor: the result of ``op`` times ``step`` is its real value."""

    op: str
    step: float


@dataclass(frozen=True, kw_only=True)
class _Pending:
    """An accumulator whose real value is ``gain * (acc - centre) + bias`` per channel, not yet requantised."""

    op: str
    gain: Floats
    centre: Floats
    bias: Floats
    relu: bool = False
    residual: _Stored | None = None


_Value = _Stored | _Pending


def lower(
    module: nn.Module,
    calibration: NDArray[np.uint8],
    *,
    bits: int = 8,
    metadata: Mapping[str, str] | None = None,
) -> Program:
    """Quantise a trained network after training, with one scale shared by the weights and features of adder layers.

    Parameters
    ----------
    module : built of AdderConv2d, Conv2d, Linear, BatchNorm, ReLU, MaxPool2d, AvgPool2d, Flatten, Unflatten to 1x1,
        Identity, Dropout, and residual additions; takes images scaled to 0..1, ends in (B, classes) scores
    calibration : (N, C, H, W) uint8 images from the training split
    bits : 2..16, of features and weights; the first and the last layer keep at least 8-bit weights

    Raises
    ------
    UserError
        bits out of range, NaN or infinite weights, an unsupported layer (named with its path).
    """
    if not 2 <= bits <= 16:
        raise UserError(f"bits must be in 2..16, not {bits}")
    for name, value in module.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise UserError(f"tensor {name!r} holds NaN or infinite values; it cannot be quantised")
    if len(calibration) == 0:
        raise UserError("calibration needs at least one image")
    traced = _trace(module.eval())
    shape = (int(calibration.shape[1]), int(calibration.shape[2]), int(calibration.shape[3]))
    try:
        ranges = observe(traced, _batches(calibration))
    except (RuntimeError, IndexError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"the network cannot take images of {'x'.join(map(str, shape))}: {reason}") from error
    return _Lowering(traced, ranges, bits, shape).program(metadata or {})


def _batches(pixels: NDArray[np.uint8]) -> Iterator[Tensor]:
    for begin in range(0, len(pixels), _BATCH):
        yield torch.from_numpy(pixels[begin : begin + _BATCH].astype(np.float32) / 255.0)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, AdderConv2d) or super().is_leaf_module(m, module_qualified_name)


def _trace(module: nn.Module) -> fx.GraphModule:
    try:
        return fx.GraphModule(module, _Tracer().trace(module))
    except (fx.proxy.TraceError, TypeError) as error:
        raise UserError(f"{type(module).__name__} cannot be traced: {error}") from error


def _numpy(value: Tensor) -> Floats:
    return value.detach().double().numpy()


class _Lowering:
    """One walk over the traced graph."""

    def __init__(self, traced: fx.GraphModule, ranges: Ranges, bits: int, shape: tuple[int, int, int]):
        self.traced = traced
        self.ranges = ranges
        self.bits = bits
        self.ops: dict[str, Op] = {}
        self.inferred: dict[str, tuple[Shape, Format]] = {}
        self.steps: dict[str, float] = {}
        self.values: dict[fx.Node, _Value] = {}
        self.roots: dict[fx.Node, fx.Node] = {}
        self.stored: dict[tuple[fx.Node, Format], _Stored] = {}
        self._emit(Input(name="pixels", shape=shape), 1 / 255)

    def program(self, metadata: Mapping[str, str]) -> Program:
        for node in self.traced.graph.nodes:
            match node.op:
                case "placeholder":
                    if self.values:
                        raise UserError(f"the network must take one tensor, the images; it also takes {node.name!r}")
                    self.values[node] = _Stored(op="pixels", step=1 / 255)
                case "call_module":
                    self.values[node] = self._module(node)
                case "call_function":
                    self.values[node] = self._function(node)
                case "output":
                    self._output(node.args[0])
                case _:
                    raise UserError(f"unsupported {node.op} {node.target!r} in the network")
        try:
            return Program(ops=tuple(self.ops.values()), steps=self.steps, metadata=metadata)
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
            case AdderConv2d() | nn.Conv2d() | nn.Linear():
                return self._convolution(node, path, layer, source)
            case nn.BatchNorm2d() | nn.BatchNorm1d():
                return self._batch_norm(path, layer, source)
            case nn.ReLU():
                return self._relu(path, source, node)
            case nn.MaxPool2d():
                return self._max_pool(node, path, layer, source)
            case nn.AvgPool2d():
                return self._average_pool(node, path, layer, source)
            case nn.Flatten():
                if (layer.start_dim, layer.end_dim) != (1, -1):
                    raise UserError(f"flatten at {path!r} must keep the batch and flatten all the rest")
                return self._flatten(node, source)
            case nn.Unflatten():
                return self._unflatten(node, path, layer, source)
        raise UserError(
            f"unsupported layer {type(layer).__name__} at {path!r}; supported: AdderConv2d, Conv2d, Linear, "
            "BatchNorm1d/2d, ReLU, MaxPool2d, AvgPool2d, Flatten, Unflatten, Identity, Dropout"
        )

    def _function(self, node: fx.Node) -> _Value:
        table: dict[Callable[..., Any], Callable[[fx.Node], _Value]] = {
            operator.add: self._add,
            torch.add: self._add,
            torch.flatten: self._flatten_function,
            torch.relu: lambda n: self._relu(n.name, _argument(n), n),
            nn.functional.relu: lambda n: self._relu(n.name, _argument(n), n),
        }
        target = node.target
        if callable(target) and target in table:
            return table[target](node)
        raise UserError(f"unsupported function {getattr(target, '__name__', target)!r} at {node.name!r}")

    def _convolution(self, node: fx.Node, path: str, layer: nn.Module, source: fx.Node) -> _Pending:
        stored = self._stored(source)
        fmt = self._format(stored.op)
        weight = _numpy(layer.weight)  # type: ignore[arg-type]
        if isinstance(layer, nn.Linear):
            if self._shape(stored.op)[1:] != (1, 1):
                raise UserError(f"dense layer at {path!r} reads a map of {self._shape(stored.op)}; flatten it first")
            weight = weight[:, :, None, None]
        stride, padding = _geometry(layer, path)
        outputs = len(weight)
        if isinstance(layer, AdderConv2d):
            kernel, weight_format = "adder", fmt
            integers, centre = shared_scale(weight, stored.step, fmt)
            gain = np.full(outputs, stored.step)
        else:
            at_edge = stored.op == "pixels" or self._ends_the_network(node)
            kernel, weight_format = "mult", signed(max(self.bits, _EDGE_BITS) if at_edge else self.bits)
            integers, steps = per_channel_symmetric(weight, weight_format)
            centre, gain = np.zeros(outputs), stored.step * steps
        bias = getattr(layer, "bias", None)
        name = self._emit(
            Convolution(
                name=self._name(path), source=stored.op, kernel=kernel, weight=integers, weight_format=weight_format,
                stride=stride, padding=padding, pad=np.zeros(weight.shape[1], np.int64),
            )
        )  # fmt: skip
        return _Pending(op=name, gain=gain, centre=centre, bias=np.zeros(outputs) if bias is None else _numpy(bias))

    def _batch_norm(self, path: str, layer: nn.BatchNorm1d | nn.BatchNorm2d, source: fx.Node) -> _Pending:
        value = self.values[source]
        if not isinstance(value, _Pending) or value.relu or value.residual:
            raise UserError(f"batch norm at {path!r} must follow a convolution directly")
        if layer.running_mean is None or layer.running_var is None:
            raise UserError(f"batch norm at {path!r} has no running statistics")
        deviation = np.sqrt(_numpy(layer.running_var) + layer.eps)
        gamma = _numpy(layer.weight) if layer.affine else np.ones_like(deviation)
        beta = _numpy(layer.bias) if layer.affine else np.zeros_like(deviation)
        return replace(
            value,
            gain=value.gain * gamma / deviation,
            centre=value.centre + (_numpy(layer.running_mean) - value.bias) / value.gain,
            bias=beta,
        )

    def _relu(self, path: str, source: fx.Node, node: fx.Node) -> _Value:
        value = self.values[source]
        if isinstance(value, _Pending):
            return replace(value, relu=True)
        if self._format(value.op).signed:
            raise UserError(f"ReLU at {path!r} must follow a convolution, a batch norm or an addition")
        return self._same(node, source)

    def _same(self, node: fx.Node, source: fx.Node) -> _Value:
        """``node`` changes nothing: it is calibrated, and stored, as ``source``."""
        self.roots[node] = self.roots.get(source, source)
        return self.values[source]

    def _max_pool(self, node: fx.Node, path: str, layer: nn.MaxPool2d, source: fx.Node) -> _Stored:
        if layer.dilation not in (1, (1, 1)) or layer.ceil_mode or layer.return_indices:
            raise UserError(f"max pool at {path!r}: dilation, ceil_mode and return_indices are not supported")
        stored = self._stored(source)
        stride = layer.stride if layer.stride is not None else layer.kernel_size
        name = self._emit(
            MaxPool(
                name=self._name(path), source=stored.op, size=_square(layer.kernel_size, path),
                stride=_square(stride, path), padding=_square(layer.padding, path),
            ),
            stored.step,
        )  # fmt: skip
        return _Stored(op=name, step=stored.step)

    def _average_pool(self, node: fx.Node, path: str, layer: nn.AvgPool2d, source: fx.Node) -> _Pending:
        if layer.padding not in (0, (0, 0)) or layer.ceil_mode or layer.divisor_override is not None:
            raise UserError(f"average pool at {path!r}: padding and ceil_mode and divisor_override are not supported")
        stored = self._stored(source)
        size = _square(layer.kernel_size, path)
        stride = _square(layer.stride if layer.stride is not None else layer.kernel_size, path)
        name = self._emit(AveragePool(name=self._name(path), source=stored.op, size=size, stride=stride))
        channels = self._shape(name)[0]
        zero = np.zeros(channels)
        relu = not self._format(stored.op).signed
        return _Pending(op=name, gain=np.full(channels, stored.step / size**2), centre=zero, bias=zero, relu=relu)

    def _flatten_function(self, node: fx.Node) -> _Value:
        start = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)
        end = node.args[2] if len(node.args) > 2 else node.kwargs.get("end_dim", -1)
        if (start, end) != (1, -1):
            raise UserError(f"flatten at {node.name!r} must keep the batch and flatten all the rest")
        return self._flatten(node, _argument(node))

    def _flatten(self, node: fx.Node, source: fx.Node) -> _Value:
        value = self.values[source]
        if self._shape(value.op)[1:] == (1, 1):
            return self._same(node, source)
        stored = self._stored(source)
        name = self._emit(Flatten(name=self._name(node.name), source=stored.op), stored.step)
        return _Stored(op=name, step=stored.step)

    def _unflatten(self, node: fx.Node, path: str, layer: nn.Unflatten, source: fx.Node) -> _Value:
        value = self.values[source]
        wanted = tuple(int(n) for n in layer.unflattened_size)
        if wanted != (self._shape(value.op)[0], 1, 1) or self._shape(value.op)[1:] != (1, 1):
            raise UserError(f"unflatten at {path!r} must make one pixel of all channels, not {wanted}")
        return self._same(node, source)

    def _add(self, node: fx.Node) -> _Pending:
        if len(node.args) != 2 or node.kwargs:
            raise UserError(f"addition at {node.name!r} must be of two tensors, without a factor")
        left, right = (_node(arg) for arg in node.args)
        if not self._can_join(left):
            left, right = right, left
        main = self.values[left]
        if not isinstance(main, _Pending) or not self._can_join(left):
            raise UserError(f"addition at {node.name!r} must join a convolution and a shortcut")
        pending = isinstance(self.values[right], _Pending)
        return replace(main, residual=self._shortcut(right) if pending else self._stored(right))

    def _can_join(self, node: fx.Node) -> bool:
        """Whether a shortcut can be added to what ``node`` left pending."""
        value = self.values[node]
        return isinstance(value, _Pending) and value.residual is None and not value.relu

    def _shortcut(self, node: fx.Node) -> _Stored:
        """What joins an addition: a convolution or what lies behind it, wider than features need to be."""
        value = self.values[node]
        assert isinstance(value, _Pending)
        if value.relu:
            return self._materialise(node, unsigned(max(self.bits, _JOINED_BITS)))
        return self._materialise(node, signed(max(self.bits, _SHORTCUT_BITS)))

    def _output(self, node: Any) -> None:
        value = self.values[_node(node)]
        if not isinstance(value, _Pending):
            raise UserError("the network must end in a convolution, a dense layer or their batch norm")
        if value.relu or value.residual is not None:
            raise UserError("class scores must not pass a ReLU or a residual addition")
        step = float(np.abs(value.gain).max()) or 1.0
        scores = self._requantise(self._name("scores"), value, step, score_format(self._format(value.op)))
        self._emit(ArgMax(name=self._name("argmax"), source=scores.op))

    # From accumulators to tensors

    def _ends_the_network(self, node: fx.Node) -> bool:
        """Whether no other convolution reads what ``node`` leads to."""
        follow = list(node.users)
        while follow:
            user = follow.pop()
            if user.op == "call_module" and isinstance(
                self.traced.get_submodule(str(user.target)), AdderConv2d | nn.Conv2d | nn.Linear
            ):
                return False
            follow.extend(user.users)
        return True

    def _stored(self, node: fx.Node) -> _Stored:
        value = self.values[node]
        if isinstance(value, _Stored):
            return value
        return self._materialise(node, unsigned(self.bits) if value.relu else signed(self.bits))

    def _materialise(self, node: fx.Node, fmt: Format) -> _Stored:
        """Requantise what ``node`` left pending. One tensor may be stored in several formats, each once."""
        root = self.roots.get(node, node)
        if (root, fmt) not in self.stored:
            value = self.values[root]
            assert isinstance(value, _Pending)
            name = self._name(value.op + "_out")
            self.stored[root, fmt] = self._requantise(name, value, self.ranges.step(root.name, fmt), fmt)
        return self.stored[root, fmt]

    def _name(self, path: str) -> str:
        """A name for an operation that no other has: that of its layer, where it can be."""
        base = re.sub(r"[^A-Za-z0-9_]", "_", path)
        if not re.match(r"[A-Za-z_]", base):
            base = f"layer{base}"
        names = (base if n == 1 else f"{base}_{n}" for n in itertools.count(1))
        return next(name for name in names if name not in self.ops)

    def _requantise(self, name: str, value: _Pending, step: float, fmt: Format) -> _Stored:
        ratio = value.gain / step
        try:
            widest = offset_format(self._format(value.op))
        except ValueError as error:
            raise UserError(f"{name}: {error}") from error
        residual_ratio = value.residual.step / step if value.residual else 0.0
        bound, residual_bound = factor_bound(MULTIPLIER_BITS), factor_bound(RESIDUAL_MULTIPLIER_BITS)
        for shift in range(MAX_SHIFT, -1, -1):
            scale = float(1 << shift)
            multiplier = np.rint(ratio * scale)
            residual_multiplier = round(residual_ratio * scale)
            # The offset is made with the rounded multiplier, so that its error cancels at the mean.
            half = (1 << (shift - 1)) if shift else 0
            offset = np.rint(value.bias / step * scale) - np.rint(multiplier * value.centre) + half
            fits = np.abs(multiplier).max() <= bound and abs(residual_multiplier) <= residual_bound
            if fits and offset.min() >= widest.lo and offset.max() <= widest.hi:
                break
        else:
            raise UserError(f"{name}: batch norm scales by up to {np.abs(ratio).max():.3g}, which 16 bits cannot hold")
        self._emit(
            Requantise(
                name=name, source=value.op, multiplier=multiplier.astype(np.int64), offset=offset.astype(np.int64),
                shift=shift, format=fmt, lo=0 if value.relu else fmt.lo, hi=fmt.hi,
                residual=value.residual.op if value.residual else None, residual_multiplier=residual_multiplier,
            ),
            step,
        )  # fmt: skip
        return _Stored(op=name, step=step)

    def _emit(self, op: Op, step: float | None = None) -> str:
        assert op.name not in self.ops
        self.ops[op.name] = op
        try:
            self.inferred[op.name] = infer(op, self.inferred, self.ops)
        except ValueError as error:
            raise UserError(f"the network does not fit together at {op.name!r}: {error}") from error
        if step is not None:
            self.steps[op.name] = step
        return op.name

    def _shape(self, name: str) -> Shape:
        return self.inferred[name][0]

    def _format(self, name: str) -> Format:
        return self.inferred[name][1]


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


def _geometry(layer: nn.Module, path: str) -> tuple[int, int]:
    """Stride and padding."""
    if isinstance(layer, nn.Linear):
        return 1, 0
    kind = (layer.groups, layer.dilation, layer.padding_mode) if isinstance(layer, nn.Conv2d) else None
    if kind not in (None, (1, (1, 1), "zeros")):
        raise UserError(f"convolution at {path!r}: groups, dilation and padding modes are not supported")
    assert isinstance(layer, nn.Conv2d | AdderConv2d)
    return _square(layer.stride, path), _square(layer.padding, path)
