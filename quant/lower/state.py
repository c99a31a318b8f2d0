"""The state of a lowering: what every tensor of the graph has become so far, and how one is stored on a grid."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import fx

from ...common.errors import UserError
from ..fold.assembly import Assembly, Bits, Pending, Stored
from ..fold.calibrate import Grid
from ..fold.choice import Choice
from ..fold.curves import RealFunction, numbers
from ..fold.factors import FoldedThreshold
from ..fold.scheme import Scheme
from ..formats import Format, signed, unsigned
from ..ops.ends import PIXEL
from ..ops.table import MAX_TABLE_BITS
from ..program import Input, Op, PixelShuffle, Shape
from .calibration import Calibration
from .graph.nodes import argument, name_of, path_of, said
from .readers import is_result, wanted

__all__ = ["PIXEL_STEP", "Curve", "Lowering", "Value"]

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


Value = Stored | Pending | Bits | Curve


class Lowering(Assembly):
    """A Program in the making, of a traced network.

    Attributes
    ----------
    origins : by operation, the node of the graph that it stands for
    grids : by path of a convolution, the grid of the features that it reads (None for pixels), and its weights' bits
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
        if isinstance(value, Curve):
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

    def same(self, node: fx.Node, source: fx.Node) -> Value:
        """``node`` changes nothing: it is calibrated, and stored, as ``source``."""
        self.roots[node] = self.root(source)
        return self.values[source]

    def moved(
        self, node: fx.Node, source: fx.Node, make: Callable[[str, str], Op], path: str, *, bits: bool = True
    ) -> Value:
        """The result of an operation that only moves or chooses values, on the grid of what it reads; where it may not
        be of ``bits``, on that of the numbers that they stand for."""
        value = self.values[source]
        if isinstance(value, Bits) and bits:
            name = self.emit(make(self.unique(path), value.op))
            self.origins[name] = node.name
            return Bits(op=name)
        stored = self.store(source)
        name = self.emit(make(self.unique(path), stored.op), stored.step)
        self.origins[name] = node.name
        return Stored(op=name, step=stored.step)

    def store(self, node: fx.Node) -> Stored:
        """What ``node`` has become as an integer tensor, on the grid that its readers want."""
        value = self.values[node]
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
        else:
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
            assert isinstance(value, Pending | Curve)
            if isinstance(value, Curve):
                found = self._tabulated(root, value, Grid(format=fmt, step=step))
            else:
                found = self.requantise(self.unique(value.op + "_out"), value, step, fmt)
            if isinstance(value, Pending) and value.shuffle > 1:
                name = self.unique(value.op + "_pixels")
                self.emit(PixelShuffle(name=name, source=found.op, factor=value.shuffle), step)
                found = Stored(op=name, step=step)
            self.origins[found.op] = root.name
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
