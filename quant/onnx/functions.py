"""The operations of our ONNX domain, and those of QONNX that we use, as functions of standard operations.

A model that brings these functions along runs in any ONNX runtime. All sums are exact: of integers in 64 bits, or in
double precision where every value is an integer below 2**53.
"""

from collections.abc import Callable

import numpy as np
from onnx import FunctionProto, TensorProto, helper

from .body import Body
from .token_functions import TOKEN_FUNCTIONS
from .windows import framed, windows

__all__ = ["DOMAIN", "DOMAIN_VERSION", "IR", "OPSET", "QONNX", "QONNX_VERSION", "SIGNATURES", "function"]

DOMAIN = "addax.quant.qonnx_ops"
"""Our domain is named as the module in which the qonnx package finds its executors."""
DOMAIN_VERSION = 1
QONNX = "qonnx.custom_op.general"
QONNX_VERSION = 2
OPSET = 18
IR = 10

_WINDOW = ("strides", "pads", "dtype")
SIGNATURES: dict[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]] = {
    (DOMAIN, "AdderConv"): (("x", "weight", "pad"), (*_WINDOW, "group")),
    (DOMAIN, "IntegerConv"): (("x", "weight", "pad"), (*_WINDOW, "group")),
    (DOMAIN, "DilatedAdderConv"): (("x", "weight", "pad"), (*_WINDOW, "group", "dilations")),
    (DOMAIN, "DilatedIntegerConv"): (("x", "weight", "pad"), (*_WINDOW, "group", "dilations")),
    (DOMAIN, "IntegerMaxPool"): (("x",), ("kernel_shape", *_WINDOW)),
    (DOMAIN, "SumPool"): (("x",), ("kernel_shape", *_WINDOW)),
    (DOMAIN, "PadChannels"): (("x", "pad"), ("pads",)),
    (DOMAIN, "SpatialShift"): (("x", "offsets", "pad"), ("dtype",)),
    (DOMAIN, "IntegerPixelShuffle"): (("x",), ("blocksize", "dtype")),
    (DOMAIN, "IntegerUpsample"): (("x", "scales"), ("dtype",)),
    (DOMAIN, "Requantise"): (
        ("acc", "multiplier", "offset"),
        ("shift", "lo", "hi", "bits", "signed", "terms", "dtype"),
    ),
    (DOMAIN, "RequantiseAdd"): (
        ("acc", "multiplier", "offset", "residual"),
        ("residual_multiplier", "shift", "lo", "hi", "bits", "signed", "terms", "dtype"),
    ),
    (DOMAIN, "RequantiseChannels"): (
        ("acc", "multiplier", "offset", "shift"),
        ("even", "factor_bits", "lo", "hi", "bits", "signed", "terms", "dtype"),
    ),
    (DOMAIN, "RequantiseChannelsAdd"): (
        ("acc", "multiplier", "offset", "shift", "residual", "residual_multiplier"),
        ("even", "factor_bits", "lo", "hi", "bits", "signed", "terms", "dtype"),
    ),
    (DOMAIN, "RequantiseSlopes"): (
        ("acc", "multiplier", "offset", "second", "second_offset", "knee", "shift"),
        ("even", "factor_bits", "lo", "hi", "bits", "signed", "terms", "dtype"),
    ),
    (DOMAIN, "RequantiseSlopesAdd"): (
        ("acc", "multiplier", "offset", "second", "second_offset", "knee", "shift", "residual", "residual_multiplier"),
        ("even", "factor_bits", "lo", "hi", "bits", "signed", "terms", "dtype"),
    ),
    (DOMAIN, "ImageConstant"): (("images", "value"), ("bits", "signed", "dtype")),
    (DOMAIN, "Threshold"): (("acc", "thresholds", "falling"), ("bits", "dtype")),
    (DOMAIN, "Table"): (("x", "entries"), ("lowest", "bits", "signed", "dtype")),
    (DOMAIN, "IntegerProduct"): (("a", "b"), ("dtype",)),
    (DOMAIN, "Choose"): (("mask", "branch", "others"), ("number", "dtype")),
    (DOMAIN, "SumChannels"): (("x", "begins"), ("dtype",)),
    (DOMAIN, "MaxChannels"): (("x", "begins"), ("dtype",)),
    (QONNX, "Quant"): (("x", "scale", "zero_point", "bit_width"), ("signed", "narrow", "rounding_mode")),
    (QONNX, "BipolarQuant"): (("x", "scale"), ()),
    (QONNX, "MultiThreshold"): (("x", "thresholds"), ("out_scale", "out_bias", "out_dtype", "data_layout")),
    **{(DOMAIN, name): (held.inputs, held.attributes) for name, held in TOKEN_FUNCTIONS.items()},
}
"""Inputs and attributes of every operation, by domain and name."""


