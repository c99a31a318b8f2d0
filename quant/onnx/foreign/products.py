"""Foreign ONNX nodes that multiply, add and limit: convolutions, dense layers, batch norm, arithmetic, ReLU."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ...fold.assembly import Bits, Pending, Stored
from ...ops.window import Window
from .attributes import window_of
from .quantizers import annotated_format, clip_grid
from .reader import Handler, Reader
from .tensors import NEEDS_QUANTIZER, Constant, Floats, Given, Ints, Tensor, one_number

__all__ = ["PRODUCTS"]

_QUANTIZERS = ("Quant", "IntQuant", "BipolarQuant", "MultiThreshold", "QuantizeLinear", "DequantizeLinear")
_LIMITED = "behind a ReLU or an addition needs a quantiser in between"


def _conv(reader: Reader, node: NodeProto, given: Given) -> None:
    weights = _weights(reader, node.input[1])
    source = reader.image(node.input[0])
    axes = len(source.shape) - 1
    if weights.integers.ndim != axes + 2:
        raise ValueError(f"weights of shape {weights.integers.shape} do not fit images {('N', *source.shape)}")
    _, height, width = reader.map_of(source)
    window = window_of(given, (height, width), axes=axes, kernel=weights.integers.shape[2:])
    if axes == 1:
        weights = weights.changed(lambda values: values[:, :, None, :])
    # Zeros of the padding are neither +1 nor -1: there, bits become numbers.
    binary = weights.format.bits == 1 and not any(window.pads)
    read, offset = _operand(reader, source, node.input[0], binary=binary)
    bias = reader.optional(node, 2)
    made = _products(reader, node, read, offset, weights, bias, 1.0, window, groups=given.get("group", 1))
    channels, rows, columns = reader.shape(made.op)
    shape = (channels, rows, columns) if axes == 2 else (channels, columns)
    reader.tensors[node.output[0]] = Tensor(value=made, shape=shape)


def _gemm(reader: Reader, node: NodeProto, given: Given) -> None:
    weights = _weights(reader, node.input[1])
    if len(reader.tensor(node.input[0]).shape) != 1:
        raise ValueError("a dense layer reads a flattened tensor")
    if weights.integers.ndim != 2:
        raise ValueError(f"weights of shape {weights.integers.shape} are not those of a dense layer")
    if not given.get("transB", 0):
        weights = weights.changed(np.transpose)
    bias = reader.optional(node, 2)
    if bias is not None:
        bias = given.get("beta", 1.0) * _row(bias, len(weights.integers))
    _dense(reader, node, weights, bias, given.get("alpha", 1.0))


def _matmul(reader: Reader, node: NodeProto, given: Given) -> None:
    if reader.is_constant(node.input[0]):
        raise ValueError("its weights must come second, behind the features")
    weights = _weights(reader, node.input[1])
    if weights.integers.ndim != 2:
        raise ValueError(f"weights of shape {weights.integers.shape} are not those of a dense layer")
    _dense(reader, node, weights.changed(np.transpose), None, 1.0)


def _row(bias: NDArray[np.generic], outputs: int) -> Floats:
    """What is broadcast over (N, outputs), as (outputs,)."""
    try:
        return np.broadcast_to(bias, (1, outputs))[0].astype(np.float64)
    except ValueError:
        raise ValueError(f"a bias of shape {bias.shape} does not fit {outputs} outputs") from None


def _dense(reader: Reader, node: NodeProto, weights: Constant, bias: NDArray[np.generic] | None, factor: float) -> None:
    tensor = reader.tensor(node.input[0])
    features = tensor.shape[-1] if tensor.shape else 0
    if math.prod(tensor.shape) != features:
        raise ValueError(f"a dense layer reads a flattened tensor, not {('N', *tensor.shape)}")
    if weights.integers.shape[1] != features:
        raise ValueError(f"weights for {weights.integers.shape[1]} features do not fit a tensor of {features}")
    read, offset = _operand(reader, tensor, node.input[0], binary=weights.format.bits == 1)
    flat = reader.flat(read)
    if read is tensor:
        reader.tensors[node.input[0]] = flat  # another reader of it need not flatten it again
    if flat.order is not None:
        # Column j multiplies the element that stands at place order[j] of the map.
        places = np.argsort(flat.order.reshape(-1))
        weights = weights.changed(lambda values: values[:, places])
    weights = weights.changed(lambda values: values[:, :, None, None])
    made = _products(reader, node, flat, offset, weights, bias, factor, Window(kernel=(1, 1)))
    shape = (*tensor.shape[:-1], len(weights.integers))
    reader.tensors[node.output[0]] = Tensor(value=made, shape=shape)


def _weights(reader: Reader, name: str) -> Constant:
    if name in reader.quantised:
        return reader.quantised[name]
    if name in reader.constants and name in reader.annotated:
        return _annotated(reader.constants[name], reader.annotated[name], name)
    none = not any(node.op_type in _QUANTIZERS for node in reader.model.graph.node)
    raise ValueError(
        f"weights {name!r} must be a constant behind a quantiser"
        + ("; the file has none, it is a network of real numbers: quantise and export it with Brevitas, QONNX or "
           "onnxruntime first, or bring its PyTorch module" if none else "")
    )  # fmt: skip


def _annotated(values: NDArray[np.generic], kind: str, name: str) -> Constant:
    """Weights that are integers by the annotation of the file, as FINN holds them."""
    whole = np.rint(values.astype(np.float64)).astype(np.int64)
    if not np.array_equal(whole, values):
        raise ValueError(f"weights {name!r} must be integers, as their annotation {kind} says")
    fmt = annotated_format(kind)
    if kind == "BIPOLAR" and np.any(np.abs(whole) != 1):
        raise ValueError(f"weights {name!r} must be -1 and +1, as their annotation BIPOLAR says")
    if kind != "BIPOLAR" and not fmt.allows(whole):
        raise ValueError(f"weights {name!r} leave {fmt}, their annotation {kind}")
    return Constant(integers=whole, scale=np.ones(whole.shape), format=fmt)


def _operand(reader: Reader, tensor: Tensor, name: str, *, binary: bool) -> tuple[Tensor, float]:
    """The features that a layer reads, as numbers unless it is ``binary``, and their offset."""
    read, offset = reader.features(tensor, name)
    if isinstance(read.value, Bits) and not binary:
        return replace(read, value=reader.numbers_of(read.value)), offset
    return read, offset


def _products(
    reader: Reader, node: NodeProto, read: Tensor, offset: float, weights: Constant,
    bias: NDArray[np.generic] | None, factor: float, window: Window, *, groups: int = 1,
) -> Pending:  # fmt: skip
    source, fmt, outputs = read.value, weights.format, len(weights.integers)
    assert isinstance(source, Stored | Bits)
    fill = 0
    if offset and any(window.pads):
        assert isinstance(source, Stored)
        fill = reader.zero_of(source, offset, node.input[0])
    name = reader.convolve(
        node.name or node.output[0], source.op, weights.integers, fmt, window, groups=groups, fill=fill,
        kernel="xnor" if isinstance(source, Bits) else "mult",
    )  # fmt: skip
    scale = weights.per_output()
    added = np.zeros(outputs) if bias is None else np.asarray(bias, np.float64).reshape(-1)
    if added.size != outputs:
        raise ValueError(f"a bias of {added.size} values does not fit {outputs} outputs")
    # step * integer + offset is what the file reads: the offset meets the sum of the weights.
    added = added + factor * offset * scale * weights.integers.reshape(outputs, -1).sum(1)
    # Sums of weights that are all 0 cannot vary, whatever a batch norm behind them makes of so small a variance.
    varies = np.any(weights.integers.reshape(outputs, -1) != 0, axis=1)
    gain = np.where(varies, factor * source.step * scale, 0.0)
    return Pending(op=name, gain=gain, centre=np.zeros(outputs), bias=added)


def _batch_norm(reader: Reader, node: NodeProto, given: Given) -> None:
    tensor = reader.tensor(node.input[0])
    parts: list[Floats] = []
    for name in node.input[1:5]:
        tensor, values = reader.along(tensor, reader.constant(name))
        parts.append(values)
    if len(parts) != 4:
        raise ValueError("it must have a scale, a bias, a mean and a variance")
    gamma, beta, mean, variance = parts
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = gamma / np.sqrt(variance + given.get("epsilon", 1e-5))
    if not np.all(np.isfinite(factor)):
        raise ValueError("its variance must not be negative, nor 0 without an epsilon")
    value = reader.pending(tensor)
    if tensor.limited or value.residual is not None:
        reader.tensors[node.output[0]] = moved(reader, tensor, factor, beta - factor * mean)
        return
    # The offset is folded at the mean, where the error of the rounded factor cancels; a constant has no such place.
    varies = value.gain != 0
    centre = value.centre + (mean - value.bias) / np.where(varies, value.gain, 1)
    normed = replace(
        value, gain=value.gain * factor, centre=np.where(varies, centre, 0),
        bias=np.where(varies, beta, factor * (value.bias - mean) + beta),
    )  # fmt: skip
    reader.tensors[node.output[0]] = replace(tensor, value=normed, falls=_falls(tensor, factor))


def _falls(tensor: Tensor, factor: Floats) -> NDArray[np.bool_] | None:
    """Which channels fall where what was pooled rises, after a factor more."""
    if not tensor.pools or not np.any(factor < 0):
        return tensor.falls
    return factor < 0 if tensor.falls is None else tensor.falls ^ (factor < 0)


def moved(reader: Reader, tensor: Tensor, factor: Floats, offset: Floats) -> Tensor:
    """``factor * tensor + offset``, per channel; raises ``ValueError`` for what limits or pools forbid."""
    value = reader.pending(tensor)
    low, high = tensor.low, tensor.high
    if tensor.slope is not None and (np.any(offset != 0) or np.any(factor <= 0)):
        raise ValueError(f"an offset or a negative factor behind a LeakyRelu or PRelu {NEEDS_QUANTIZER}")
    if tensor.limited:
        if np.any(factor < 0) and np.any(factor > 0):
            raise ValueError(f"factors of both signs {_LIMITED}")
        ends = [_one_limit(end, factor, offset) for end in (low, high)]
        low, high = ends if np.all(factor >= 0) else ends[::-1]
    residual = value.residual
    if residual is not None:
        if np.any(factor != factor[0]):
            raise ValueError(f"a factor per channel {_LIMITED}")
        residual = replace(residual, step=residual.step * float(factor[0]))
    value = replace(value, gain=value.gain * factor, bias=value.bias * factor + offset, residual=residual)
    return replace(tensor, value=value, low=low, high=high, falls=_falls(tensor, factor))


def _one_limit(end: float, factor: Floats, offset: Floats) -> float:
    """Where a limit goes, which has to be one for all channels."""
    if math.isinf(end):
        if np.any(factor == 0):
            raise ValueError(f"a factor of 0 {_LIMITED}")
        return end * float(np.sign(factor[0]))
    ends = end * factor + offset
    if np.any(ends != ends[0]):
        raise ValueError(f"a factor or an offset per channel {_LIMITED}")
    return float(ends[0])


def _arithmetic(reader: Reader, node: NodeProto, given: Given) -> None:
    """Add, Sub, Mul, Div."""
    left, right = node.input
    if not reader.is_constant(left) and not reader.is_constant(right):
        _sum(reader, node)
        return
    swapped = reader.is_constant(left)
    if swapped:
        if node.op_type == "Div":
            raise ValueError("a constant divided by features is not linear")
        left, right = right, left
    tensor, number = reader.spread(reader.tensor(left), reader.constant(right))
    one, none = np.ones(len(number)), np.zeros(len(number))
    if node.op_type == "Div" and np.any(number == 0):
        raise ValueError("it divides by zero")
    factor, offset = {
        "Add": lambda: (one, number), "Sub": lambda: (-one, number) if swapped else (one, -number),
        "Mul": lambda: (number, none), "Div": lambda: (1 / number, none),
    }[node.op_type]()  # fmt: skip
    if not np.all(np.isfinite(factor)) or not np.all(np.isfinite(offset)):
        raise ValueError("its constant must be finite")
    reader.tensors[node.output[0]] = moved(reader, tensor, factor, offset)


def _sum(reader: Reader, node: NodeProto) -> None:
    if node.op_type in ("Mul", "Div"):
        raise ValueError("a product of two tensors of the network is not supported")
    first, second = (reader.tensor(name) for name in node.input)
    if first.shape != second.shape:
        raise ValueError(
            f"it adds tensors of shape {('N', *first.shape)} and {('N', *second.shape)}, which must be equal"
        )
    main, other = first, second
    swapped = not isinstance(first.value, Pending) and isinstance(second.value, Pending)
    if swapped:
        main, other = second, first
    if main.limited or reader.pending(main).residual is not None or main.pools:
        raise ValueError("a sum of a ReLU or of three tensors needs a quantiser in between")
    name = node.input[0] if swapped else node.input[1]
    read, offset = reader.features(other, name)
    read_value = read.value
    if isinstance(read_value, Bits):
        read_value = reader.numbers_of(read_value)
    assert isinstance(read_value, Stored)
    if not np.array_equal(_places(main), _places(other)) or reader.map_of(main) != reader.map_of(other):
        raise ValueError("it adds tensors whose elements stand in different orders")
    value, sign_main, sign_other = reader.pending(main), 1.0, 1.0
    if node.op_type == "Sub":
        sign_main, sign_other = (-1.0, 1.0) if swapped else (1.0, -1.0)
    value = replace(
        value, gain=sign_main * value.gain, bias=sign_main * value.bias + sign_other * offset,
        residual=replace(read_value, step=sign_other * read_value.step),
    )  # fmt: skip
    reader.tensors[node.output[0]] = replace(main, value=value)


def _places(tensor: Tensor) -> Ints:
    """Where each element of a tensor stands in the map."""
    if tensor.order is not None:
        return tensor.order.reshape(-1)
    return np.arange(0)


def _relu(reader: Reader, node: NodeProto, given: Given) -> None:
    tensor = reader.tensor(node.input[0])
    if isinstance(tensor.value, Stored) and tensor.value.step > 0 and not reader.format(tensor.op).signed:
        reader.tensors[node.output[0]] = tensor
        return
    reader.tensors[node.output[0]] = _limited(tensor, 0.0, math.inf)


def _leaky_relu(reader: Reader, node: NodeProto, given: Given) -> None:
    """LeakyRelu and PRelu: a second slope of the requantise that a quantiser behind them becomes."""
    tensor = reader.tensor(node.input[0])
    if tensor.limited or tensor.pools or reader.pending(tensor).residual is not None:
        raise ValueError(f"what stands behind a ReLU, a pool or an addition {NEEDS_QUANTIZER}")
    values = reader.constant(node.input[1]) if node.op_type == "PRelu" else np.array([given.get("alpha", 0.01)])
    tensor, slope = reader.spread(tensor, values)
    if not np.all(np.isfinite(slope)) or np.any(slope <= 0):
        raise ValueError(f"its slopes must be positive numbers, not {slope.min():g}..{slope.max():g}")
    reader.tensors[node.output[0]] = replace(tensor, slope=slope)


def _clip(reader: Reader, node: NodeProto, given: Given) -> None:
    low, high = given.get("min", -math.inf), given.get("max", math.inf)
    for position in (1, 2):
        values = reader.optional(node, position)
        if values is not None:
            number = one_number(values, "its limit")
            low, high = (number, high) if position == 1 else (low, number)
    if not low <= high:
        raise ValueError(f"its limits must ascend, not {low} and {high}")
    if clip_grid(reader, node, low, high):
        return
    reader.tensors[node.output[0]] = _limited(reader.tensor(node.input[0]), low, high)


def _limited(tensor: Tensor, low: float, high: float) -> Tensor:
    return replace(tensor, low=min(max(tensor.low, low), high), high=max(min(tensor.high, high), low))


PRODUCTS: dict[str, Handler] = {
    "Conv": _conv, "Gemm": _gemm, "MatMul": _matmul, "BatchNormalization": _batch_norm, "Relu": _relu, "Clip": _clip,
    "LeakyRelu": _leaky_relu, "PRelu": _leaky_relu,
    "Add": _arithmetic, "Sub": _arithmetic, "Mul": _arithmetic, "Div": _arithmetic,
}  # fmt: skip
