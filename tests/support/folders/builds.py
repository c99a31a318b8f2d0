# amaranth: UnusedElaboratable=no
"""What is in a BUILD folder, and a Program of the same shapes with other numbers."""

import re
from dataclasses import replace

import numpy as np
from addax.quant.program import Convolution, Program, Requantise

SEEDS = [1, 7, 19]
"""Networks of three and four stages with pools, padding and both kernels."""


def retrained(program, seed):
    """The same network with every number that training decides made anew."""
    rng = np.random.default_rng(seed)
    ops = []
    for op in program.ops:
        if isinstance(op, Convolution):
            x = program.format(op.source)
            fmt = op.weight_format
            ops.append(
                replace(
                    op,
                    weight=rng.integers(fmt.lo, fmt.hi, op.weight.shape, endpoint=True),
                    pad=rng.integers(x.lo, x.hi, op.pad.shape, endpoint=True),
                )
            )
        elif isinstance(op, Requantise):
            last = op.name == program.ops[-1].source
            ops.append(
                replace(
                    op,
                    multiplier=rng.permutation(op.multiplier) + (0 if last else 1),
                    offset=rng.permutation(op.offset) - 1,
                    shift=op.shift + 1,
                    lo=op.lo if last else op.lo + 1,
                    hi=op.hi if last else op.hi - 1,
                )
            )
        else:
            ops.append(op)
    return Program(ops=tuple(ops))


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def modules_in(text):
    return [name.lstrip("\\") for name in re.findall(r"^\s*module\s+([^\s(#;]+)", text, re.MULTILINE)]


def verilog_of(build):
    return {path.name: path.read_text() for path in build.path.glob("*.v")}