def function(domain: str, name: str) -> FunctionProto:
    """The function that stands for the operation ``name`` of ``domain``; a ``KeyError`` where there is none."""
    inputs, attributes = SIGNATURES[domain, name]
    body = Body()
    result = _BODIES[name](body)
    body.nodes.append(helper.make_node("Identity", [result], ["result"]))
    return helper.make_function(
        domain, name, inputs, ["result"], body.nodes, [helper.make_opsetid("", OPSET)], attributes
    )


def _grouped(body: Body, kind: int, dilated: bool) -> tuple[str, str, Callable[[str], str]]:
    """Windows (N, G, K, P) and filters (G, O / G, K) of a convolution as ``kind``, and what makes (N, G, O / G, P) the
    result."""
    group = body("Unsqueeze", body.attribute("group"), body.ints(0))
    weight = body.cast("weight", kind)
    shape = body("Shape", weight)
    x = framed(body, body.cast("x", kind), body.cast("pad", kind))
    size = body("Slice", shape, body.ints(2), body.ints(4))
    dilations = body.attribute("dilations", "value_ints") if dilated else None
    patches, images, counts = windows(body, x, size, dilations)
    pixels = body("ReduceProd", counts, keepdims=1)
    patches = body("Reshape", patches, body("Concat", images, group, body.ints(-1), pixels, axis=0))
    taps = body("ReduceProd", body("Slice", shape, body.ints(1), body.ints(4)), keepdims=1)
    filters = body("Reshape", weight, body("Concat", group, body.ints(-1), taps, axis=0))

    def result(sums: str) -> str:
        outputs = body("Slice", shape, body.ints(0), body.ints(1))
        return body.as_declared(body("Reshape", sums, body("Concat", images, outputs, counts, axis=0)))

    return patches, filters, result


def _adder_conv(body: Body, *, dilated: bool = False) -> str:
    patches, filters, result = _grouped(body, TensorProto.DOUBLE, dilated)
    step = Body("s")
    distance = step("Abs", step("Sub", patches, "slice"))
    total = step("ReduceSum", distance, step.ints(2), keepdims=0)
    # A filter of every group at a time: (O / G, G, K, 1)
    rows = body("Unsqueeze", body("Transpose", filters, perm=[1, 0, 2]), body.ints(3))
    sums = body("Transpose", body.scan(rows, step, total, TensorProto.DOUBLE), perm=[1, 2, 0, 3])
    return result(body.cast(body("Neg", sums), TensorProto.INT64))


def _integer_conv(body: Body, *, dilated: bool = False) -> str:
    patches, filters, result = _grouped(body, TensorProto.INT64, dilated)
    return result(body("MatMul", filters, patches))


def _pool(body: Body, reduce: str, fill: int) -> str:
    x = framed(body, body.cast("x", TensorProto.INT64), None, body.scalar(fill))
    patches, images, counts = windows(body, x, body.attribute("kernel_shape", "value_ints"))
    pooled = body(reduce, patches, body.ints(2), keepdims=0)
    shape = body("Concat", images, body.ints(-1), counts, axis=0)
    return body.as_declared(body("Reshape", pooled, shape))


def _max_pool(body: Body) -> str:
    return _pool(body, "ReduceMax", np.iinfo(np.int64).min)


def _sum_pool(body: Body) -> str:
    return _pool(body, "ReduceSum", 0)


def _pad_channels(body: Body) -> str:
    return framed(body, "x", "pad")


def _spatial_shift(body: Body) -> str:
    """Every pixel of the result is looked up where it comes from, those from outside at the edge, and then replaced."""
    shape, inside = body("Shape", "x"), ""
    counts = [body("Gather", shape, body.scalar(axis)) for axis in (1, 2, 3)]
    ranges = [body("Range", body.scalar(0), count, body.scalar(1)) for count in counts]
    place = body.channels(ranges[0])
    for axis in (0, 1):
        count, here = counts[axis + 1], body("Unsqueeze", ranges[axis + 1], body.ints(1 - axis))
        offset = body("Gather", "offsets", body.scalar(axis), axis=1)
        there = body("Sub", here, body.channels(offset))  # (C, H, 1) of rows, (C, 1, W) of columns
        near = body("Clip", there, body.scalar(0), body("Sub", count, body.scalar(1)))
        within = body("Equal", near, there)
        place = body("Add", body("Mul", place, count), near)
        inside = body("And", inside, within) if axis else within
    moved = body("Gather", body("Reshape", "x", body.ints(0, -1)), place, axis=1)
    return body.as_declared(body("Where", inside, moved, body("CastLike", body.channels("pad"), "x")))


