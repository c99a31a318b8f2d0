"""The golden model: the only software executor of a Program. Integers only, every declared width asserted.

It shares formats with the hardware, never arithmetic code. Inside, tensors lie as ``layout`` says in the narrowest type
that holds their format; what each operation computes stands in ``steps``, the inner loops in ``loops``.
"""

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...common.executor import processors
from ..ops.base import Ints
from ..program import Program
from .gpu import fastest_loops
from .layout import checked, outside
from .loops import Loops, NumpyLoops
from .steps import STEPS
from .widths import Array, WidthError

__all__ = ["Result", "WidthError", "run"]

_BATCH_ELEMENTS = 1 << 19
"""Elements of the largest tensor of a batch: enough for calls to be worth it, few enough for the caches."""
_BATCH_IMAGES = 512


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a Program computes for a set of images.

    Attributes
    ----------
    output : (N, C, H, W), the result of the Program's ``output``: of a classifier its scores
    program : that was run
    tensors : the results of operations that were asked for, (N, C, H, W)
    """

    output: Ints
    program: Program
    tensors: dict[str, Ints] = field(default_factory=dict)

    @cached_property
    def scores(self) -> Ints:
        """(N, classes); raises `UserError` where the Program is no classifier."""
        return self.output.reshape(len(self.output), self.program.classes)

    @cached_property
    def classes(self) -> Ints:
        """(N,), the lowest index of the largest score; raises `UserError` where the Program is no classifier."""
        return self.scores.argmax(1)


def run(
    program: Program, values: NDArray[np.integer], *, trace: bool | Collection[str] = False, native: bool = True,
    threads: int | None = None,
) -> Result:  # fmt: skip
    """Execute ``program`` on (N, C, H, W) ``values``, one set of its inputs after another: N images.

    Parameters
    ----------
    values : integers of any type that lie in the format of the Program's input; features and tokens also without the
        dimensions of size 1, (N, F) and (N, T, F)
    trace : return the results of all operations, or of those with these names
    native : use compiled inner loops where there is a compiler, and a GPU where there is one; the results are the same
    threads : that share the images; one per processor when None

    Raises
    ------
    ValueError
        for values of another type, shape or range.
    WidthError
        when a value leaves its declared format; a defect of whatever made the Program.
    """
    values = checked(program.input, values)
    workers = threads or processors()
    runner = _Runner(program, fastest_loops() if native else NumpyLoops())
    size = _batch(program, len(values), workers)
    batches = [values[begin : begin + size] for begin in range(0, len(values), size)]
    traced = [op.name for op in program.ops] if trace is True else list(trace or ())
    keep = list(dict.fromkeys([*traced, program.output]))
    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(lambda batch: runner.execute(batch, keep), batches))
    tensors = {name: np.concatenate([part[name] for part in parts]) for name in keep if parts}
    output = tensors[program.output] if parts else np.zeros((0, *program.shape(program.output)), np.int64)
    return Result(output=output, program=program, tensors={name: tensors[name] for name in traced if parts})


def _batch(program: Program, images: int, workers: int) -> int:
    """Images that are executed together."""
    largest = max(int(np.prod(program.shape(op.name))) for op in program.ops)
    return max(1, min(_BATCH_ELEMENTS // largest, _BATCH_IMAGES, -(-images // workers)))


class _Runner:
    """A Program as steps, each with its constants in the order and type that the loops want."""

    def __init__(self, program: Program, loops: Loops):
        self.program = program
        self.steps = {op.name: STEPS.of(op)(program, op, loops) for op in program.ops}
        self.last_reader: dict[str, str] = {}
        for op in program.ops:
            for source in op.sources:
                self.last_reader[source] = op.name

    def execute(self, given: Array, keep: list[str]) -> dict[str, Ints]:
        """The results called ``keep`` for a batch, as (N, C, H, W)."""
        values: dict[str, Array] = {}
        kept: dict[str, Ints] = {}
        for op in self.program.ops:
            read = [values[name] for name in op.sources] or [given]
            result = self.steps[op.name](*read)
            declared = self.program.format(op.name)
            if not declared.allows(result):
                raise WidthError(f"{op.name} leaves {declared}: {int(result.min())}..{int(result.max())}")
            values[op.name] = result
            if op.name in keep:
                kept[op.name] = outside(result)
            for source in op.sources:
                if self.last_reader[source] == op.name:
                    values.pop(source, None)
        return kept
