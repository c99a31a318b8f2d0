"""The state of a lowering: what every tensor of the graph has become so far, and how one is stored on a grid."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from torch import fx

from ...common.errors import UserError
from ..fold.assembly import Assembly, Bits, Pending, Stored
from ..fold.calibrate import Grid
from ..fold.choice import Choice
from ..fold.curves import RealFunction, numbers
from ..fold.factors import FoldedThreshold
from ..fold.scheme import Scheme
from ..fold.tokens import quotient_of
from ..formats import Format, signed, unsigned
from ..ops.ends import PIXEL
from ..ops.table import MAX_TABLE_BITS
from ..program import Input, Op, PixelShuffle, Rearrange, Shape
from .calibration import Calibration
from .graph.nodes import Floats, argument, name_of, path_of, said, sizes
from .layout import Arrangement, Layout, Place
from .readers import is_result, wanted

__all__ = ["PIXEL_STEP", "Curve", "Lowering", "MaskedScores", "Quotient", "Value"]

PIXEL_STEP = 1 / 255
"""What a unit of a pixel stands for: images are in 0..1."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A function of what ``node`` has become, value by value, that is no table yet: what follows may be a part of it.

    Attributes
    ----------
    node : one that has a value of its own, see `Lowering.root`
    """

    node: fx.Node
    function: RealFunction


@dataclass(frozen=True, kw_only=True)
class Quotient:
    """Sums ``op`` over ``denominator``, one for each equal part of their channels, times ``gain`` (C,): a division that
    has not been done yet. Exponentials over their sum are a softmax; a product with values is made of them first."""

    op: str
    denominator: str
    gain: Floats


@dataclass(frozen=True, kw_only=True)
class MaskedScores:
    """Scores, those of ``node``, of which a softmax is to see only some.

    Attributes
    ----------
    seen : (.., queries, keys), true where a query sees a key; the same for all images
    """

    node: fx.Node
    seen: np.ndarray


Held = TypeVar("Held", bound=Stored | Bits)
Value = Stored | Pending | Bits | Curve | Quotient | MaskedScores


class Lowering(Assembly):
    """A Program in the making, of a traced network.

    Attributes
    ----------
    origins : by operation, the node of the graph that it stands for
    arrangements : by operation, how its values come into the order of that node, where it is no map
    layouts : of nodes that are no maps, which of their dimensions stands where; see `layout`
    grids : by path of a convolution, the grid of the features that it reads (None for pixels), and its weights' bits
    whole : layers of which only parts are read, each a layer of its own
    values : what each node has become
    roots : of nodes that change nothing, the node whose value they have
    stored : tensors by node, format and step of the grid on which they are stored
    pads : of nodes that pad with zeros, how far (top, left, bottom, right), where the convolutions behind them pad

    Raises
    ------
    UserError
        from its methods, for operations that do not fit and factors that no multiplier holds.
    """

    def __init__(self, calibration: Calibration, scheme: Scheme):
        known = calibration.convolutions()
        # What has been trained on grids has been rounded as torch rounds.
        trained = any(layer.grid is not None for layer in known.values())
        super().__init__(
            terms=scheme.terms, ties="even" if trained else "up", shared=scheme.shifts == "shared"
        )  # fmt: skip
        self.traced = calibration.traced
        self.ranges = calibration.ranges
        self.scheme = scheme
        self.origins: dict[str, str] = {}
        self.arrangements: dict[str, Arrangement] = {}
        self.layouts: dict[fx.Node, Layout] = {}
        self.arranged_ops: dict[tuple[str, str], str] = {}
        self.whole: dict[str, Op] = {}
        self.grids: dict[str, tuple[Grid | None, int]] = {}
        self.values: dict[fx.Node, Value] = {}
        self.roots: dict[fx.Node, fx.Node] = {}
        self.stored: dict[tuple[fx.Node, Format, float], Stored] = {}
        self.emit(Input(name="pixels", shape=calibration.shape), PIXEL_STEP)
        self.pads: dict[fx.Node, tuple[int, int, int, int]] = {}
        if unknown := [path for path in scheme.layer_bits if path not in known]:
            raise UserError(f"the network has no convolution {unknown[0]!r}; it has {', '.join(known)}")

    def shape_of(self, node: fx.Node) -> Shape:
        """(C, H, W) of what ``node`` has become."""
        value = self.values[node]
        if isinstance(value, Curve | MaskedScores):
            return self.shape_of(value.node)
        channels, height, width = self.shape(value.op)
        factor = value.shuffle if isinstance(value, Pending) else 1
        return channels // factor**2, height * factor, width * factor

    def root(self, node: fx.Node) -> fx.Node:
        """The node as which ``node`` is calibrated and stored."""
        return self.roots.get(node, node)

    def alone(self, node: fx.Node) -> bool:
        """Whether whoever reads ``node`` is the only one that reads the value that it has."""
        while len(node.users) == 1 and node in self.roots:
            node = argument(node)
        return len(node.users) == 1

    def same(self, node: fx.Node, source: fx.Node, layout: Layout | None = None) -> Value:
        """``node`` changes nothing: it is calibrated, and stored, as ``source``, but may have another ``layout``."""
        self.roots[node] = self.root(source)
        self.lay(node, layout or self.layouts.get(source))
        return self.values[source]

    def layout(self, node: fx.Node) -> Layout:
        """Which dimension of ``node`` stands where."""
        return self.layouts.get(node) or Layout.of_map(sizes(node), self.shape_of(node))

    def lay(self, node: fx.Node, layout: Layout | None) -> None:
        """Say which dimension of ``node`` stands where; None, or what is a map, needs no saying."""
        if layout is not None and not layout.is_map:
            self.layouts[node] = layout

    def stands_for(self, op: str, node: fx.Node) -> None:
        """Operation ``op`` has the values of ``node``."""
        self.origins[op] = node.name
        if node in self.layouts:
            self.arrangements[op] = self.layouts[node].arrangement

    def arranged(self, value: Held, layout: Layout, place: Place) -> Held:
        """A stored tensor of ``layout`` with its axes in another ``place``, moved once."""
        move = layout.move(place)
        if move is None:
            return value
        split, order, shape = move
        key = value.op, f"{move}"
        if key not in self.arranged_ops:
            name = self.unique(f"{value.op}_arranged")
            step = value.step if isinstance(value, Stored) else None
            moved = Rearrange(name=name, source=value.op, split=split, order=order, shape=shape)
            self.arranged_ops[key] = self.emit(moved, step)
        return replace(value, op=self.arranged_ops[key])

    @contextmanager
    def as_maps(self, nodes: Sequence[fx.Node]) -> Iterator[None]:
        """While this holds, ``nodes`` that are no maps, but could be, are some.

        Raises
        ------
        UserError
            for one that has more dimensions, or other images.
        """
        kept = []
        for node in nodes:
            if (layout := self.layouts.get(node)) is None:
                continue
            place = layout.as_map
            if place is None:
                raise UserError(
                    f"a map (batch, channels, rows, columns) is needed at {said(node)}, not {sizes(node)} with the "
                    "batch elsewhere or more dimensions"
                )
            value = self.values[node]
            kept.append((node, value, layout, self.roots.pop(node, None)))
            if isinstance(value, Bits):
                self.values[node] = self.arranged(value, layout, place)
            else:
                self.values[node] = self.arranged(self.store(node), layout, place)
            del self.layouts[node]
        yield
        for node, value, layout, root in kept:
            self.values[node], self.layouts[node] = value, layout
            if root is not None:
                self.roots[node] = root

    def moved(
        self, node: fx.Node, source: fx.Node, make: Callable[[str, str], Op], path: str, *, bits: bool = True
    ) -> Value:
        """The result of an operation that only moves or chooses values, on the grid of what it reads; where it may not
        be of ``bits``, on that of the numbers that they stand for."""
        value = self.values[source]
        if isinstance(value, Bits) and bits:
            name = self.emit(make(self.unique(path), value.op))
            self.stands_for(name, node)
            return Bits(op=name)
        stored = self.store(source)
        name = self.emit(make(self.unique(path), stored.op), stored.step)
        self.stands_for(name, node)
        return Stored(op=name, step=stored.step)

    def store(self, node: fx.Node) -> Stored:
        """What ``node`` has become as an integer tensor, on the grid that its readers want; raises `UserError` for
        scores behind a mask."""
        value = self.values[node]
        if isinstance(value, MaskedScores):
            raise UserError(f"only a softmax may read scores behind a mask, as {said(node)} gives")
        if isinstance(value, Stored):
            return value
        if isinstance(value, Bits):
            return self.numbers_of(value)
        grid = self.grid(node)
        return self.materialize(node, grid.format, grid.step)

    def grid(self, node: fx.Node) -> Grid:
        """The grid on which `store` holds ``node``."""
        value = self.values[node]
        if isinstance(value, Bits):
            return Grid(format=signed(2), step=1.0)
        if isinstance(value, Stored):
            return Grid(format=self.format(value.op), step=value.step)
        if self.scheme.result == "pixels" and is_result(node):
            return Grid(format=PIXEL, step=PIXEL_STEP)
        bits, step = wanted(self.traced, node, self.scheme)
        if isinstance(value, Curve):
            unsigned_only = bool((value.function(numbers(self._before(value))) >= 0).all())
        elif isinstance(value, Quotient):
            unsigned_only = not self.format(value.op).signed and bool((value.gain >= 0).all())
        else:
            assert isinstance(value, Pending)
            unsigned_only = value.relu
        fmt = unsigned(bits) if unsigned_only else signed(bits)
        own = self.ranges.step(self.root(node).name, fmt, self.scheme) if step is None else step
        return Grid(format=fmt, step=own)

    def pending(self, node: fx.Node) -> Pending:
        """What ``node`` has become as something that can be requantised."""
        value = self.values[node]
        return value if isinstance(value, Pending) else self.pending_of(self.store(node))

    def materialize(self, node: fx.Node, fmt: Format, step: float | None = None) -> Stored:
        """Requantise what ``node`` left pending. One tensor may be stored on several grids, each once."""
        root = self.root(node)
        if step is None:
            step = self.ranges.step(root.name, fmt, self.scheme)
        if (root, fmt, step) not in self.stored:
            value = self.values[root]
            assert isinstance(value, Pending | Curve | Quotient)
            if isinstance(value, Curve):
                found = self._tabulated(root, value, Grid(format=fmt, step=step))
            elif isinstance(value, Quotient):
                name = self.unique(f"{path_of(root)}_quotient")
                divide = quotient_of(name, value.op, value.denominator, value.gain / step, fmt)
                found = Stored(op=self.emit(divide, step), step=step)
            else:
                found = self.requantise(self.unique(value.op + "_out"), value, step, fmt)
            if isinstance(value, Pending) and value.shuffle > 1:
                name = self.unique(value.op + "_pixels")
                self.emit(PixelShuffle(name=name, source=found.op, factor=value.shuffle), step)
                found = Stored(op=name, step=step)
            self.stands_for(found.op, root)
            self.stored[root, fmt, step] = found
        return self.stored[root, fmt, step]

    def _before(self, curve: Curve) -> Grid:
        """The grid of what ``curve`` reads: as it is stored, where a table can read it."""
        value = self.values[curve.node]
        if isinstance(value, Bits | Stored):
            grid = self.grid(curve.node)
            if grid.format.bits <= MAX_TABLE_BITS:
                return grid
            fmt = Format(bits=MAX_TABLE_BITS, signed=grid.format.signed)
        else:
            assert isinstance(value, Pending)
            bits, _ = wanted(self.traced, curve.node, self.scheme)
            fmt = Format(bits=min(bits, MAX_TABLE_BITS), signed=not value.relu)
        return Grid(format=fmt, step=self.ranges.step_before(curve.node.name, fmt, self.scheme, curve.function))

    def _tabulated(self, root: fx.Node, curve: Curve, grid: Grid) -> Stored:
        """``curve``, which ``root`` is, on ``grid``."""
        before = self._before(curve)
        if isinstance(self.values[curve.node], Pending):
            read = self.materialize(curve.node, before.format, before.step)
        else:
            read = self.store(curve.node)
            if self.format(read.op) != before.format:
                name = self.unique(f"{read.op}_narrow")
                read = self.requantise(name, self.pending_of(read), before.step, before.format)
        try:
            return self.tabulated(self.unique(path_of(root)), read, curve.function, grid)
        except ValueError as error:
            raise UserError(f"{name_of(root)} at {said(root)}: {error}") from error

    def chosen(
        self, name: str, value: Pending, step: float, lo: int | None, hi: int | None
    ) -> Choice | FoldedThreshold:
        """As `Assembly`; says what is requantised."""
        try:
            return super().chosen(name, value, step, lo, hi)
        except ValueError as error:
            raise UserError(f"requantising {value.op!r}: {error}") from error

    def emit(self, op: Op, step: float | None = None) -> str:
        """As `Assembly`; says what does not fit."""
        try:
            return super().emit(op, step)
        except ValueError as error:
            raise UserError(f"the network does not fit together at {op.name!r}: {error}") from error
