"""Layouts: which dimension of a torch tensor stands where in the tensor (C, H, W) that holds its values.

Views, transpositions and flattenings of torch only rename and regroup dimensions. So each dimension is kept as a list
of axes, and so is each of C, H and W; axes are split where a view cuts a dimension, and joined where neighbours stay
neighbours on both sides. Nothing is moved until an operation needs its channels, rows or columns elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..ops.base import Shape

__all__ = ["Arrangement", "Axis", "Group", "Layout", "Place", "plain_sizes"]

_IMAGES = 1_000_003
"""Stands for the number of images: a prime number that no size of a network has as a factor."""


@dataclass(frozen=True, eq=False)
class Axis:
    """Numbers of a tensor behind each other; axes are told apart by identity, for many have one size."""

    size: int


Group = tuple[Axis, ...]
"""Axes that are one dimension together, the last one closest."""
Place = tuple[Group, Group, Group]
"""The axes of C, H and W."""
Arrangement = tuple[tuple[int, ...], tuple[int, ...]]
"""Sizes into which (C, H, W) is split, and in which order torch has them: 0 is the batch, 1 the first of the sizes."""
_BATCH = Axis(_IMAGES)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A tensor of torch, of any shape, beside the (C, H, W) that holds it.

    Attributes
    ----------
    dims : axes of each dimension of torch; one of them, in some dimension, is the batch
    place : axes of C, H and W; each but the batch stands in one of them
    """

    dims: tuple[Group, ...]
    place: Place

    @staticmethod
    def of_map(sizes: Sequence[Any], shape: Shape) -> "Layout":
        """That of a tensor of torch of ``sizes`` (batch, C, and what of rows and columns is not 1) in ``shape``."""
        first, *rest = (plain_sizes(sizes)[1:]) or (1,)
        channels = _group(first)
        others = [_group(n) for n in rest]
        filled = iter([group for group in others if group])
        rows, columns = (next(filled, ()) if n > 1 else () for n in shape[1:])
        return Layout(dims=((_BATCH,), channels, *others), place=(channels, rows, columns))

    @property
    def shape(self) -> Shape:
        """(C, H, W)."""
        channels, rows, columns = (prod(axis.size for axis in group) for group in self.place)
        return channels, rows, columns

    @property
    def batch(self) -> Group:
        """The axis of the images."""
        return (_BATCH,)

    @property
    def keeps_images(self) -> bool:
        """Whether the first dimension is the batch alone."""
        return bool(self.dims) and self.dims[0] == (_BATCH,)

    @property
    def is_map(self) -> bool:
        """Whether it is what operations on maps read: (batch, C, H, W), or (batch, C) and what is not 1 of these."""
        if not self.keeps_images or len(self.dims) < 2:
            return False
        others = [group for group in self.dims[2:] if group]
        return self.dims[1] == self.place[0] and others == [group for group in self.place[1:] if group]

    @property
    def as_map(self) -> Place | None:
        """Where an operation on maps wants it: dimensions 1, 2 and 3 as C, H and W; None where it is no map."""
        if not self.keeps_images or not 2 <= len(self.dims) <= 4:
            return None
        rows, columns = ((), *self.dims[2:]) if len(self.dims) == 3 else (*self.dims[2:], (), ())[:2]
        return self.dims[1], rows, columns

    def viewed(self, sizes: Sequence[Any]) -> "Layout | None":
        """With the same numbers in the same order as ``sizes``; None where these cut across axes."""
        found = self.cut(plain_sizes(sizes))
        return None if found is None else found.joined()

    def cut(self, sizes: Sequence[int]) -> "Layout | None":
        """As `viewed`, its axes as small as that takes."""
        left, dims = [axis for group in self.dims for axis in group], []
        split: dict[Axis, Group] = {}
        for size in sizes:
            group: list[Axis] = []
            while size > 1:
                if not left:
                    return None
                axis = left.pop(0)
                if size % axis.size == 0:
                    group.append(axis)
                    size //= axis.size
                elif axis.size % size == 0 and axis is not _BATCH:
                    parts = Axis(size), Axis(axis.size // size)
                    split[axis] = parts
                    group.append(parts[0])
                    left.insert(0, parts[1])
                    size = 1
                else:
                    return None
            dims.append(tuple(group))
        return None if left else Layout(dims=tuple(dims), place=self._with(split))

    def like(self, other: "Layout") -> "tuple[Layout, Place] | None":
        """For a tensor of the same shape of torch: itself with axes cut finely enough, and where they stand if each
        stands where it does in ``other``; None where the two are cut at different places."""
        mine = self.cut([axis.size for group in other.dims for axis in group])
        fine = None if mine is None else [axis for group in mine.dims for axis in group]
        theirs = None if fine is None else other.cut([axis.size for axis in fine])
        if mine is None or fine is None or theirs is None:
            return None
        ours = dict(zip((axis for group in theirs.dims for axis in group), fine, strict=True))
        channels, rows, columns = (tuple(ours[axis] for axis in group) for group in theirs.place)
        return mine, (channels, rows, columns)

    def _with(self, split: dict[Axis, Group]) -> Place:
        """Where everything stands when axes are split."""

        def parts(axis: Axis) -> Group:
            return tuple(part for half in split[axis] for part in parts(half)) if axis in split else (axis,)

        channels, rows, columns = (tuple(part for axis in group for part in parts(axis)) for group in self.place)
        return channels, rows, columns

    def permuted(self, order: Sequence[int]) -> "Layout":
        """With its dimensions in another order."""
        return Layout(dims=tuple(self.dims[dim] for dim in order), place=self.place)

    def joined(self) -> "Layout":
        """With axes made one that are neighbours in their dimension and in C, H or W."""
        dims, place = list(self.dims), list(self.place)
        following = {a: b for group in dims for a, b in pairwise(group)}
        for at, group in enumerate(place):
            for a, b in pairwise(group):
                if following.get(a) is b:
                    both = Axis(a.size * b.size)
                    place[at] = _replaced(group, a, b, both)
                    dims = [_replaced(other, a, b, both) if a in other else other for other in dims]
                    return Layout(dims=tuple(dims), place=(place[0], place[1], place[2])).joined()
        return self

    def with_dim(self, dim: int, size: int) -> "Layout | None":
        """With another ``size`` along ``dim``, whose axes stand together at the begin of C, H or W, or alone; None
        where they do not. A dimension of 1 comes into W, or H, where nothing stands."""
        group, made = self.dims[dim], _group(size)
        dims = (*self.dims[:dim], made, *self.dims[dim + 1 :])
        place = list(self.place)
        at = self.axis_of(dim)
        if at is None:
            return None
        place[at] = (*made, *place[at][len(group) :])
        return Layout(dims=dims, place=(place[0], place[1], place[2]))

    def axis_of(self, dim: int) -> int | None:
        """Which of C, H and W the axes of ``dim`` stand at the begin of; None where they stand together in none."""
        group = self.dims[dim]
        if not group:
            return next((at for at in (2, 1) if not self.place[at]), None)
        return next((at for at in range(3) if self.place[at][: len(group)] == group), None)

    def outermost(self, dim: int) -> "Layout":
        """With the axes of ``dim`` first in that of C, H and W that holds them, W where several do; itself where they
        are."""
        group = self.dims[dim]
        if self.axis_of(dim) is not None or not group:
            return self
        at = next((k for k in range(3) if set(group) <= set(self.place[k])), 2)
        rest = [tuple(axis for axis in held if axis not in group) for held in self.place]
        rest[at] = (*group, *rest[at])
        return Layout(dims=self.dims, place=(rest[0], rest[1], rest[2]))

    def without(self, dims: Sequence[int], *, keep: bool) -> "Layout":
        """Without the axes of ``dims``, which become dimensions of 1 where they are to be kept."""
        gone = {axis for dim in dims for axis in self.dims[dim]}
        left = [() if dim in dims else group for dim, group in enumerate(self.dims) if keep or dim not in dims]
        channels, rows, columns = (tuple(axis for axis in group if axis not in gone) for group in self.place)
        return Layout(dims=tuple(left), place=(channels, rows, columns))

    def move(self, place: Place) -> tuple[tuple[int, ...], tuple[int, ...], Shape] | None:
        """``split``, ``order`` and ``shape`` of the `Rearrange` to ``place``; None where nothing moves."""
        held = [axis for group in self.place for axis in group]
        wanted = [axis for group in place for axis in group]
        assert len(held) == len(wanted) and set(held) == set(wanted)
        shape = Layout(dims=self.dims, place=place).shape
        if held == wanted and shape == self.shape:
            return None
        order = tuple(held.index(axis) for axis in wanted)
        return tuple(axis.size for axis in held) or (1,), order or (0,), shape

    def arranged(self, value: NDArray[Any]) -> NDArray[Any]:
        """A ``value`` of one image, of any shape that spreads to that of torch, as (C, H, W)."""
        dims = [tuple(axis for axis in group if axis is not _BATCH) for group in self.dims]
        whole = np.broadcast_to(value, [prod(axis.size for axis in group) for group in dims])
        axes = [axis for group in dims for axis in group]
        order = [axes.index(axis) for group in self.place for axis in group]
        return whole.reshape([axis.size for axis in axes]).transpose(order).reshape(self.shape)

    @property
    def arrangement(self) -> Arrangement:
        """How results (batch, C, H, W) come into the order of torch."""
        held = [_BATCH, *(axis for group in self.place for axis in group)]
        order = tuple(held.index(axis) for group in self.dims for axis in group)
        return tuple(axis.size for axis in held[1:]), order


def plain_sizes(sizes: Sequence[Any], images: int = _IMAGES) -> tuple[int, ...]:
    """Sizes of torch as numbers, where the batch has so many images."""
    return tuple(_number(size, images) for size in sizes)


def _number(size: Any, images: int) -> int:
    if not isinstance(size, torch.SymInt):
        return int(size)
    expression = size.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, images)))


def _group(size: int) -> Group:
    return (Axis(size),) if size > 1 else ()


def _replaced(group: Group, a: Axis, b: Axis, both: Axis) -> Group:
    return tuple(both if axis is a else axis for axis in group if axis is not b)
