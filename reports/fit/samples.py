"""Random stages for the estimator to learn from, and to be tried on: every kernel, window, fold and format.

A sample is made from its number alone. It is small enough to be synthesised in seconds or a minute, and is mapped
exactly as `synth` maps a stage of a whole design: by itself, behind its own ports.
"""

import json
from dataclasses import dataclass, replace
from math import lcm
from pathlib import Path
from typing import Any

import numpy as np

from ...hdl.dataflow.build import StageBuild, default_stage_plan, queue_depth
from ...hdl.dataflow.kinds.images import stage_images
from ...hdl.dataflow.kinds.layer import LayerStage
from ...hdl.dataflow.plan import StagePlan
from ...hdl.dataflow.stages import Stage, stages_of
from ...hdl.folder.memories import write_memories
from ...hdl.folder.verilog import verilog_of
from ...hdl.lanes.structures import STRUCTURES
from ...hdl.memory.image import ROMS
from ...hdl.verilog.names import module_name
from ...quant.formats import Format, signed, unsigned
from ...quant.program import (
    ArgMax,
    AveragePool,
    Convolution,
    Flatten,
    Input,
    Ints,
    MaxPool,
    Op,
    Program,
    Requantise,
    Shape,
    Threshold,
    infer,
    score_format,
    threshold_format,
)
from ..devices.devices import Device
from ..devices.parts import VerilogPart, cut
from ..synth.synth import TABLE, map_netlist, map_part
from .blocks import Tables, tables_of

__all__ = ["Sample", "cells_of", "sample", "tables_by_block"]

TOP = "sample"
KINDS = {"adder": 0.3, "mult": 0.2, "xnor": 0.2, "shift": 0.1, "max": 0.1, "average": 0.06, "none": 0.04}
"""Kinds of stages, and how often they are drawn."""
SIZES = (16, 360)
"""Bits of the operands of all lanes, or of the sums of a pool: as many as are synthesised in a minute."""
WEIGHT_BITS = 120_000
"""Largest memory of weights, so that samples stay small."""
CHANNELS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128)
SIDES = (5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32)
DENSE = (32, 60, 64, 84, 100, 120, 128, 196, 256, 400, 512, 784, 1024)
TRIES = 2000


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """A stage with its fold, and the family in whose form its lanes are built."""

    number: int
    build: StageBuild


def sample(number: int, fabric: str) -> Sample:
    """Sample ``number`` for a family of devices whose carry cells are called ``fabric``.

    About a third of the samples with lanes are in that device form, the others in the generic one.
    """
    rng = np.random.default_rng(number)
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    size = np.exp(rng.uniform(*np.log(SIZES)))
    for _ in range(TRIES):
        draw = _Draw(rng)
        try:
            build = draw.build(kind, fabric)
            build.check()
        except ValueError:
            continue  # windows larger than the image, sums too wide: another draw
        if size / 1.6 <= _size(build) <= size * 1.6:
            return Sample(number=number, build=build)
    raise AssertionError(f"no stage found for sample {number}")


def cells_of(made: Sample, target: Device, folder: Path) -> dict[str, int]:
    """Cells of a sample on ``target``, by type; its memory files are written into ``folder``. Cached."""
    return map_part(_part(made, folder), folder, target)


def tables_by_block(made: Sample, target: Device, folder: Path) -> tuple[dict[str, int], dict[str, Tables]]:
    """Cells as `cells_of` gives them, and which block the tables work for, see `blocks`. Cached."""
    part = _part(made, folder)
    cells, netlist = map_netlist(part, folder, target)
    return cells, tables_of(json.loads(netlist.read_text())["modules"][TOP], part.text, TOP)


def _part(made: Sample, folder: Path) -> VerilogPart:
    images = stage_images(made.build, fixed=False, prefix=TOP)
    write_memories(folder, images.all())
    component = made.build.stage.component(made.build, images, prefix=TOP)
    text = verilog_of(component, TOP, {"auto", made.build.plan.memory})
    roms = [module_name(TOP, name) for name in (TABLE, *(name for name, _ in ROMS.values()))]
    shared = [name for name in roms if f"module {name} " in text]
    (part,) = cut(text, top=TOP, inner=[], rest=TOP, shared=shared)
    return part


