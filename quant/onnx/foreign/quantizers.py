"""Foreign ONNX nodes that make integers: those of QONNX and Brevitas, FINN's thresholds, and ONNX's own pair."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from ...fold.assembly import Stored
from ...fold.factors import FoldedThreshold, fold_sign
from ...formats import Format, format_for, signed, unsigned
from ...program import MAX_THRESHOLDS
from .reader import Handler, Reader
from .tensors import Constant, Floats, Given, Grid, Ints, Joined, Tensor, one_number

__all__ = ["QUANTIZERS", "annotated_format", "clip_grid"]

_ROUND: Mapping[str, Callable[[Floats], Floats]] = {
    "ROUND": np.rint, "HALF_EVEN": np.rint, "FLOOR": np.floor, "CEIL": np.ceil, "DOWN": np.trunc,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - 0.5),
}  # fmt: skip
"""The rounding modes of QONNX. A requantise has half to even, half up and down."""
_WIDEST = 32
"""Bits of a quantised constant: biases are as wide."""


def _rounding(given: Given) -> str:
    mode = str(given.get("rounding_mode", "ROUND")).upper()
    if mode not in _ROUND:
        raise ValueError(f"its rounding mode must be one of {', '.join(_ROUND)}, not {given['rounding_mode']}")
    return mode


def _features_rounding(mode: str, lo: int) -> tuple[str, float]:
    """Which way a requantise rounds a half, and what it adds in steps before."""
    if mode in ("ROUND", "HALF_EVEN"):
        return "even", 0.0
    # Away from zero and towards it are up and down where nothing is negative.
    if mode == "HALF_UP" and lo >= 0:
        return "up", 0.0
    if mode == "FLOOR" or (mode == "DOWN" and lo >= 0):
        return "up", -0.5
    raise ValueError(f"its rounding mode must be ROUND, of features, not {mode}")


def integer_format(width: int, is_signed: bool) -> Format:
    """The format of a quantiser; a single unsigned bit is a number of two bits, as a multiplication reads it."""
    return Format(bits=max(width, 2), signed=is_signed)


def annotated_format(kind: str) -> Format:
    """The format of an annotation of QONNX and FINN, of features and weights of at least two bits but for ``BIPOLAR``.

    Raises
    ------
    ValueError
        for what is no integer.
    """
    if kind in ("BIPOLAR", "BINARY", "TERNARY"):
        return {"BIPOLAR": unsigned(1), "BINARY": unsigned(2), "TERNARY": signed(2)}[kind]
    for prefix, is_signed in (("UINT", False), ("INT", True)):
        digits = kind.removeprefix(prefix)
        if kind.startswith(prefix) and digits.isdecimal() and 1 <= int(digits) <= 32:
            return Format(bits=max(int(digits), 2), signed=is_signed)
    raise ValueError(f"{kind} is no type of integers")


def _quant(reader: Reader, node: NodeProto, given: Given) -> None:
    if len(node.input) != 4:
        raise ValueError("it must have a scale, a zero point and a bit width")
    scale, zero, bits = (np.asarray(reader.constant(name), np.float64) for name in node.input[1:])
    if bits.size != 1 or bits.item() != int(bits.item()) or not 1 <= bits.item() <= _WIDEST:
        raise ValueError(f"its bit width must be a whole number, 1 to {_WIDEST}, not {bits.reshape(-1)[:4].tolist()}")
    _check_scale(scale)
    if np.any(zero != np.rint(zero)):
        raise ValueError(f"its zero point must be a whole number, not {zero.reshape(-1)[:4].tolist()}")
    if "signed" not in given or "narrow" not in given:
        raise KeyError("signed" if "signed" not in given else "narrow")
    is_signed, width, mode = bool(given["signed"]), int(bits.item()), _rounding(given)
    if width == 1 and is_signed:
        if np.any(zero):
            raise ValueError("a zero point of single bits is not supported")
        _signs(reader, node, scale)
        return
    fmt = Format(bits=width, signed=is_signed)
    lo = fmt.lo + (1 if is_signed and given["narrow"] else 0)
    hi = fmt.hi - (1 if not is_signed and given["narrow"] else 0)
    if reader.is_constant(node.input[0]):
        real = reader.constant(node.input[0]).astype(np.float32)
        scaled = real / scale.astype(np.float32) + zero.astype(np.float32)
        integers = _ROUND[mode](scaled.clip(lo, hi)) - zero
        held = integer_format(width, is_signed)
        if np.any(zero):
            held = format_for(int(lo - zero.max()), int(hi - zero.min()))
        reader.quantised[node.output[0]] = _constant(integers.astype(np.int64), scale, held)
        return
    step = one_number(scale, "its scale, of features,")
    place = int(one_number(zero, "its zero point, of features,"))
    ties, lift = _features_rounding(mode, lo)
    reader.tensors[node.output[0]] = _placed(
        reader, reader.any_tensor(node.input[0]), step, lo - place, hi - place, width, is_signed, place, ties, lift
    )


def _placed(
    reader: Reader, tensor: Tensor | Joined, step: float, lo: int, hi: int, width: int, is_signed: bool, place: int,
    ties: str = "even", lift: float = 0.0,
) -> Tensor:  # fmt: skip
    fmt = format_for(lo, hi) if place else integer_format(width, is_signed)
    if lo < 0:
        _say_unsigned(reader, tensor)
    return reader.quantize(tensor, step=step, lo=lo, hi=hi, format=fmt, ties=ties, lift=lift)


def _say_unsigned(reader: Reader, tensor: Tensor | Joined) -> None:
    """A signed quantiser of pixels that cannot be negative was perhaps made for others."""
    first = next(iter(reader.ops))
    if reader.input_said or isinstance(tensor, Joined) or tensor.op != first:
        return
    value = reader.pending(tensor)
    ends = [value.gain * (pixel - value.centre) + value.bias for pixel in (0, 255)]
    if min(float(end.min()) for end in ends) >= 0:
        reader.note(
            "the first quantiser is signed, and pixels are read as p / 255, which is never negative: "
            "say --input-scale and --input-offset if the network was trained on other numbers"
        )


def _check_scale(scale: NDArray[Any]) -> None:
    if scale.size == 0 or not np.all(scale > 0) or not np.all(np.isfinite(scale)):
        raise ValueError("its scale must be positive")


def _constant(integers: Ints, scale: NDArray[Any], fmt: Format) -> Constant:
    """Integers and their scale, spread as ONNX does; raises ``ValueError`` where the shapes do not fit."""
    try:
        spread = np.broadcast_to(np.asarray(scale, np.float64), integers.shape)
    except ValueError:
        raise ValueError(f"a scale of shape {scale.shape} does not fit a constant of {integers.shape}") from None
    return Constant(integers=integers, scale=spread, format=fmt)


def _bipolar_quant(reader: Reader, node: NodeProto, given: Given) -> None:
    scale = np.asarray(reader.constant(node.input[1]), np.float64)
    _check_scale(scale)
    _signs(reader, node, scale)


def _signs(reader: Reader, node: NodeProto, scale: Floats) -> None:
    """+scale for 0 and above, else -scale."""
    if reader.is_constant(node.input[0]):
        signs = np.where(reader.constant(node.input[0]) >= 0, 1, -1).astype(np.int64)
        reader.quantised[node.output[0]] = _constant(signs, scale, unsigned(1))
        return
    step = one_number(scale, "its scale, of features,")
    reader.tensors[node.output[0]] = _signed(reader, reader.any_tensor(node.input[0]), step)


def _signed(reader: Reader, tensor: Tensor | Joined, step: float) -> Tensor:
    if isinstance(tensor, Joined):
        return reader.beside([_signed(reader, part, step) for part in tensor.parts], tensor.shape, tensor.name)
    if tensor.low >= 0 or tensor.high < 0:
        raise ValueError("a sign behind a ReLU is always the same")
    value = reader.pending(tensor)
    if value.residual is not None:
        # Rounded down, a sum is at least 0 where it was before, whatever the grid and however narrow.
        grid = float(np.abs(value.gain).max()) or 1.0
        unlimited = replace(tensor, low=-math.inf, high=math.inf)
        tensor = reader.quantize(unlimited, step=grid, lo=-2, hi=1, format=signed(2), ties="up", lift=-0.5)
        value = reader.pending(tensor)
    found = fold_sign(
        gain=value.gain, centre=value.centre, bias=value.bias, accumulator=reader.format(value.op), at_zero=True
    )
    return reader.signs(tensor, found.levels, found.falling, step)


# FINN


def _multi_threshold(reader: Reader, node: NodeProto, given: Given) -> None:
    tensor = reader.tensor(node.input[0])
    thresholds = np.asarray(reader.constant(node.input[1]), np.float64)
    if thresholds.ndim != 2 or not 1 <= thresholds.shape[1] <= MAX_THRESHOLDS or not np.all(np.isfinite(thresholds)):
        raise ValueError(f"thresholds must be (channels, 1 to {MAX_THRESHOLDS}), not {thresholds.shape}")
    value = reader.pending(tensor)
    if value.residual is not None or tensor.slope is not None:
        raise ValueError("thresholds behind an addition, a LeakyRelu or a PRelu need a quantiser in between")
    axis = _channel_axis(given.get("data_layout", ""), len(tensor.shape))
    columns = []
    for column in thresholds.T:
        same, levels = reader.along(tensor, column, axis)
        if same.op != tensor.op:
            raise ValueError("thresholds of the elements of a flattened map need a quantiser in front")
        found = fold_sign(
            gain=value.gain, centre=value.centre, bias=value.bias - levels, accumulator=reader.format(value.op),
            at_zero=True,
        )  # fmt: skip
        columns.append((_within(reader, tensor, levels, found), found.falling))
    ascending = np.sort(np.concatenate([found for found, _ in columns], axis=1), axis=1)
    reader.tensors[node.output[0]] = _counted(reader, tensor, ascending, columns[0][1], given)


def _within(reader: Reader, tensor: Tensor, levels: Floats, found: FoldedThreshold) -> Ints:
    """Thresholds of what is limited: those up to the lower limit are always reached, those above the upper never."""
    held, falls = reader.format(tensor.op), found.falling == 1
    always, never = levels[:, None] <= tensor.low, levels[:, None] > tensor.high
    first, last = np.where(falls, held.hi + 1, held.lo)[:, None], np.where(falls, held.lo, held.hi + 1)[:, None]
    return np.where(always, first, np.where(never, last, found.levels)).astype(np.int64)


def _channel_axis(layout: str, axes: int) -> int:
    """Which axis, of those behind the batch, has the channels; without a layout as qonnx guesses it."""
    layout = layout or {2: "NWC"}.get(axes, "")
    if not layout:
        return 0
    if len(layout) != axes + 1 or "C" not in layout[1:]:
        raise ValueError(f"its data_layout {layout} does not fit a tensor of {axes + 1} axes")
    return layout.index("C") - 1


def _counted(reader: Reader, tensor: Tensor, levels: Ints, falling: Ints, given: Given) -> Tensor:
    """``out_scale * count + out_bias``, as the type ``out_dtype``, which a runtime does not look at."""
    scale, bias = float(given.get("out_scale", 1.0)), float(given.get("out_bias", 0.0))
    if not math.isfinite(scale) or not math.isfinite(bias) or scale == 0:
        raise ValueError(f"its out_scale and out_bias must be numbers, not {scale} and {bias}")
    if levels.shape[1] == 1 and bias == -scale / 2 and scale > 0:
        return reader.signs(tensor, levels, falling, scale / 2)
    counted = reader.counts(tensor, levels, falling, scale)
    if not bias:
        return counted
    value = reader.pending(counted)
    return replace(counted, value=replace(value, bias=value.bias + bias))


# Truncation


def _trunc(reader: Reader, node: NodeProto, given: Given) -> None:
    """Fewer bits of integers: by a shift. The older form has no scale of the result, and so no new scale."""
    if len(node.input) not in (5, 6):
        raise ValueError(f"it must have 5 or 6 inputs, not {len(node.input)}")
    numbers = [one_number(reader.constant(name), f"its input {name!r}") for name in node.input[1:]]
    scale, zero, bits_in = numbers[:3]
    _check_scale(np.array(scale))
    if zero:
        raise ValueError("a zero point is not supported")
    mode, tensor = _rounding({"rounding_mode": "FLOOR", **given}), reader.tensor(node.input[0])
    whole = _whole(reader, tensor, scale)
    held = reader.format(whole.op)
    gain = round(float(reader.pending(whole).gain[0]) / scale)
    if len(node.input) == 5:
        places = bits_in - numbers[3]
        step = scale
    else:
        places = round(math.log2(numbers[3] / scale)) if numbers[3] > 0 else -1
        step = numbers[3]
    if places != int(places) or not 0 <= places < _WIDEST:
        raise ValueError(f"it must drop a whole number of bits, not {places}")
    ends = [(bound * gain) >> int(places) for bound in (held.lo, held.hi)]
    lo, hi = min(ends), max(ends)
    if len(node.input) == 6:
        fmt = Format(bits=int(numbers[4]), signed=bool(given.get("signed", 1)))
        lo, hi = max(lo, fmt.lo + (fmt.signed and bool(given.get("narrow", 0)))), min(hi + 1, fmt.hi)
    else:
        hi += 1
    ties, lift = _features_rounding(mode, lo)
    fmt = format_for(lo, hi)
    fmt = integer_format(fmt.bits, fmt.signed)
    # 2 ** places * scale, whatever the step that the file gives to the result.
    made = reader.quantize(whole, step=scale * 2 ** int(places), lo=lo, hi=hi, format=fmt, ties=ties, lift=lift)
    reader.steps[made.op] = step
    reader.tensors[node.output[0]] = replace(made, value=Stored(op=made.op, step=step))


def _whole(reader: Reader, tensor: Tensor, scale: float) -> Tensor:
    """``tensor`` as whole numbers of ``scale``: as it is where it has no other values, else rounded to them."""
    value = reader.pending(tensor)
    ratio, moved = value.gain / scale, value.bias - value.gain * value.centre
    near = np.rint(ratio)
    exact = np.all(near == near[0]) and near[0] > 0 and np.allclose(ratio, near, rtol=1e-5, atol=0)
    if exact and not np.any(moved) and value.residual is None and not tensor.limited and not tensor.pools:
        return replace(tensor, value=replace(value, gain=near * scale))
    if value.residual is not None:
        raise ValueError("an addition in front of it needs a quantiser in between")
    held = reader.format(value.op)
    ends = [np.rint((value.gain * (bound - value.centre) + value.bias) / scale) for bound in (held.lo, held.hi)]
    lo, hi = (int(f(np.stack(ends))) for f in (np.min, np.max))
    fmt = format_for(lo, hi)
    fmt = integer_format(fmt.bits, fmt.signed)
    return reader.quantize(tensor, step=scale, lo=fmt.lo, hi=fmt.hi, format=fmt)


# ONNX's own pair


def _range_of(dtype: Any) -> tuple[int, int]:
    """Least and greatest of a type of integers, by numpy's or ONNX's name of it."""
    name = np.dtype(dtype).name
    for prefix, is_signed in (("uint", False), ("int", True)):
        digits = name.removeprefix(prefix)
        if name.startswith(prefix) and digits.isdecimal() and int(digits) <= _WIDEST:
            fmt = Format(bits=int(digits), signed=is_signed)
            return fmt.lo, fmt.hi
    raise ValueError(f"its zero point must be an integer, not {name}")


def _quantize_linear(reader: Reader, node: NodeProto, given: Given) -> None:
    scale, zero = _scale_and_zero(reader, node)
    if given.get("precision", 0) not in (0, 1):
        raise ValueError("its precision must be that of its input")
    if len(node.input) > 2 and node.input[2]:
        dtype: Any = reader.constants[node.input[2]].dtype
    elif given.get("output_dtype", 0):
        dtype = helper.tensor_dtype_to_np_dtype(given["output_dtype"])
    else:
        dtype = np.uint8
    lo, hi = _range_of(dtype)
    name = node.input[0]
    if name in reader.constants or name in reader.quantised:
        real = reader.constant(name).astype(np.float32)
        scale, zero = (_on_axis(part, real.ndim, given) for part in (scale, zero))
        integers = np.rint(real / scale.astype(np.float32)) + zero
        reader.constants[node.output[0]] = integers.clip(lo, hi).astype(dtype)
        return
    ended = reader.tensors.get(name)
    if isinstance(ended, Tensor) and ended.ended:
        reader.tensors[node.output[0]] = ended
        return
    place = int(one_number(zero, "its zero point, of features,"))
    reader.tensors[node.output[0]] = Grid(
        tensor=reader.any_tensor(name), scale=one_number(scale, "its scale, of features,"), zero=place, lo=lo, hi=hi
    )


def _dequantize_linear(reader: Reader, node: NodeProto, given: Given) -> None:
    scale, zero = _scale_and_zero(reader, node)
    name = node.input[0]
    if name in reader.constants:
        words = reader.constants[name]
        _range_of(words.dtype)
        scale, zero = (_on_axis(part, words.ndim, given) for part in (scale, zero))
        integers = words.astype(np.int64) - zero.astype(np.int64)
        held = format_for(min(int(integers.min(initial=0)), -1), int(integers.max(initial=0)))
        fmt = integer_format(held.bits, held.signed)
        reader.quantised[node.output[0]] = _constant(integers, scale, fmt)
        return
    found = reader.tensors.get(name)
    if isinstance(found, Tensor) and found.ended:
        reader.tensors[node.output[0]] = found
        return
    if not isinstance(found, Grid):
        raise ValueError(f"input {name!r} must come from a QuantizeLinear")
    step, place = one_number(scale, "its scale, of features,"), int(one_number(zero, "its zero point, of features,"))
    if (step, place) != (found.scale, found.zero):
        raise ValueError(
            f"its scale and zero point must be those of the QuantizeLinear in front, {found.scale:g} and "
            f"{found.zero}, not {step:g} and {place}"
        )
    lo, hi = found.lo - place, found.hi - place
    fmt = format_for(lo, hi)
    done = _placed(reader, found.tensor, step, lo, hi, fmt.bits, fmt.signed, 0)
    # Another reader of the same integers finds them on their grid.
    reader.tensors[name] = replace(found, tensor=done)
    reader.tensors[node.output[0]] = done


def clip_grid(reader: Reader, node: NodeProto, low: float, high: float) -> bool:
    """Narrow what a QuantizeLinear makes, as Brevitas does for fewer bits; whether that was what the node clips."""
    found = reader.tensors.get(node.input[0])
    if not isinstance(found, Grid):
        return False
    lo, hi = max(found.lo, math.ceil(max(low, found.lo))), min(found.hi, math.floor(min(high, found.hi)))
    if lo > hi:
        raise ValueError(f"its limits {low:g}..{high:g} leave none of {found.lo}..{found.hi}")
    reader.tensors[node.output[0]] = replace(found, lo=lo, hi=hi)
    return True


def _scale_and_zero(reader: Reader, node: NodeProto) -> tuple[Floats, Ints]:
    scale = np.asarray(reader.constant(node.input[1]), np.float64)
    _check_scale(scale)
    given = reader.optional(node, 2)
    zero = np.zeros(scale.shape, np.int64) if given is None else np.asarray(given).astype(np.int64)
    return scale, zero


def _on_axis(values: NDArray[Any], axes: int, given: Given) -> NDArray[Any]:
    """A number, or one for each element of an axis, in the place of that axis."""
    if values.size == 1:
        return values.reshape(())
    axis = int(given.get("axis", 1))
    if values.ndim != 1 or not -axes <= axis < axes:
        raise ValueError(f"its scale of shape {values.shape} does not fit axis {axis} of {axes}")
    return values.reshape([-1 if k == axis % axes else 1 for k in range(axes)])


QUANTIZERS: dict[str, Handler] = {
    "Quant": _quant, "IntQuant": _quant, "BipolarQuant": _bipolar_quant, "MultiThreshold": _multi_threshold,
    "Trunc": _trunc, "QuantizeLinear": _quantize_linear, "DequantizeLinear": _dequantize_linear,
}  # fmt: skip
