"""An operation that the package does not know, and all that it needs to be one: it is registered at run time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from addax.quant.files.archive import KINDS
from addax.quant.files.c.loops import LOOPS, CLoops
from addax.quant.files.tensors import TENSORS
from addax.quant.formats import format_for, signed, unsigned
from addax.quant.golden.steps import STEPS
from addax.quant.golden.widths import narrowest_type
from addax.quant.onnx.build import WRITERS
from addax.quant.onnx.qcdq import FORMS, Form
from addax.quant.onnx.read_own import NODES
from addax.quant.ops.base import Op, Tensor
from addax.quant.program import ArgMax, Convolution, Flatten, Input, Program, Requantise

REGISTERS = (STEPS, KINDS, TENSORS, WRITERS, FORMS, NODES, LOOPS)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Negate(Op):
    """``y = -x``."""

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """The shape that it reads; the format holds the other sign."""
        shape, fmt = read[0]
        return Tensor(shape, format_for(-fmt.hi, -fmt.lo))


def _step(program, op, loops):
    kind = narrowest_type(program.format(op.name))
    return lambda x: (-x.astype(np.int64)).astype(kind)


def _described(program, op, role):
    raise TypeError(f"{op.name} has no arrays")


def _write(graph, op):
    graph.main("Neg", [graph.tensor(op.source)], op)


def _read(reader, node):
    return Negate(name=node.name, source=reader.plain(node))


def _loops(numbers, op):
    out, source = numbers.array(op.name), numbers.array(op.source)
    return f"    for (int k = 0; k < {numbers.size(op.name)}; k++)\n        {out}[k] = -{source}[k];"


ENTRIES = (_step, "Negate", _described, _write, Form(), {("", "Neg"): _read}, CLoops(text=_loops))
"""For each of `REGISTERS`."""


@contextmanager
def negation() -> Iterator[None]:
    """`Negate` is known to all consumers for as long as this lasts."""
    for register, entry in zip(REGISTERS, ENTRIES, strict=True):
        register.register(Negate, entry)
    try:
        yield
    finally:
        for register in REGISTERS:
            register.remove(Negate)


def negated(seed: int = 0) -> Program:
    """A classifier of 2x4x4 pixels: a quarter of them is negated before a convolution and once more behind it."""
    random = np.random.default_rng(seed)
    weight = random.integers(-8, 8, (3, 2, 4, 4))
    return Program(
        ops=(
            Input(name="pixels", shape=(2, 4, 4)),
            Requantise(name="low", source="pixels", multiplier=np.ones(2, np.int64), offset=np.zeros(2, np.int64),
                       shift=2, format=unsigned(6), lo=0, hi=63),
            Negate(name="dark", source="low"),
            Convolution(name="conv", source="dark", kernel="mult", weight=weight, weight_format=signed(4),
                        pad=np.zeros(2, np.int64)),
            Requantise(name="half", source="conv", multiplier=np.ones(3, np.int64), offset=np.zeros(3, np.int64),
                       shift=1, format=signed(24), lo=-(1 << 23), hi=(1 << 23) - 1),
            Negate(name="scores", source="half"),
            Flatten(name="flat", source="scores"),
            ArgMax(name="class", source="flat"),
        ),
    )  # fmt: skip
