"""Where an integer network leaves its float model: both run on the same images and are compared layer by layer."""

from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from ...common.errors import UserError
from ...common.reading import parse_json
from ...models.training.loop import to_float
from .. import golden
from ..program import Program, Requantise
from .graph.export import trace
from .layout import Arrangement
from .lowering import ARRANGEMENTS, ORIGINS

__all__ = ["Comparison", "Divergence", "compare"]

_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """How one integer tensor differs from the float value that it stands for.

    Attributes
    ----------
    operation, origin : name in the Program, and of the value in the float network
    bits : of the tensor
    error : root of the mean squared difference over that of the float value; 0 is perfect, 1 is noise as loud as signal
    bias : mean difference over the float value's root mean square
    clipped : share of values at the upper end of the grid, which may have been larger
    """

    operation: str
    origin: str
    bits: int
    error: float
    bias: float
    clipped: float

    def keys(self) -> dict[str, Any]:
        """Its fields as plain values, by name, for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An integer network beside its float model.

    Attributes
    ----------
    images : on which both ran
    agreement : share of them that both classify alike; None where the network is no classifier
    rows : one per stored tensor, in order of execution
    """

    images: int
    agreement: float | None
    rows: tuple[Divergence, ...]


class _Values(fx.Interpreter):
    """Runs a traced network and keeps the values of some nodes."""

    def __init__(self, traced: fx.GraphModule, wanted: set[str]):
        super().__init__(traced)
        self.wanted = wanted
        self.kept: dict[str, NDArray[np.float64]] = {}

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if n.name in self.wanted and isinstance(result, Tensor):
            self.kept[n.name] = result.detach().double().numpy()
        return result


@dataclass(kw_only=True)
class _Sums:
    """What a row is made of, batch by batch."""

    count: int = 0
    squared: float = 0.0
    difference: float = 0.0
    power: float = 0.0
    clipped: int = 0

    def add(self, ours: NDArray[np.float64], theirs: NDArray[np.float64], clipped: int) -> None:
        difference = ours - theirs
        self.count += difference.size
        self.squared += float(np.square(difference).sum())
        self.difference += float(difference.sum())
        self.power += float(np.square(theirs).sum())
        self.clipped += clipped


def compare(program: Program, module: nn.Module, images: NDArray[np.uint8]) -> Comparison:
    """Run both on ``images`` (N, C, H, W), at least one.

    Parameters
    ----------
    module : the float network that ``program`` was lowered from

    Raises
    ------
    UserError
        when ``program`` does not say what its tensors stand for, or ``module`` is another network.
    """
    origins, arrangements = _origins(program), _arrangements(program)
    values = _Values(_traced(module, images), set(origins.values()))
    sums = {op.name: _Sums() for op in program.ops if op.name in origins}
    scores = program.output
    alike = 0
    for begin in range(0, len(images), _BATCH):
        some = images[begin : begin + _BATCH]
        try:
            with torch.no_grad():
                values.run(to_float(some))
        except (RuntimeError, IndexError) as error:
            shape, reason = "x".join(map(str, some.shape[1:])), str(error).strip().splitlines()[0]
            raise UserError(f"the float network cannot take images of {shape}: {reason}") from error
        result = golden.run(program, some, trace=True)
        for name, total in sums.items():
            origin = origins[name]
            if origin not in values.kept:
                raise UserError(f"the float network has no value {origin!r}; is it the one that was quantised?")
            theirs, integers = values.kept[origin], result.tensors[name]
            if integers.size != theirs.size:
                raise UserError(f"{name} and {origin!r} differ in shape; is it the network that was quantised?")
            step = program.steps.get(name)
            ours = np.asarray(2.0 * integers - 1 if step is None else integers * float(step), np.float64)
            ours = _as_in_torch(ours, arrangements.get(name)).reshape(theirs.shape)
            total.add(ours, theirs, 0 if step is None else _at_top(program, name, integers))
        if program.classifies and scores in origins:
            alike += int((result.classes == values.kept[origins[scores]].argmax(1)).sum())
    return Comparison(
        images=len(images),
        agreement=alike / len(images) if program.classifies else None,
        rows=tuple(_row(program, name, origins[name], total) for name, total in sums.items()),
    )


def _traced(module: nn.Module, images: NDArray[np.uint8]) -> fx.GraphModule:
    """The graph of ``module`` on ``images``."""
    channels, height, width = images.shape[1:]
    try:
        return trace(module, (channels, height, width))
    except UserError as error:
        raise UserError(str(error).replace("the network", "the float network", 1)) from error


def _origins(program: Program) -> dict[str, str]:
    """Which float value the result of each operation stands for."""
    fault = "the program does not say which float values its tensors stand for; quantise it again"
    try:
        origins = parse_json(program.metadata[ORIGINS])
    except (KeyError, ValueError) as error:
        raise UserError(fault) from error
    if not isinstance(origins, dict) or not all(isinstance(value, str) for value in origins.values()):
        raise UserError(fault)
    return origins


def _arrangements(program: Program) -> dict[str, Arrangement]:
    """How results come into the order of the float values that they stand for, where these are no maps."""
    fault = "the program does not say how its tensors lie; quantise it again"
    try:
        found = parse_json(program.metadata.get(ARRANGEMENTS, "{}"))
        arrangements = {name: (tuple(split), tuple(order)) for name, (split, order) in found.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(fault) from error
    for name, (split, order) in arrangements.items():
        known = name in program.by_name and all(type(size) is int and size > 0 for size in split)
        if not known or sorted(order) != list(range(len(split) + 1)) or prod(split) != prod(program.shape(name)):
            raise UserError(fault)
    return arrangements


def _as_in_torch(values: NDArray[np.float64], arrangement: Arrangement | None) -> NDArray[np.float64]:
    """Results (N, C, H, W) in the order that torch has."""
    if arrangement is None:
        return values
    split, order = arrangement
    return values.reshape(len(values), *split).transpose(order)


def _at_top(program: Program, name: str, integers: NDArray[np.int64]) -> int:
    op = program.by_name[name]
    return int((integers == (op.hi if isinstance(op, Requantise) else program.format(name).hi)).sum())


def _row(program: Program, name: str, origin: str, total: _Sums) -> Divergence:
    power = float(np.sqrt(total.power / total.count)) or 1.0
    return Divergence(
        operation=name,
        origin=origin,
        bits=program.format(name).bits,
        error=float(np.sqrt(total.squared / total.count)) / power,
        bias=total.difference / total.count / power,
        clipped=total.clipped / total.count,
    )
