"""A Program as QONNX: tensors hold integers, weights stand behind quantisers."""

from typing import Any

import numpy as np
from onnx import ModelProto

from ..ops.channels import ArgMax, Reduce, Select
from ..ops.constant import Constant
from ..ops.convolution import Convolution
from ..ops.ends import Input
from ..ops.move import AXES, PixelShuffle, Slice, SpatialShift, Upsample
from ..ops.pool import AveragePool, MaxPool
from ..ops.product import Product
from ..ops.requantise import MULTIPLIER_BITS, Requantise
from ..ops.shape import Concat, Flatten
from ..ops.table import Table
from ..ops.threshold import Threshold
from ..program import Program
from .build import CLASS, FLOAT, INT64, KERNEL, MODEL_HEADER, PIXELS, SCORES, WRITERS, Graph
from .functions import DOMAIN, QONNX
from .tokens import TOKEN_WRITERS

__all__ = ["MODEL_HEADER", "NEAREST", "qonnx_model"]

NEAREST: dict[str, Any] = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
"""A resize that repeats pixels."""
for _kind, _write in TOKEN_WRITERS.items():
    WRITERS.register(_kind, _write)


def qonnx_model(program: Program, *, images: int | None = None) -> ModelProto:
    """``program`` in QONNX: it takes ``pixels`` (N, C, H, W), its input's integers as floats, gives ``scores``
    (N, classes) and ``class`` (N,) as integers, or without an arg-max the raw ``output`` (N, C, H, W).

    Its operations are standard ones, quantisers of QONNX, and those of our domain: the convolution of the adder kernel,
    requantise, .. The last two are brought along as functions of standard operations, so that any runtime executes
    them. Every tensor holds the Program's integers: as floats, or, where a float may not hold them, in 64 bits.

    Parameters
    ----------
    images : N; None leaves it open

    Raises
    ------
    UserError
        for an input of more bits than a float holds exactly.
    """
    return Graph(program, images).model()


@WRITERS.handles(Input)
def _input(graph: Graph, op: Input) -> None:
    inputs = [PIXELS, graph.number(1), graph.number(0), graph.number(op.format.bits)]
    graph.main(
        "Quant", inputs, op, domain=QONNX, signed=int(op.format.signed), narrow=0, rounding_mode="ROUND"
    )  # fmt: skip


@WRITERS.handles(Constant)
def _constant(graph: Graph, op: Constant) -> None:
    value = graph.constant(f"{op.name}.value", op.value, np.int64)
    given = {"bits": op.format.bits, "signed": int(op.format.signed)}
    graph.main("ImageConstant", [PIXELS, value], op, domain=DOMAIN, **given)


@WRITERS.handles(Concat)
def _concat(graph: Graph, op: Concat) -> None:
    graph.main("Concat", [graph.tensor(name) for name in op.sources], op, axis=1 + AXES.index(op.axis))


@WRITERS.handles(Flatten)
def _flatten(graph: Graph, op: Flatten) -> None:
    shape = graph.constant("pixel_of_all", [0, -1, 1, 1], np.int64)
    graph.main("Reshape", [graph.tensor(op.source), shape], op)


@WRITERS.handles(Convolution)
def _convolution(graph: Graph, op: Convolution) -> None:
    source, weight, pads, pad = graph.tensor(op.source), graph.weights(op), list(op.window.pads), op.pad
    kind = "AdderConv" if op.kernel == "adder" else "Conv" if graph.exact(graph.program, op) else "IntegerConv"
    if (op.kernel == "xnor" and any(pads)) or (kind == "Conv" and pad.any()):
        source = _framed(graph, op, source)
        pads, pad = [0] * 4, np.zeros_like(pad)
    if op.kernel == "xnor":
        source = _signs(graph, op, source)
    window: dict[str, Any] = {"strides": list(op.window.strides), "pads": pads, "group": op.groups}
    if op.dilation != 1:
        window["dilations"] = list(op.window.dilations)
    if kind == "Conv":
        node = graph.main(kind, [source, weight], op, gives=FLOAT, kernel_shape=list(op.weight.shape[2:]), **window)
    else:
        held = graph.constant(f"{op.name}.pad", pad, np.float32)
        kind = kind if op.dilation == 1 else f"Dilated{kind}"
        node = graph.main(kind, [source, weight, held], op, domain=DOMAIN, **window)
    entry = node.metadata_props.add()
    entry.key, entry.value = KERNEL, op.kernel