def _pixel_shuffle(body: Body) -> str:
    x, factor = body.cast("x", TensorProto.INT64), body("Unsqueeze", body.attribute("blocksize"), body.ints(0))
    shape = body("Shape", x)
    images, size = (body("Slice", shape, body.ints(a), body.ints(b)) for a, b in ((0, 1), (2, 4)))
    # (N, C, r, r, H, W) to (N, C, H, r, W, r)
    parts = body("Reshape", x, body("Concat", images, body.ints(-1), factor, factor, size, axis=0))
    moved = body("Transpose", parts, perm=[0, 1, 4, 2, 5, 3])
    larger = body("Concat", images, body.ints(-1), body("Mul", size, factor), axis=0)
    return body.as_declared(body("Reshape", moved, larger))


def _upsample(body: Body) -> str:
    x, factors = body.cast("x", TensorProto.INT64), body.cast("scales", TensorProto.INT64)
    one = body.ints(1)
    rows, columns = (body("Slice", factors, body.ints(axis), body.ints(axis + 1)) for axis in (2, 3))
    # (N, C, H, 1, W, 1) to (N, C, H, r, W, r)
    spread = body("Unsqueeze", x, body.ints(3, 5))
    repeated = body("Expand", spread, body("Concat", one, one, one, rows, one, columns, axis=0))
    return body.as_declared(body("Reshape", repeated, body("Mul", body("Shape", x), factors)))


def _image_constant(body: Body) -> str:
    """One value for every image of a batch."""
    count = body("Slice", body("Shape", "images"), body.ints(0), body.ints(1))
    shape = body("Concat", count, body.ints(1, 1, 1), axis=0)
    return body.as_declared(body("Expand", body("Unsqueeze", "value", body.ints(0)), shape))


def _scaled_sum(body: Body, factor: str | None, *, bends: bool = False) -> str:
    """``acc * M + B``, below the knee ``acc * N + D`` where it ``bends``, and ``r * factor`` where a residual joins."""
    acc = body.cast("acc", TensorProto.INT64)
    total = body("Add", body("Mul", acc, body.channels("multiplier")), body.channels("offset"))
    if bends:
        below = body("Add", body("Mul", acc, body.channels("second")), body.channels("second_offset"))
        total = body("Where", body("GreaterOrEqual", acc, body.channels("knee")), total, below)
    if factor is None:
        return total
    return body("Add", total, body("Mul", body.cast("residual", TensorProto.INT64), factor))


def _requantise(body: Body, *, joins: bool = False) -> str:
    total = _scaled_sum(body, body.attribute("residual_multiplier") if joins else None)
    return body.clamped(body.floored(total, body.power(body.attribute("shift"))))


def _requantise_channels(body: Body, *, joins: bool = False, bends: bool = False) -> str:
    """S and R per channel; where ``even``, the sum without its half tells whether the nearest below is odd."""
    total = _scaled_sum(body, body.channels("residual_multiplier") if joins else None, bends=bends)
    divisor = body.power(body.channels("shift"))
    one, two = body.scalar(1), body.scalar(2)
    below = body.floored(body("Sub", total, body("Div", divisor, two)), divisor)
    short = body("Mul", body.attribute("even"), body("Sub", one, body("Mod", below, two)))
    return body.clamped(body.floored(body("Sub", total, short), divisor))


def _reached(body: Body, acc: str, thresholds: str, kind: int) -> str:
    """How many of (C, n) thresholds every element of ``acc`` reaches, as ``kind``."""
    step = Body("s")
    step("GreaterOrEqual", acc, "slice")
    count = step("Add", "state", step.cast(step.nodes[-1].output[0], kind))
    levels = body("Unsqueeze", body("Transpose", thresholds, perm=[1, 0]), body.ints(2, 3))
    none = body.cast(body("Sub", acc, acc), kind)
    return body.scan(levels, step, count, kind, state=none)


def _threshold(body: Body) -> str:
    count = _reached(body, body.cast("acc", TensorProto.INT64), "thresholds", TensorProto.INT64)
    levels = body("Slice", body("Shape", "thresholds"), body.ints(1), body.ints(2))
    falls = body.cast(body.channels("falling"), TensorProto.BOOL)
    return body.as_declared(body("Where", falls, body("Sub", levels, count), count))


