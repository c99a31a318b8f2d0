"""Foreign ONNX nodes that pool, reshape, join and enlarge, and those that may stand behind class scores."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from onnx import NodeProto, TensorProto

from ...fold.assembly import Bits, Pending, Stored
from ...formats import unsigned
from ...ops.move import AXES
from ...ops.window import Window
from ...program import AveragePool, Op, PixelShuffle, Slice, Upsample
from ..graph import resize_factor, shuffle_factor
from .attributes import settled, window_of
from .fold import axes_of, reshaped
from .reader import Handler, Reader
from .tensors import Given, Joined, Tensor

__all__ = ["ENDINGS", "PASSING", "SHAPES"]

PASSING = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "QuantizeLinear", "DequantizeLinear")
"""Operations that keep what stands behind class scores."""


_ALL = (1 << 31) - 1
"""Where a slice ends that takes all there is, by any file's habit."""


# Pools


def _max_pool(reader: Reader, node: NodeProto, given: Given) -> None:
    tensor = reader.image(node.input[0])
    _, height, width = reader.map_of(tensor)
    if node.op_type == "GlobalMaxPool":
        window = Window(kernel=(height, width))
    else:
        window = window_of(given, (height, width), axes=len(tensor.shape) - 1)
    if window.dilations != (1, 1):
        raise ValueError(f"its dilations must be 1, not {list(window.dilations)}")
    if any(pad >= size for pad, size in zip(window.pads, window.kernel * 2, strict=True)):
        raise ValueError(f"its pads {list(window.pads)} make windows that see no pixel")
    if min(window.result((height, width))) < 1:
        raise ValueError(f"its window of {list(window.kernel)} is larger than the padded map of {height}x{width}")
    name, value = node.name or node.output[0], tensor.value
    if isinstance(value, Stored | Bits) and not tensor.limited:
        made = replace(tensor, value=reader.max_pool(name, value, window))
    else:
        waiting = replace(tensor, value=reader.pending(tensor), pools=(*tensor.pools, (name, window)))
        if tensor.falls is not None:
            raise ValueError("two max pools with a negative factor between need a quantiser in between")
        made = waiting
        if not reader.is_sums(waiting) and not tensor.pools and _rises(waiting):
            made = reader.pooled_sums(waiting)
    reader.tensors[node.output[0]] = replace(made, shape=_seen(reader, made, tensor))


def _rises(tensor: Tensor) -> bool:
    value = tensor.value
    return isinstance(value, Pending) and value.residual is None and bool(np.all(value.gain > 0))


def _seen(reader: Reader, made: Tensor, before: Tensor) -> tuple[int, ...]:
    """The axes of a map or a line."""
    shape = reader.map_of(made)
    return shape if len(before.shape) == 3 else (shape[0], shape[2])


def _average_pool(reader: Reader, node: NodeProto, given: Given) -> None:
    tensor = reader.image(node.input[0])
    _, height, width = reader.map_of(tensor)
    window = window_of(given, (height, width), axes=len(tensor.shape) - 1)
    rows, columns = window.result((height, width))
    if min(rows, columns) < 1:
        raise ValueError(f"its window of {list(window.kernel)} is larger than the padded map of {height}x{width}")
    # Pads that no window reaches are none.
    last = [(count - 1) * window.strides[k] + window.extent[k] for k, count in enumerate((rows, columns))]
    top, left = window.pads[:2]
    reached = (top, left, max(last[0] - top - height, 0), max(last[1] - left - width, 0))
    if any(reached) and (not given.get("count_include_pad", 0) or given.get("ceil_mode", 0)):
        raise ValueError(
            f"its padding {list(reached)} is not counted, so that windows at the border divide by less; "
            f"only pads that count (count_include_pad=1, without ceil_mode) are supported"
        )
    made = _averaged(reader, node, tensor, replace(window, pads=reached))
    reader.tensors[node.output[0]] = replace(made, shape=_seen(reader, made, tensor))


def _global_pool(reader: Reader, node: NodeProto, given: Given) -> None:
    tensor = reader.image(node.input[0])
    made = _averaged(reader, node, tensor, Window(kernel=reader.map_of(tensor)[1:]))
    reader.tensors[node.output[0]] = replace(made, shape=_seen(reader, made, tensor))


