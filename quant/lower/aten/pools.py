"""Lowering of pools: the largest of a window, or its mean; sums and means over whole dimensions."""

from collections.abc import Sequence
from math import prod

import numpy as np
import torch

from ....common.errors import UserError
from ...fold.assembly import Pending, Stored
from ...ops.window import Window, merged
from ...program import AveragePool, MaxPool, Op, Reduce
from ..graph.nodes import is_call, name_of, said, sizes
from ..state import Lowering, Value
from .table import Call, lowers

__all__ = ["average_pool", "global_pool", "largest", "max_pool", "mean"]

aten = torch.ops.aten


@lowers(aten.max_pool2d, aten.max_pool2d_with_indices)
def max_pool(lowering: Lowering, call: Call) -> Value:
    """The largest of each window, on the grid of what it reads."""
    pool, path = call.given, call.path
    if set(pool["dilation"]) != {1} or len(call.node.target._schema.returns) > 1:  # type: ignore[union-attr]
        raise UserError(f"max pool at {said(call.node)}: dilation and return_indices are not supported")
    _check_ceil(lowering, call, "max pool")
    stride = pool["stride"] or pool["kernel_size"]
    return lowering.moved(
        call.node, call.source,
        lambda name, op: MaxPool(
            name=name, source=op, size=merged(pool["kernel_size"], 2), stride=merged(stride, 2),
            padding=merged([*pool["padding"], *pool["padding"]], 4),
        ), path,
    )  # fmt: skip


@lowers(aten.avg_pool2d)
def average_pool(lowering: Lowering, call: Call) -> Pending:
    """The mean of each window."""
    pool = call.given
    if set(pool["padding"]) != {0} or pool["divisor_override"] is not None:
        raise UserError(
            f"average pool at {said(call.node)}: padding and divisor_override are not supported; write a pad in front, "
            "whose zeros count, and a factor behind"
        )
    _check_ceil(lowering, call, "average pool")
    stride = pool["stride"] or pool["kernel_size"]
    return _average(lowering, call, pool["kernel_size"], stride)


@lowers(aten.adaptive_avg_pool2d)
def global_pool(lowering: Lowering, call: Call) -> Pending:
    """The mean of each channel, or of equal windows of it."""
    _, height, width = lowering.shape_of(call.source)
    rows, columns = (int(n) for n in sizes(call.node)[2:])
    if (rows, columns) == (1, 1):
        return _mean(lowering, call)
    if height % rows or width % columns:
        raise UserError(
            f"adaptive average pool at {call.path!r} must make one pixel, or pixels of equal windows, not "
            f"{rows}x{columns} of {height}x{width}"
        )
    window = (height // rows, width // columns)
    return _average(lowering, call, window, window)


@lowers(aten.mean, aten.sum, layouts="any")
def mean(lowering: Lowering, call: Call) -> Pending:
    """The mean, or the sum, of each channel over its pixels, rows or columns, or of each pixel over its channels."""
    over, stored = _over(lowering, call), lowering.store(call.source)
    channels, *size = lowering.shape_of(call.source)
    if over == [0]:
        count = channels
        name = lowering.emit(Reduce(name=lowering.unique(call.path), source=stored.op, how="sum"))
    else:
        window = _whole(size, over)
        count = prod(window)
        pool = AveragePool(name=lowering.unique(call.path), source=stored.op, size=window, stride=window)
        name = lowering.emit(pool)
    return _divided(lowering, name, stored, count if is_call(call.node, aten.mean) else 1)


@lowers(aten.amax, layouts="any")
def largest(lowering: Lowering, call: Call) -> Value:
    """The largest, as `mean`, on the grid of what it reads."""
    over = _over(lowering, call)
    window = _whole(lowering.shape_of(call.source)[1:], over)

    def make(name: str, op: str) -> Op:
        if over == [0]:
            return Reduce(name=name, source=op, how="max")
        return MaxPool(name=name, source=op, size=window, stride=window)

    return lowering.moved(call.node, call.source, make, call.path)


def _over(lowering: Lowering, call: Call) -> list[int]:
    """Which of C, H and W, by number, ``call`` is over: C alone, or H, W or both; says the layout of its result."""
    rank, given, layout = len(sizes(call.source)), call.given, lowering.layout(call.source)
    dims = sorted(dim % rank for dim in given.get("dim") or ())
    gone = [axis for dim in dims for axis in layout.dims[dim]]
    over = [at for at in range(3) if layout.place[at] and set(layout.place[at]) <= set(gone)]
    whole = sum(len(layout.place[at]) for at in over) == len(gone)
    if call.source not in lowering.layouts:
        over = [dim - 1 for dim in dims]
        whole = rank == 4 and (dims == [2, 3] or (given["keepdim"] and dims in ([1], [2], [3])))
    if not whole or over not in ([0], [1], [2], [1, 2]):
        what = name_of(call.node).removeprefix("aten.")
        raise UserError(
            f"{what} at {said(call.node)} must be over rows and columns, dimensions 2 and 3 of a map, over one of its "
            "dimensions 1 to 3 with keepdim=True, or over the tokens of an image"
        )
    if call.source in lowering.layouts:
        lowering.lay(call.node, layout.without(dims, keep=given["keepdim"]))
    return over


def _whole(size: Sequence[int], over: Sequence[int]) -> tuple[int, int]:
    """A window over all rows, all columns or both of a map of ``size``."""
    height, width = size
    return height if 1 in over else 1, width if 2 in over else 1


def _check_ceil(lowering: Lowering, call: Call, what: str) -> None:
    """Raise `UserError` where ``ceil_mode`` makes windows that hang over the map; else it changes nothing."""
    pool = call.given
    stride = pool["stride"] or pool["kernel_size"]
    (top, left), (height, width) = pool["padding"], pool["kernel_size"]
    window = Window(kernel=(height, width), strides=(stride[0], stride[1]), pads=(top, left, top, left))
    if pool["ceil_mode"] and window.result(lowering.shape_of(call.source)[1:]) != tuple(sizes(call.node)[2:]):
        raise UserError(
            f"{what} at {said(call.node)}: with ceil_mode its last windows hang over the map, which is not supported; "
            "write ceil_mode=False, or other sizes"
        )


def _average(lowering: Lowering, call: Call, size: Sequence[int], stride: Sequence[int]) -> Pending:
    """Sums of windows; the requantise behind them divides."""
    stored = lowering.store(call.source)
    name = lowering.emit(
        AveragePool(name=lowering.unique(call.path), source=stored.op, size=merged(size, 2), stride=merged(stride, 2))
    )  # fmt: skip
    return _divided(lowering, name, stored, prod(size))


def _divided(lowering: Lowering, name: str, stored: Stored, count: int) -> Pending:
    """The sums called ``name`` of values of ``stored``, divided by ``count``."""
    channels = lowering.shape(name)[0]
    zero = np.zeros(channels)
    relu = not lowering.format(stored.op).signed
    return Pending(op=name, gain=np.full(channels, stored.step / count), centre=zero, bias=zero, relu=relu)


def _mean(lowering: Lowering, call: Call) -> Pending:
    """The mean of a map: of the one window that is all of it."""
    window = lowering.shape_of(call.source)[1:]
    return _average(lowering, call, window, window)