def _table(body: Body) -> str:
    """Rows of entries lie behind each other; a single row is that of every channel."""
    shape = body("Shape", "entries")
    rows, size = (body("Gather", shape, body.scalar(axis)) for axis in (0, 1))
    begins = body("Mul", body("Range", body.scalar(0), rows, body.scalar(1)), size)
    place = body("Sub", body.cast("x", TensorProto.INT64), body.attribute("lowest"))
    entries = body("Reshape", "entries", body.ints(-1))
    return body.as_declared(body("Gather", entries, body("Add", place, body.channels(begins)), axis=0))


def _integer_product(body: Body) -> str:
    a, b = (body.cast(name, TensorProto.INT64) for name in ("a", "b"))
    return body.as_declared(body("Mul", a, b))


def _choose(body: Body) -> str:
    """The branch where the mask has its number, elsewhere what the others make."""
    here = body("Equal", body.cast("mask", TensorProto.INT64), body.attribute("number"))
    return body.as_declared(body("Where", here, "branch", "others"))


def _over_channels(body: Body, reduce: str) -> str:
    """``reduce`` of each of equal parts of the channels, of which ``begins`` has the first channels."""
    shape, parts = body("Shape", "x"), body("Shape", "begins")
    images, size = (body("Slice", shape, body.ints(a), body.ints(b)) for a, b in ((0, 1), (2, 4)))
    apart = body("Concat", images, parts, body.ints(-1), size, axis=0)
    x = body("Reshape", body.cast("x", TensorProto.INT64), apart)
    return body.as_declared(body(reduce, x, body.ints(2), keepdims=0))


def _multi_threshold(body: Body) -> str:
    count = _reached(body, "x", "thresholds", TensorProto.FLOAT)
    scaled = body("Mul", count, body.attribute("out_scale", "value_float"))
    return body("Add", scaled, body.attribute("out_bias", "value_float"))


def _quant(body: Body) -> str:
    """With the rounding mode ROUND, which is all that we write: half to even."""
    is_signed, narrow = (body.cast(body.attribute(name), TensorProto.FLOAT) for name in ("signed", "narrow"))
    one, two = body.scalar(1, TensorProto.FLOAT), body.scalar(2, TensorProto.FLOAT)
    reach = body("Pow", two, body("Sub", "bit_width", is_signed))
    lo = body("Mul", is_signed, body("Sub", narrow, reach))
    spare = body("Mul", narrow, body("Sub", one, is_signed))
    hi = body("Sub", body("Sub", reach, one), spare)
    scaled = body("Add", body("Div", "x", "scale"), "zero_point")
    clamped = body("Min", body("Max", scaled, lo), hi)
    return body("Mul", body("Sub", body("Round", clamped), "zero_point"), "scale")


def _bipolar_quant(body: Body) -> str:
    zero, one = (body.scalar(value, TensorProto.FLOAT) for value in (0, 1))
    sign = body("Where", body("GreaterOrEqual", "x", zero), one, body("Neg", one))
    return body("Mul", sign, "scale")


_BODIES: dict[str, Callable[[Body], str]] = {
    "AdderConv": _adder_conv,
    "IntegerConv": _integer_conv,
    "DilatedAdderConv": lambda body: _adder_conv(body, dilated=True),
    "DilatedIntegerConv": lambda body: _integer_conv(body, dilated=True),
    "IntegerMaxPool": _max_pool,
    "SumPool": _sum_pool,
    "PadChannels": _pad_channels,
    "SpatialShift": _spatial_shift,
    "IntegerPixelShuffle": _pixel_shuffle,
    "IntegerUpsample": _upsample,
    "Requantise": _requantise,
    "RequantiseAdd": lambda body: _requantise(body, joins=True),
    "RequantiseChannels": _requantise_channels,
    "RequantiseChannelsAdd": lambda body: _requantise_channels(body, joins=True),
    "RequantiseSlopes": lambda body: _requantise_channels(body, bends=True),
    "RequantiseSlopesAdd": lambda body: _requantise_channels(body, joins=True, bends=True),
    "ImageConstant": _image_constant,
    "Threshold": _threshold,
    "Table": _table,
    "IntegerProduct": _integer_product,
    "Choose": _choose,
    "SumChannels": lambda body: _over_channels(body, "ReduceSum"),
    "MaxChannels": lambda body: _over_channels(body, "ReduceMax"),
    "Quant": _quant,
    "BipolarQuant": _bipolar_quant,
    "MultiThreshold": _multi_threshold,
    **{name: held.body for name, held in TOKEN_FUNCTIONS.items()},
}
