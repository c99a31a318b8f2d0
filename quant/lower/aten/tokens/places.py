"""Where what is read has to stand: channels of tokens in C, windows of patches as tokens."""

from dataclasses import replace

import numpy as np

from .....common.errors import UserError
from ....fold.assembly import Pending, Stored
from ....program import Unfold
from ...graph.nodes import Floats, said
from ...graph.weights import Weighted
from ...layout import Axis, Group, Layout, Place
from ...state import Lowering

__all__ = ["blocks_of", "pixels_moved", "tokens_of", "windows_of"]


def tokens_of(layout: Layout, channels: Group) -> Place:
    """Where ``channels`` stand in C: as they are if they do, else with all others in W. Tokens that are pixels of a map
    come into W, too, for there tokens see each other."""
    rows, columns = (set(group) for group in layout.place[1:])
    pixels = any(rows & set(group) and columns & set(group) for group in layout.dims)
    if layout.place[0] == channels and not pixels:
        return layout.place
    held = {axis for group in layout.place for axis in group}
    others = (axis for group in layout.dims for axis in group if axis in held and axis not in channels)
    return channels, (), tuple(others)


def pixels_moved(lowering: Lowering, value: Pending, layout: Layout, place: Place) -> Pending:
    """Normalised pixels in another place; raises ``ValueError`` where one channel would have several normalisations."""
    moved = lowering.arranged(Stored(op=value.op, step=1.0), layout, place)
    there = Layout(dims=layout.dims, place=place)

    def factors(held: Floats) -> Floats:
        spread = np.broadcast_to(held[:, None, None], layout.shape)
        move = layout.move(place)
        if move is None:
            return held
        split, order, shape = move
        found = spread.reshape(split).transpose(order).reshape(shape)
        if not (found == found[:, :1, :1]).all():
            raise ValueError(f"channels of pixels lie among tokens of {there.shape}")
        return np.ascontiguousarray(found[:, 0, 0])

    return replace(
        value, op=moved.op, gain=factors(value.gain), centre=factors(value.centre), bias=factors(value.bias)
    )  # fmt: skip


def blocks_of(layout: Layout | None) -> tuple[int, int] | None:
    """Height and width of the blocks into which a map is cut, one of which each image of a batch is; None where a
    layout is another."""
    if layout is None or len(layout.dims) != 4 or layout.dims[1] != layout.place[0]:
        return None
    (_, *among), _, down, right = layout.dims
    rows, columns = layout.place[1:]
    if layout.dims[0][:1] != layout.batch or rows[len(rows) - len(down) :] != down:
        return None
    if columns[len(columns) - len(right) :] != right:
        return None
    outer = (*rows[: len(rows) - len(down)], *columns[: len(columns) - len(right)])
    height, width = (int(np.prod([axis.size for axis in group])) for group in (down, right))
    return (height, width) if outer == tuple(among) else None


def windows_of(
    lowering: Lowering, layer: Weighted, op: str, block: tuple[int, int], pad: Floats
) -> tuple[str, Weighted]:  # fmt: skip
    """The windows of ``layer`` in each block of the map ``op`` as tokens, and the layer as one of 1x1; says the layout
    of its result. Raises `UserError` for a layer of groups or wide windows."""
    if layer.groups != 1 or layer.dilation != (1, 1) or layer.transposed:
        raise UserError(f"convolution at {said(layer.node)} of patches must have no groups and no dilation")
    name = lowering.emit(
        Unfold(
            name=lowering.unique(f"{layer.path}_windows"), source=op, block=block, stride=layer.stride,
            size=(int(layer.weight.shape[2]), int(layer.weight.shape[3])), padding=layer.padding,
            pad=pad.astype(np.int64),
        )
    )  # fmt: skip
    whole = lowering.layouts[layer.source]
    count = int(np.prod([axis.size for axis in whole.dims[0][1:]], dtype=np.int64))
    rows, columns = (
        (size + before + after - kernel) // stride + 1
        for size, before, after, kernel, stride in zip(
            block, layer.padding[:2], layer.padding[2:], layer.weight.shape[2:], layer.stride, strict=True
        )
    )
    made, patches, down, right = (
        (Axis(int(n)),) if n > 1 else () for n in (len(layer.weight), count, rows, columns)
    )  # fmt: skip
    dims = ((*whole.batch, *patches), made, down, right)
    lowering.lay(layer.node, Layout(dims=dims, place=(made, patches, (*down, *right))).joined())
    flat = layer.weight.flatten(1)[:, :, None, None]
    return name, replace(layer, weight=flat, stride=(1, 1), padding=(0, 0, 0, 0))