def _framed(graph: Graph, op: Convolution, source: str) -> str:
    """``source`` with its padding."""
    out, pad = f"{op.name}.framed", graph.constant(f"{op.name}.pad", op.pad, np.float32)
    shape = _framed_shape(graph, op)
    graph.node("PadChannels", [source, pad], out, shape, FLOAT, domain=DOMAIN, pads=list(op.window.pads))
    return out


def _framed_shape(graph: Graph, op: Convolution) -> list[int | str]:
    channels, *size = graph.program.shape(op.source)
    return [graph.images, channels, *op.window.padded((size[0], size[1]))]


def _signs(graph: Graph, op: Convolution, source: str) -> str:
    """Bits 0 and 1 as -1 and +1."""
    shape = _framed_shape(graph, op)
    centred, out = f"{op.name}.centred", f"{op.name}.signs"
    half = graph.constant("half", 0.5, np.float32)
    graph.node("Sub", [source, half], centred, shape, FLOAT)
    graph.node("BipolarQuant", [centred, graph.number(1)], out, shape, FLOAT, domain=QONNX)
    return out


@WRITERS.handles(Requantise)
def _requantise(graph: Graph, op: Requantise) -> None:
    inputs = [
        graph.tensor(op.source),
        graph.constant(f"{op.name}.multiplier", op.multiplier, np.int64),
        graph.constant(f"{op.name}.offset", op.offset, np.int64),
    ]
    given: dict[str, Any] = {"lo": op.lo, "hi": op.hi, "terms": op.terms}
    given |= {"bits": op.format.bits, "signed": int(op.format.signed)}
    kind, joined = "Requantise", [] if op.residual is None else [graph.tensor(op.residual)]
    if op.bends or op.channelwise or op.ties != "up" or op.factor_bits != MULTIPLIER_BITS:
        kind = "RequantiseSlopes" if op.bends else "RequantiseChannels"
        if op.bends:
            below = {"second": op.seconds, "second_offset": op.second_offsets, "knee": op.knees}
            inputs += [graph.constant(f"{op.name}.{role}", values, np.int64) for role, values in below.items()]
        inputs.append(graph.constant(f"{op.name}.shift", op.shifts, np.int64))
        given |= {"even": int(op.ties == "even"), "factor_bits": op.factor_bits}
        if joined:
            joined.append(graph.constant(f"{op.name}.residual_multiplier", op.residual_multipliers, np.int64))
    else:
        given["shift"] = op.shift
        if joined:
            given["residual_multiplier"] = op.residual_multiplier
    graph.main(f"{kind}Add" if joined else kind, [*inputs, *joined], op, domain=DOMAIN, **given)


@WRITERS.handles(Threshold)
def _threshold(graph: Graph, op: Threshold) -> None:
    source = graph.tensor(op.source)
    if graph.carrier(op.source) == FLOAT and not op.falling.any():
        levels = graph.constant(f"{op.name}.thresholds", op.thresholds, np.float32)
        graph.main(
            "MultiThreshold", [source, levels], op, domain=QONNX, out_dtype=f"UINT{op.format.bits}", out_scale=1.0,
            out_bias=0.0, data_layout="NCHW",
        )  # fmt: skip
        return
    levels = graph.constant(f"{op.name}.thresholds", op.thresholds, np.int64)
    falling = graph.constant(f"{op.name}.falling", op.falling, np.int64)
    graph.main("Threshold", [source, levels, falling], op, domain=DOMAIN, bits=op.format.bits)


@WRITERS.handles(Table)
def _table(graph: Graph, op: Table) -> None:
    inputs = [graph.tensor(op.source), graph.constant(f"{op.name}.entries", op.rows, np.int64)]
    given = {"lowest": graph.program.format(op.source).lo, "bits": op.format.bits, "signed": int(op.format.signed)}
    graph.main("Table", inputs, op, domain=DOMAIN, **given)


@WRITERS.handles(Product)
def _product(graph: Graph, op: Product) -> None:
    operands = [graph.tensor(name) for name in op.sources]
    if graph.carrier(op.name) == FLOAT:
        graph.main("Mul", operands, op)
    else:
        graph.main("IntegerProduct", operands, op, domain=DOMAIN)