def _reduce_mean(reader: Reader, node: NodeProto, given: Given) -> None:
    tensor = reader.image(node.input[0])
    rank = len(tensor.shape) + 1
    axes = given["axes"] if "axes" in given else reader.optional(node, 1)
    if axes is None and given.get("noop_with_empty_axes", 0):
        reader.tensors[node.output[0]] = tensor
        return
    named = [int(axis) for axis in ([] if axes is None else axes)]
    if sorted(axis % rank for axis in named) != list(range(2, rank)):
        raise ValueError(f"the mean must be over rows and columns, not over axes {named or 'of all'}")
    made = _averaged(reader, node, tensor, Window(kernel=reader.map_of(tensor)[1:]))
    channels = tensor.shape[0]
    shape = (channels, *[1] * (rank - 2)) if given.get("keepdims", 1) else (channels,)
    reader.tensors[node.output[0]] = replace(made, shape=shape)


def _averaged(reader: Reader, node: NodeProto, tensor: Tensor, window: Window) -> Tensor:
    """The mean of windows: a sum whose requantise divides, or a convolution by ones where no such pool exists."""
    value, fill = tensor.value, 0
    affine = isinstance(value, Pending) and value.residual is None and not reader.is_sums(tensor)
    if not affine or tensor.limited or tensor.pools or any(window.pads) or reader.format(tensor.op).bits == 1:
        read, offset = reader.features(tensor, node.input[0])
        value = reader.numbers_of(read.value) if isinstance(read.value, Bits) else read.value
        assert isinstance(value, Stored)
        if any(window.pads) and offset:
            fill = reader.zero_of(value, offset, node.input[0])
        value = reader.pending_of(value)
        value = replace(value, bias=value.bias + offset)
    assert isinstance(value, Pending)
    (height, width), name = window.kernel, node.name or node.output[0]
    if not any(window.pads) and window.dilations == (1, 1):
        window = settled(window, reader.shape(value.op)[1:])
        op = AveragePool(name=reader.named(name), source=value.op, size=window.kernel, stride=window.strides)
        made = reader.emit(op)
    else:
        channels = reader.shape(value.op)[0]
        ones = np.ones((channels, 1, height, width), np.int64)
        made = reader.convolve(name, value.op, ones, unsigned(1), window, groups=channels, fill=fill)
        reader.note(f"the mean over windows of {height}x{width} is made by a convolution of ones")
    count = height * width
    mean = replace(value, op=made, gain=value.gain / count, centre=value.centre * count)
    return Tensor(value=mean, shape=tensor.shape)


# Shapes


def _flatten(reader: Reader, node: NodeProto, given: Given) -> None:
    tensor = reader.tensor(node.input[0])
    axis = given.get("axis", 1)
    if axis % (len(tensor.shape) + 1 + (axis == len(tensor.shape) + 1)) != 1:
        raise ValueError(f"it must keep the batch and flatten all the rest, not from axis {axis} on")
    _seen_as(reader, node, tensor, (math.prod(tensor.shape),))


def _reshape(reader: Reader, node: NodeProto, given: Given) -> None:
    tensor = reader.tensor(node.input[0])
    wanted = given["shape"] if "shape" in given else reader.constant(node.input[1]).reshape(-1).tolist()
    made = reshaped((reader.batch, *tensor.shape), wanted, allow_zero=bool(given.get("allowzero", 0)))
    if made[:1] != (reader.batch,):
        raise ValueError(f"it must keep the batch and flatten all the rest, not make {[int(n) for n in wanted]}")
    _seen_as(reader, node, tensor, made[1:])