def _size(build: StageBuild) -> float:
    """How large a sample is, in the bits that `SIZES` bounds; infinite where synthesis would take too long for other
    reasons."""
    stage = build.stage
    sums = build.sums * stage.carried.bits
    if not isinstance(stage, LayerStage):
        return sums
    if stage.weight_bits > WEIGHT_BITS or sums > SIZES[1]:
        return np.inf
    bits = build.lanes * (stage.x.bits + stage.weight_width)
    return bits * 3 if stage.kind == "mult" and stage.weight_width > 1 else bits


class _Draw:
    """One attempt at a stage."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.ops: dict[str, Op] = {}
        self.inferred: dict[str, tuple[Shape, Format]] = {}

    def choose(self, *what: Any) -> Any:
        return what[int(self.rng.integers(len(what)))]

    def emit(self, op: Op) -> str:
        self.ops[op.name] = op
        self.inferred[op.name] = infer(op, self.inferred)
        return op.name

    def build(self, kind: str, fabric: str) -> StageBuild:
        """A stage of ``kind``, in any fold."""
        name = self._program(kind)
        program = Program(ops=tuple(self.ops.values()))
        stage = next(s for s in stages_of(program) if s.tensor == name)
        form = fabric if isinstance(stage, LayerStage) and self.rng.random() < 0.35 else "generic"
        return self._folded(stage, form)

    def _program(self, kind: str) -> str:
        """A Program with a stage of ``kind``; the name of the operation whose result leaves it."""
        rng = self.rng
        dense = kind in STRUCTURES and rng.random() < 0.2
        channels = self.choose(*(DENSE if dense else CHANNELS))
        height = 1 if dense else self.choose(*SIDES)
        width = height if rng.random() < 0.8 or dense else self.choose(*SIDES)
        last = self.emit(Input(name="pixels", shape=(channels, height, width)))
        x = self._features(kind)
        if x != unsigned(8) or rng.random() < 0.5:
            last = self._rescaled("entry", last, x)
        joined = None
        if kind in STRUCTURES and not dense and rng.random() < 0.15:
            joined = self.choose(unsigned(8), unsigned(4), signed(9), signed(12))
        main = self._layer(kind, last, dense)
        shape = self.inferred[main][0]
        made = main
        if kind != "max":
            made = self._activated(main, kind, joined and self._shortcut(last, shape, joined))
        flat = self.emit(Flatten(name="flatten", source=made))
        inputs = self.inferred[flat][0][0]
        head = Convolution(
            name="head", source=flat, kernel="mult", weight=np.ones((2, inputs, 1, 1), np.int64),
            weight_format=signed(2), pad=np.zeros(inputs, np.int64),
        )  # fmt: skip
        self.emit(head)
        scores = score_format(self.inferred["head"][1])
        self.emit(self._requantise("scores", "head", scores, np.ones(2, np.int64), 8))
        self.emit(ArgMax(name="argmax", source="scores"))
        return made

    def _features(self, kind: str) -> Format:
        if kind == "xnor":
            return unsigned(1)
        bits = int(self.rng.choice([1, 2, 3, 4, 5, 6, 7, 8], p=[0.08, 0.1, 0.1, 0.2, 0.1, 0.12, 0.08, 0.22]))
        if kind in STRUCTURES:
            bits = max(bits, 2)
        return signed(bits) if bits > 1 and self.rng.random() < 0.25 else unsigned(bits)

    def _layer(self, kind: str, source: str, dense: bool) -> str:
        channels, height, _ = self.inferred[source][0]
        size = 1 if dense else int(self.rng.choice([1, 2, 3, 5], p=[0.2, 0.05, 0.55, 0.2]))
        if kind == "none":
            return source
        if kind in ("max", "average"):
            size = self.choose(2, 2, 2, 3, height)
            stride = size if self.rng.random() < 0.7 else self.choose(1, 2)
            if kind == "average":
                return self.emit(AveragePool(name="layer", source=source, size=size, stride=stride))
            padding = int(self.rng.random() < 0.3 and size > 1)
            return self.emit(MaxPool(name="layer", source=source, size=size, stride=stride, padding=padding))
        outputs = self.choose(10, 10, 32, 64, 84, 120, 256) if dense else self.choose(*CHANNELS)
        groups = 1
        if self.rng.random() < 0.12:
            groups = self.choose(*(g for g in range(1, channels + 1) if channels % g == outputs % g == 0))
        x = self.inferred[source][1]
        bits = self.choose(1, 2, 3, 4, 5, 6, 8, 8)
        weight_format = {
            "adder": x, "mult": unsigned(1) if bits == 1 else signed(bits), "xnor": unsigned(1), "shift": unsigned(4),
        }[kind]  # fmt: skip
        return self.emit(
            Convolution(
                name="layer", source=source, kernel=kind,
                weight=self._integers(weight_format, (outputs, channels // groups, size, size)),
                weight_format=weight_format, stride=1 if dense else self.choose(1, 1, 1, 2),
                padding=0 if dense else self.choose(0, size // 2, size // 2),
                pad=self._integers(x, (channels,)) if self.rng.random() < 0.3 else np.zeros(channels, np.int64) + x.lo,
                groups=groups,
            )
        )  # fmt: skip

    def _integers(self, fmt: Format, shape: tuple[int, ...]) -> Ints:
        return self.rng.integers(fmt.lo, fmt.hi, shape, endpoint=True)

    def _shortcut(self, source: str, shape: Shape, fmt: Format) -> str:
        """A residual of ``shape``: a layer of its own, of which only the format matters."""
        channels, height, _ = self.inferred[source][0]
        stride = -(-height // shape[1])
        size = max(height - (shape[1] - 1) * stride, 1)
        op = Convolution(
            name="side", source=source, kernel="mult", weight=np.ones((shape[0], channels, size, size), np.int64),
            weight_format=signed(2), stride=stride, pad=np.zeros(channels, np.int64),
        )  # fmt: skip
        if self.inferred[source][1] == unsigned(1):
            op = replace(op, kernel="xnor", weight_format=unsigned(1))
        self.emit(op)
        return self._rescaled("shortcut", "side", fmt)

    def _activated(self, source: str, kind: str, residual: str | None) -> str:
        bits = int(self.rng.choice([1, 2, 3, 4, 6, 8], p=[0.25, 0.15, 0.1, 0.2, 0.1, 0.2]))
        share = 0.75 if kind == "xnor" else 0.25
        if residual is None and bits < 4 and self.rng.random() < share:
            return self._thresholds(source, unsigned(bits))
        if residual is None and kind in STRUCTURES and self.rng.random() < 0.12:
            return self._scores(source)
        result = signed(max(bits, 2)) if self.rng.random() < 0.25 else unsigned(bits)
        return self._rescaled("layer_out", source, result, residual)

    def _scores(self, source: str) -> str:
        """Requantise as the last layer does: to a wide format, and never clamped."""
        shape, acc = self.inferred[source]
        own = np.random.default_rng(shape)
        factors = own.integers(1 << 11, 1 << 13, shape[0])
        offsets = own.integers(-(acc.hi << 12) - 1, acc.hi << 12, shape[0])
        return self.emit(self._requantise("layer_out", source, score_format(acc), factors, 14, offsets))

    def _thresholds(self, source: str, fmt: Format) -> str:
        acc = threshold_format(self.inferred[source][1])
        channels = self.inferred[source][0][0]
        middle, spread = self._spread(source)
        levels = np.rint(self.rng.normal(middle, spread, (channels, fmt.hi))).astype(np.int64)
        return self.emit(
            Threshold(
                name="layer_out", source=source, thresholds=np.sort(levels.clip(acc.lo, acc.hi), axis=1),
                falling=self.rng.integers(0, 2, channels), format=fmt,
            )
        )  # fmt: skip

    def _spread(self, source: str) -> tuple[float, float]:
        """Mean and deviation of sums, roughly."""
        op, (_, fmt) = self.ops[source], self.inferred[source]
        terms = op.taps if isinstance(op, Convolution) else 1
        return (fmt.lo + fmt.hi) / 2, (fmt.hi - fmt.lo) / 3 / np.sqrt(terms) + 1

    def _rescaled(self, name: str, source: str, result: Format, residual: str | None = None) -> str:
        """``source`` onto ``result``, by factors of nearly 16 bits that differ by channel."""
        channels = self.inferred[source][0][0]
        middle, spread = self._spread(source)
        gain = (result.hi - result.lo) / (3 * spread) * self.rng.uniform(0.4, 1, channels)
        shift = int(np.clip(np.floor(np.log2(32767 / gain.max())), 0, 31))
        multiplier = np.rint(gain * 2.0**shift).clip(1, 32767).astype(np.int64)
        factor = 0
        if residual is not None:
            r = self.inferred[residual][1]
            factor = int((result.hi - result.lo) / (r.hi - r.lo) * 2.0**shift * self.rng.uniform(0.3, 1)) or 1
        offset = np.rint((result.lo + result.hi) / 2 * 2.0**shift - multiplier * middle).astype(np.int64)
        return self.emit(self._requantise(name, source, result, multiplier, shift, offset, residual, factor))

    def _requantise(
        self, name: str, source: str, result: Format, multiplier: Ints, shift: int, offset: Ints | None = None,
        residual: str | None = None, factor: int = 0,
    ) -> Requantise:  # fmt: skip
        if offset is None:
            offset = np.zeros_like(multiplier)
        return Requantise(
            name=name, source=source, multiplier=multiplier, offset=offset, shift=shift, format=result, lo=result.lo,
            hi=result.hi, residual=residual, residual_multiplier=factor,
        )  # fmt: skip

    def _folded(self, stage: Stage, form: str) -> StageBuild:
        """Any fold of ``stage`` of about a size that is drawn first, so that small and large ones are as frequent."""
        high, wide = stage.window
        if not isinstance(stage, LayerStage):
            plan = default_stage_plan(stage, simd=self._divisor(stage.source[0]))
        else:
            inputs, filters = (n // stage.groups for n in (stage.source[0], stage.result[0]))
            fold = {"simd": self._divisor(inputs), "pe": self._divisor(filters), "blocks": 1}
            if stage.groups > 1 and self.rng.random() < 0.5:
                fold = {"simd": inputs, "pe": filters, "blocks": self._divisor(stage.groups)}
            down, right = stage.view.strides
            fold["taps"] = wide if right <= wide and self.rng.random() < 0.4 else 1
            fold["lines"] = high if down <= high and self.rng.random() < 0.25 else 1
            plan = default_stage_plan(stage, **fold)
            plan = replace(plan, structure=self._structure(stage), memory=self.choose("auto", "block"))
        return self._connected(stage, plan, form)

    def _structure(self, stage: Stage) -> str:
        if self.rng.random() < 0.6:
            return ""
        return str(self.choose(*(s for s in STRUCTURES[stage.kind] if s != "max")))

    def _connected(self, stage: Stage, plan: StagePlan, form: str) -> StageBuild:
        """The stage built in front of some next stage, which reads so many elements at once, with a queue for its
        pauses."""
        draft = StageBuild(stage=stage, plan=plan, fabric=form)
        width = draft.out_count
        if self.rng.random() < 0.4:
            width = self._divisor(stage.result[0])
            if lcm(width, draft.out_count) > 4 * draft.out_count:
                width = draft.out_count
        joined = self._divisor(stage.result[0]) if stage.residual is not None else 1
        build = replace(draft, next_simd=width, counts=(draft.x_count, joined)[: len(stage.reads)])
        pause = int(self.choose(1, 1, 1, 20, 60, 130))
        plan = replace(plan, queue=queue_depth(build, pause=pause))
        if stage.residual is not None:
            plan = replace(plan, residual=int(2 ** self.rng.uniform(0, 9)))
        return replace(build, plan=plan)

    def _divisor(self, n: int) -> int:
        return int(self.rng.choice([k for k in range(1, n + 1) if n % k == 0]))
