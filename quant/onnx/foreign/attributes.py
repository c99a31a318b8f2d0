"""Which attributes of a foreign ONNX node are understood, in one table, and the windows that they describe."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from onnx import NodeProto

from ...ops.window import Window
from ..graph import attributes

__all__ = ["settled", "understood", "window_of"]


@dataclass(frozen=True)
class _Only:
    """An attribute that must have one of these values; others would change what is computed."""

    values: tuple[Any, ...]


READ = None
"""An attribute that the reader of the operation looks at."""
_NEUTRAL = _Only((0,))
_WINDOW = {"kernel_shape": READ, "strides": READ, "pads": READ, "dilations": READ, "auto_pad": READ}
_LEGACY = {"consumed_inputs": READ}  # of operator set 1: a hint for memory, without effect
_ARITHMETIC = {"broadcast": _NEUTRAL, **_LEGACY}  # before operator set 7, "broadcast" with "axis" aligned other axes
_QUANT = {"signed": READ, "narrow": READ, "rounding_mode": READ}

_TABLE: Mapping[str, Mapping[str, _Only | None]] = {
    "Add": _ARITHMETIC, "Sub": _ARITHMETIC, "Mul": _ARITHMETIC, "Div": _ARITHMETIC,
    "ArgMax": {"axis": READ, "keepdims": READ, "select_last_index": _NEUTRAL},
    "AveragePool": {**_WINDOW, "ceil_mode": READ, "count_include_pad": READ},
    "BatchNormalization": {
        "epsilon": READ, "momentum": READ, "training_mode": _NEUTRAL, "is_test": _Only((1,)), "spatial": _Only((1,)),
        **_LEGACY,
    },
    "BipolarQuant": {},
    "Cast": {"to": READ, "saturate": READ, "round_mode": READ},
    "Clip": {"min": READ, "max": READ, **_LEGACY},
    "Concat": {"axis": READ},
    "Constant": {name: READ for name in (
        "value", "value_float", "value_floats", "value_int", "value_ints", "value_string", "value_strings",
        "sparse_value",
    )},
    "Conv": {**_WINDOW, "group": READ},
    "DepthToSpace": {"blocksize": READ, "mode": READ},
    "DequantizeLinear": {"axis": READ, "block_size": _NEUTRAL, "output_dtype": READ},
    "Dropout": {"ratio": READ, "seed": READ, "is_test": READ, **_LEGACY},
    "Flatten": {"axis": READ},
    "Gemm": {"alpha": READ, "beta": READ, "transA": _NEUTRAL, "transB": READ, "broadcast": READ},
    "GlobalAveragePool": {}, "GlobalMaxPool": {},
    "Identity": {},
    "IntQuant": _QUANT,
    "LeakyRelu": {"alpha": READ, **_LEGACY},
    "LogSoftmax": {"axis": READ},
    "MatMul": {},
    "MaxPool": {**_WINDOW, "ceil_mode": READ, "storage_order": _NEUTRAL, "dilations": READ},
    "MultiThreshold": {"out_dtype": READ, "out_scale": READ, "out_bias": READ, "data_layout": READ},
    "PRelu": _LEGACY,
    "Quant": _QUANT,
    "QuantizeLinear": {
        "axis": READ, "saturate": READ, "block_size": _NEUTRAL, "output_dtype": READ, "precision": READ,
    },
    "ReduceMean": {"axes": READ, "keepdims": READ, "noop_with_empty_axes": READ},
    "Relu": _LEGACY,
    "Reshape": {"allowzero": READ, "shape": READ, **_LEGACY},
    "Resize": {
        "mode": READ, "nearest_mode": READ, "coordinate_transformation_mode": READ, "cubic_coeff_a": READ,
        "extrapolation_value": READ, "antialias": _NEUTRAL, "exclude_outside": _NEUTRAL,
        "keep_aspect_ratio_policy": _Only(("stretch",)),
    },
    "Sigmoid": _LEGACY,
    "Slice": {"starts": READ, "ends": READ, "axes": READ},
    "Softmax": {"axis": READ},
    "Squeeze": {"axes": READ},
    "TopK": {"axis": READ, "k": READ, "largest": _Only((1,)), "sorted": READ},
    "Transpose": {"perm": READ},
    "Trunc": _QUANT,
    "Unsqueeze": {"axes": READ},
    "Upsample": {"mode": READ, "scales": READ},
}  # fmt: skip


def understood(node: NodeProto) -> dict[str, Any]:
    """The attributes of ``node``, all of which its reader understands.

    Raises
    ------
    ValueError
        for an attribute that the table lacks, or a value that no Program can follow, by name.
    """
    given, known = attributes(node), _TABLE[node.op_type]
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"its attribute {name} is not understood; understood: {', '.join(known) or 'none'}")
        rule = known[name]
        if rule is not None and value not in rule.values:
            raise ValueError(f"its {name} must be {' or '.join(map(str, rule.values))}, not {value}")
    return given


def settled(window: Window, size: tuple[int, int]) -> Window:
    """``window`` over a map of ``size``, said in the plainest way: with equal pads on all sides where that makes the
    same windows, and where only one row or column is made, with the stride of the other direction."""
    made = window.result(size)
    if made[0] == 1 or made[1] == 1:
        one = window.strides[0] if made[0] > 1 else window.strides[1]
        window = replace(window, strides=(one, one))
    even = replace(window, pads=(window.pads[0],) * 4)
    fits = window.pads[0] == window.pads[1] and even.result(size) == made
    return even if fits else window


def window_of(given: Mapping[str, Any], size: tuple[int, int], *, axes: int, kernel: tuple[int, ...] = ()) -> Window:
    """The window of a convolution or a pool over a map of ``size``, its automatic padding and rounding resolved.

    Parameters
    ----------
    given : the node's attributes
    axes : 2, or 1 for a line: then it is a window of one row
    kernel : of a convolution, the shape of its weights; else it must be among the attributes
    """

    def per_axis(name: str, default: int, sides: int = 1) -> list[int]:
        values = list(given.get(name) or [default] * axes * sides)
        if len(values) != axes * sides:
            raise ValueError(f"its {name} must be {axes * sides} numbers, not {values}")
        return values

    if "kernel_shape" not in given and not kernel:
        raise ValueError("it lacks its kernel_shape")
    extent = per_axis("kernel_shape", 1) if "kernel_shape" in given else list(kernel)
    if kernel and list(kernel) != extent:
        raise ValueError(f"its kernel_shape must be that of the weights, {list(kernel)}, not {extent}")
    strides, dilations, pads = per_axis("strides", 1), per_axis("dilations", 1), per_axis("pads", 0, 2)
    if axes == 1:
        extent, strides, dilations = [1, *extent], [strides[0], *strides], [1, *dilations]
        pads = [0, pads[0], 0, pads[1]]
    if min(*extent, *strides, *dilations) < 1 or min(pads) < 0:
        raise ValueError("its kernel_shape, strides and dilations must be positive, its pads not negative")
    window = Window(
        kernel=(extent[0], extent[1]), strides=(strides[0], strides[1]), dilations=(dilations[0], dilations[1]),
        pads=(pads[0], pads[1], pads[2], pads[3]),
    )  # fmt: skip
    return _padded(window, given, size)


def _padded(window: Window, given: Mapping[str, Any], size: tuple[int, int]) -> Window:
    """``window`` with the pads that ``auto_pad`` or ``ceil_mode`` ask for."""
    how = given.get("auto_pad", "NOTSET")
    if how not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise ValueError(f"its auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER, not {how}")
    if how != "NOTSET" and any(window.pads):
        raise ValueError(f"its auto_pad {how} contradicts its pads {list(window.pads)}")
    if how == "VALID":
        # Operator sets have no ceil_mode of it worth the name: runtimes differ.
        if given.get("ceil_mode", 0):
            raise ValueError("its ceil_mode contradicts its auto_pad VALID")
        return window
    begins, ends = [], []
    for k in (0, 1):
        extent, stride, begin, end = window.extent[k], window.strides[k], window.pads[k], window.pads[k + 2]
        if how == "NOTSET" and given.get("ceil_mode", 0):
            made = -(-(size[k] + begin + end - extent) // stride) + 1
            if (made - 1) * stride >= size[k] + begin:
                made -= 1  # a window that begins behind the image is none
            end = max(end, (made - 1) * stride + extent - size[k] - begin)
        elif how != "NOTSET":
            missing = max((-(-size[k] // stride) - 1) * stride + extent - size[k], 0)
            begin = missing // 2 if how == "SAME_UPPER" else missing - missing // 2
            end = missing - begin
        begins.append(begin)
        ends.append(end)
    return replace(window, pads=(begins[0], begins[1], ends[0], ends[1]))