def _squeeze(reader: Reader, node: NodeProto, given: Given) -> None:
    tensor = reader.tensor(node.input[0])
    axes = axes_of(given, [np.zeros(0), reader.constant(node.input[1])] if len(node.input) > 1 else [])
    inserts = node.op_type == "Unsqueeze"
    if axes is None:
        raise ValueError("it must name its axes: without them the batch would go, too")
    rank = len(tensor.shape) + 1 + (len(axes) if inserts else 0)
    places = {axis % rank for axis in axes}
    if 0 in places:
        raise ValueError("it must keep the batch, the first axis")
    if inserts:
        rest = iter(tensor.shape)
        shape = tuple(1 if k in places else next(rest) for k in range(1, rank))
    else:
        if any(tensor.shape[k - 1] != 1 for k in places):
            raise ValueError(f"it must take away axes of one element, not {sorted(places)} of {('N', *tensor.shape)}")
        shape = tuple(n for k, n in enumerate(tensor.shape, 1) if k not in places)
    _seen_as(reader, node, tensor, shape)


def _seen_as(reader: Reader, node: NodeProto, tensor: Tensor, shape: tuple[int, ...]) -> None:
    order = None if tensor.order is None else tensor.order.reshape(shape)
    name = tensor.flattened or node.name or node.output[0]
    reader.tensors[node.output[0]] = replace(tensor, shape=shape, order=order, flattened=name)


def _transpose(reader: Reader, node: NodeProto, given: Given) -> None:
    tensor = reader.tensor(node.input[0])
    rank = len(tensor.shape) + 1
    perm = [axis % rank for axis in given.get("perm", range(rank)[::-1])]
    if sorted(perm) != list(range(rank)) or perm[0] != 0:
        raise ValueError(f"it must keep the batch, the first axis, not move axes to {perm}")
    places = np.arange(math.prod(tensor.shape)) if tensor.order is None else tensor.order
    moved = places.reshape(tensor.shape).transpose([axis - 1 for axis in perm[1:]])
    natural = np.array_equal(moved.reshape(-1), np.arange(moved.size))
    reader.tensors[node.output[0]] = replace(tensor, shape=moved.shape, order=None if natural else moved)


def _concat(reader: Reader, node: NodeProto, given: Given) -> None:
    found = [reader.any_tensor(name) for name in node.input]
    if "axis" not in given:
        raise KeyError("axis")
    rank = len(found[0].shape) + 1
    if given["axis"] % rank != 1 or any(len(part.shape) != rank - 1 for part in found):
        raise ValueError("only channels can be joined")
    parts: list[Tensor] = []
    for part in found:
        inside = part.parts if isinstance(part, Joined) else (part,)
        for tensor in inside:
            if (rank > 2 and not reader.is_map(tensor)) or tensor.order is not None:
                raise ValueError("only channels can be joined")
            parts.append(reader.flat(tensor) if rank == 2 else tensor)
    rest = {tensor.shape[1:] for tensor in parts}
    if len(rest) != 1:
        raise ValueError(f"what it joins must have equal rows and columns, not {sorted(rest)}")
    shape = (sum(tensor.shape[0] for tensor in parts), *rest.pop())
    name = node.name or node.output[0]
    values = [tensor.value for tensor in parts]
    settled = all(isinstance(value, Stored | Bits) for value in values) and not any(part.limited for part in parts)
    if settled and len({value.step for value in values if isinstance(value, Stored | Bits)}) == 1:
        reader.tensors[node.output[0]] = reader.beside(parts, shape, name)
    else:
        reader.tensors[node.output[0]] = Joined(parts=tuple(parts), shape=shape, name=name)


def _pixel_shuffle(reader: Reader, node: NodeProto, given: Given) -> None:
    factor = shuffle_factor(node)
    _rearranged(reader, node, node.input[0], lambda name, source: PixelShuffle(name=name, source=source, factor=factor))


def _resize(reader: Reader, node: NodeProto, given: Given) -> None:
    _, height, width = reader.map_of(reader.image(node.input[0]))
    factor = resize_factor(
        node, {name: reader.constant(name) for name in node.input if reader.is_constant(name)}, (height, width)
    )
    _rearranged(reader, node, node.input[0], lambda name, source: Upsample(name=name, source=source, factor=factor))


