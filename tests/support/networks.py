"""Random small Programs and folds, for tests that ask whether two executors agree whatever the network."""

from dataclasses import replace

import numpy as np
from addax.hdl.plan import Plan, StageBuild, default_stage_plan, with_queues
from addax.hdl.stages import stages_of
from addax.quant.formats import signed, unsigned
from addax.quant.program import (
    ArgMax,
    AveragePool,
    Convolution,
    Flatten,
    Input,
    MaxPool,
    Program,
    Requantise,
    infer,
    score_format,
)


class Builder:
    """Collects operations and invents weights that keep the values alive."""

    def __init__(self, rng, shape):
        self.rng = rng
        self.ops = {}
        self.inferred = {}
        self.last = self.emit(Input(name="pixels", shape=shape))

    def emit(self, op):
        self.ops[op.name] = op
        self.inferred[op.name] = infer(op, self.inferred, self.ops)
        self.last = op.name
        return op.name

    def shape(self):
        return self.inferred[self.last][0]

    def format(self):
        return self.inferred[self.last][1]

    def integers(self, fmt, shape):
        """Uniform, with the extremes made common."""
        values = self.rng.integers(fmt.lo, fmt.hi, shape, endpoint=True)
        edge = self.rng.random(shape)
        return np.where(edge < 0.1, fmt.lo, np.where(edge > 0.9, fmt.hi, values)).astype(np.int64)

    def convolution(self, kernel, outputs, size=1, stride=1, padding=0, weight_bits=4):
        x = self.format()
        weight_format = x if kernel == "adder" else signed(weight_bits)
        inputs = self.shape()[0]
        self.emit(
            Convolution(
                name=f"conv{len(self.ops)}", source=self.last, kernel=kernel,
                weight=self.integers(weight_format, (outputs, inputs, size, size)), weight_format=weight_format,
                stride=stride, padding=padding, pad=self.integers(x, inputs),
            )
        )  # fmt: skip

    def requantise(self, result, scores=False):
        acc = self.format()
        channels = self.shape()[0]
        span = max(acc.hi, -acc.lo)
        if scores:
            result, shift = score_format(acc), 14
            multiplier = self.rng.integers(-(1 << 14), 1 << 14, channels, endpoint=True)
            offset = self.rng.integers(-span << 13, span << 13, channels, endpoint=True)
        else:
            shift = int(self.rng.integers(8, 15))
            gain = 2 * (result.hi - result.lo) / span * (1 << shift)
            multiplier = np.rint(self.rng.uniform(-gain, gain, channels)).clip(-32767, 32767).astype(np.int64)
            offset = -multiplier * int((acc.lo + acc.hi) // 2)
        self.emit(
            Requantise(
                name=f"req{len(self.ops)}", source=self.last, multiplier=multiplier, offset=offset, shift=shift,
                format=result, lo=result.lo, hi=result.hi,
            )
        )  # fmt: skip

    def program(self):
        self.emit(ArgMax(name="argmax", source=self.last))
        return Program(ops=tuple(self.ops.values()))


def random_program(seed):
    """A chain of one to three layers with pools, any kernels, strides, paddings and formats."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), int(rng.integers(3, 7)), int(rng.integers(3, 7)))
    b = Builder(rng, shape)
    for _ in range(int(rng.integers(0, 3))):
        _, height, width = b.shape()
        size = int(rng.integers(1, min(4, height + 1, width + 1)))
        b.convolution(
            str(rng.choice(["adder", "mult"])), int(rng.integers(1, 7)), size, int(rng.integers(1, 3)),
            int(rng.integers(0, size)), int(rng.integers(2, 9)),
        )  # fmt: skip
        bits = int(rng.integers(2, 9))
        b.requantise(unsigned(bits) if rng.random() < 0.7 else signed(bits))
        _, height, width = b.shape()
        if min(height, width) >= 2 and rng.random() < 0.6:
            stride = int(rng.integers(1, 3))
            if rng.random() < 0.7:
                b.emit(
                    MaxPool(
                        name=f"pool{len(b.ops)}", source=b.last, size=2, stride=stride, padding=int(rng.integers(0, 2))
                    )
                )
            else:
                b.emit(AveragePool(name=f"pool{len(b.ops)}", source=b.last, size=2, stride=stride))
                b.requantise(unsigned(bits))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution(str(rng.choice(["adder", "mult"])), int(rng.integers(1, 6)), weight_bits=int(rng.integers(2, 9)))
    b.requantise(None, scores=True)
    return b.program()


LANES = {"adder": ["2a", "1c1a", "carry"], "mult": ["booth", "rows", "star"]}
"""Structures that a stage may have."""


def random_plan(program, seed, *, fixed_weights=False, fabric="generic", structures=False):
    """Any legal fold of every stage, not a good one; with ``structures``, any lanes, too."""
    rng = np.random.default_rng(seed)

    def divisor(n):
        return int(rng.choice([k for k in range(1, n + 1) if n % k == 0]))

    stages = []
    for stage in stages_of(program, fixed_weights=fixed_weights):
        pool = stage.weight is None
        wide = stage.window[1]
        taps = wide if not pool and wide > 1 and stage.stride <= wide and rng.random() < 0.5 else 1
        simd, pe = divisor(stage.source[0]), 1 if pool else divisor(stage.result[0])
        plan = default_stage_plan(stage, pe=pe, simd=simd, taps=taps)
        if structures and not pool:
            plan = replace(plan, structure=str(rng.choice(LANES[stage.kind])))
        stages.append(StageBuild(stage=stage, plan=plan, fabric=fabric))
    return Plan(
        family="dataflow", device="ecp5-45k", clock_mhz=50.0, fixed_weights=fixed_weights, stages=with_queues(stages),
        fabric=fabric,
    )  # fmt: skip


def random_images(program, count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, *program.input.shape), dtype=np.uint8)