@WRITERS.handles(MaxPool, AveragePool)
def _pool(graph: Graph, op: MaxPool | AveragePool) -> None:
    window: dict[str, Any] = {"kernel_shape": list(op.window.kernel)}
    window |= {"strides": list(op.window.strides), "pads": list(op.window.pads)}
    if isinstance(op, AveragePool):
        graph.main("SumPool", [graph.tensor(op.source)], op, domain=DOMAIN, **window)
        return
    if graph.carrier(op.name) == FLOAT:
        graph.main("MaxPool", [graph.tensor(op.source)], op, **window)
    else:
        graph.main("IntegerMaxPool", [graph.tensor(op.source)], op, domain=DOMAIN, **window)


@WRITERS.handles(SpatialShift)
def _spatial_shift(graph: Graph, op: SpatialShift) -> None:
    offsets = graph.constant(f"{op.name}.offsets", op.offsets, np.int64)
    pad = graph.constant(f"{op.name}.pad", op.pad, np.int64)
    graph.main("SpatialShift", [graph.tensor(op.source), offsets, pad], op, domain=DOMAIN)


@WRITERS.handles(PixelShuffle)
def _pixel_shuffle(graph: Graph, op: PixelShuffle) -> None:
    source = [graph.tensor(op.source)]
    if graph.carrier(op.name) == FLOAT:
        graph.main("DepthToSpace", source, op, blocksize=op.factor, mode="CRD")
    else:
        graph.main("IntegerPixelShuffle", source, op, domain=DOMAIN, blocksize=op.factor)


@WRITERS.handles(Upsample)
def _upsample(graph: Graph, op: Upsample) -> None:
    source = graph.tensor(op.source)
    scales = graph.constant(f"larger{op.factor}", [1, 1, op.factor, op.factor], np.float32)
    if graph.carrier(op.name) == FLOAT:
        graph.main("Resize", [source, "", scales], op, **NEAREST)
    else:
        graph.main("IntegerUpsample", [source, scales], op, domain=DOMAIN)


@WRITERS.handles(Slice)
def _slice(graph: Graph, op: Slice) -> None:
    # Channels are the second axis, behind the images.
    places = {"begins": op.start, "ends": op.stop, "axes": 1 + AXES.index(op.axis), "every": op.step}
    vectors = [graph.constant(f"{op.name}.{role}", [place], np.int64) for role, place in places.items()]
    graph.main("Slice", [graph.tensor(op.source), *vectors], op)


@WRITERS.handles(Select)
def _select(graph: Graph, op: Select) -> None:
    """A choice between one branch and what the other ones make, the last one behind all of them."""
    mask, *branches, behind = (graph.tensor(name) for name in op.sources)
    shape, held = [graph.images, *graph.program.shape(op.name)], graph.carrier(op.name)
    for number, branch in reversed(list(enumerate(branches))):
        inputs = [mask, branch, behind]
        if number:
            behind = f"{op.name}.from{number}"
            graph.node("Choose", inputs, behind, shape, held, domain=DOMAIN, number=number, dtype=held)
        else:
            graph.main("Choose", inputs, op, domain=DOMAIN, number=number)


@WRITERS.handles(Reduce)
def _reduce(graph: Graph, op: Reduce) -> None:
    kind = "SumChannels" if op.how == "sum" else "MaxChannels"
    each = graph.program.shape(op.source)[0] // op.parts
    begins = graph.constant(f"{op.name}.begins", np.arange(op.parts) * each, np.int64)
    graph.main(kind, [graph.tensor(op.source), begins], op, domain=DOMAIN)


@WRITERS.handles(ArgMax)
def _argmax(graph: Graph, op: ArgMax) -> None:
    if op is not graph.program.decision:
        graph.main("ArgMax", [graph.tensor(op.source)], op, gives=INT64, axis=1, keepdims=1)
        return
    flat, held, shape = f"{op.name}.scores", graph.carrier(op.source), [graph.images, graph.program.classes]
    graph.node("Flatten", [graph.tensor(op.source)], flat, shape, held, axis=1)
    graph.node("Cast", [flat], SCORES, shape, INT64, name=f"{op.name}.cast", to=INT64)
    graph.node("ArgMax", [SCORES], CLASS, [graph.images], INT64, name=op.name, axis=1, keepdims=0)