def _rearranged(reader: Reader, node: NodeProto, source: str, make: Callable[[str, str], Op]) -> None:
    """The result of ``node``: what a move makes of the tensor ``source``."""
    tensor = reader.image(source)
    if len(tensor.shape) != 3:
        raise ValueError(f"input {source!r} must be images (N, C, H, W), not {('N', *tensor.shape)}")
    read, offset = reader.features(tensor, source)
    value = read.value
    assert isinstance(value, Stored | Bits)
    name = reader.emit(make(reader.named(node.name or node.output[0]), value.op), value.step)
    made: Stored | Bits | Pending = replace(value, op=name)
    if offset:
        assert isinstance(made, Stored)
        waiting = reader.pending_of(made)
        made = replace(waiting, bias=waiting.bias + offset)
    reader.tensors[node.output[0]] = Tensor(value=made, shape=reader.shape(name))


def _slice(reader: Reader, node: NodeProto, given: Given) -> None:
    """One slice for each axis that is cut."""

    def part(name: str, position: int, default: list[int]) -> list[int]:
        held = reader.optional(node, position)
        return list(given.get(name, default)) if held is None else [int(n) for n in held.reshape(-1)]

    starts, ends = part("starts", 1, []), part("ends", 2, [])
    axes, steps = part("axes", 3, list(range(len(starts)))), part("steps", 4, [1] * len(starts))
    name = node.input[0]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        rank = len(reader.tensor(name).shape) + 1
        if axis % rank == 0 and (start, step) == (0, 1) and end >= _ALL:
            continue
        if axis % rank == 0 or not 0 <= axis + rank < 2 * rank:
            raise ValueError(f"it cuts axis {axis} of {('N', *reader.tensor(name).shape)}; images stay whole")
        size = reader.tensor(name).shape[axis % rank - 1]
        kept = range(size)[start:end:step]
        if step < 1 or not kept:
            raise ValueError(f"it must keep some of {size} in their order, not {start}:{end}:{step}")
        if kept != range(size):
            cut = {"axis": AXES[axis % rank - 1], "start": kept.start, "stop": kept.stop, "step": step}
            _rearranged(reader, node, name, lambda name, source, cut=cut: Slice(name=name, source=source, **cut))  # type: ignore[misc]
            name = node.output[0]
    if name == node.input[0]:
        reader.tensors[node.output[0]] = reader.any_tensor(name)


def _same(reader: Reader, node: NodeProto, given: Given) -> None:
    if node.op_type == "Dropout":
        training = reader.optional(node, 2)
        if training is not None and np.any(training):
            raise ValueError("it must not be in training mode")
    if node.op_type == "Cast" and given.get("to") not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        raise ValueError("a tensor of the network can only be cast to floats")
    reader.tensors[node.output[0]] = reader.any_tensor(node.input[0])


# Behind the class scores


def _ending(reader: Reader, node: NodeProto, given: Given) -> None:
    tensor = reader.tensors.get(node.input[0])
    if not isinstance(tensor, Tensor):
        tensor = reader.tensor(node.input[0])
    rank = len(tensor.shape) + 1
    axis = given.get("axis", {"ArgMax": 0, "TopK": -1}.get(node.op_type, rank - 1))
    whole = math.prod(tensor.shape)
    if node.op_type != "Sigmoid" and (axis % rank == 0 or tensor.shape[axis % rank - 1] != whole):
        raise ValueError(
            f"it must be over the class scores of an image, not over axis {axis} of {('N', *tensor.shape)}"
        )
    reader.note(
        f"{node.op_type} behind the class scores is left out: the program gives the scores and the class of the largest"
    )
    for name in node.output:
        if name:
            reader.tensors[name] = replace(tensor, ended=node.op_type)


SHAPES: dict[str, Handler] = {
    "MaxPool": _max_pool, "GlobalMaxPool": _max_pool, "AveragePool": _average_pool, "GlobalAveragePool": _global_pool,
    "ReduceMean": _reduce_mean, "Flatten": _flatten, "Reshape": _reshape, "Squeeze": _squeeze, "Unsqueeze": _squeeze,
    "Transpose": _transpose, "Concat": _concat, "DepthToSpace": _pixel_shuffle, "Resize": _resize,
    "Upsample": _resize, "Identity": _same, "Dropout": _same, "Cast": _same, "Slice": _slice,
}  # fmt: skip
ENDINGS: dict[str, Handler] = dict.fromkeys(("Softmax", "LogSoftmax", "Sigmoid", "ArgMax", "TopK"), _ending)
