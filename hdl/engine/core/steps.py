"""Steps: what the array does with one set of weights, and the planner that walks over the loops of a layer."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.hdl import signed as signed_shape
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...streams.delay import later
from ..plan import EnginePlan
from ..records import ACTIVATIONS, TWICE, Unit, descriptor_record

__all__ = ["PLACE_BITS", "Planner", "goes_twice", "step_layout"]

PLACE_BITS = 13
"""Of a row or column in a map, with sign: padding lies at negative ones."""
_PASSED = (
    "unit", "kernel", "signed", "residual", "residual_signed", "residual_words", "result_words", "columns", "width",
    "kernel_rows", "kernel_columns", "stride_rows", "stride_columns", "dilation_rows", "dilation_columns", "next_row",
    "next_line", "low", "high",
)  # fmt: skip
"""What a step takes over from its descriptor."""
_PASSED_DEPTHWISE = ("depthwise", "lead", "shared", "between")
"""And of an engine that has groups."""
_PASSED_PRODUCT = ("product", "hold")
_PASSED_MATMUL = ("turned", "inverted")
_PASSED_TABLES = ("table",)
_PASSED_CHOICES = ("across",)
_PASSED_PREDICATES = ("marks",)
_PASSED_SOFTMAX = ("softmax",)
_PASSED_NORMS = ("norm", "channels", "fraction", "eps", "digits", "places", "longest")
_PASSED_MEANS = ("resumes", "keeps")
_PASSED_DIVIDE = ("divides",)


def _passed(plan: EnginePlan) -> tuple[str, ...]:
    return (
        *_PASSED, *(_PASSED_DEPTHWISE if plan.depthwise else ()), *(_PASSED_PRODUCT if plan.product else ()),
        *(_PASSED_MATMUL if plan.matmul else ()), *(_PASSED_TABLES if plan.tables else ()),
        *(_PASSED_CHOICES if plan.choices else ()), *(_PASSED_PREDICATES if plan.predicates else ()),
        *(_PASSED_NORMS if plan.norms else ()), *(_PASSED_SOFTMAX if plan.softmax else ()),
        *(_PASSED_MEANS if plan.means else ()), *(_PASSED_DIVIDE if plan.divide else ()),
        *(name for name in ACTIVATIONS if getattr(plan, name)),
    )  # fmt: skip


def goes_twice(plan: EnginePlan, layer: Any) -> Value:
    """Whether the bands of ``layer``, a descriptor or a step of it, go by twice."""
    flags = [layer[name] for name in TWICE if name in descriptor_record(plan).layout.members]
    return Cat(flags).any()


def step_layout(plan: EnginePlan) -> data.StructLayout:
    """A step: of a pool all taps of its pixels, else one tap of them.

    Beside what its descriptor says: ``base``, where the first tap of the first pixel stands, counted as words of the
    ring ever loaded are; ``row``, ``column`` of that tap in the map; ``until``, words that must have been loaded;
    ``chunk``, words that are freed behind it if ``frees``; ``rows``, ``taken``, ``pixels`` of the band; ``first`` and
    ``last``, whether it begins and ends sums; ``pads``, whether a word of pad comes with its weights; ``closes`` and
    ``final``, whether it is the last one of its descriptor, and of all; ``together``, columns of the window that a
    depthwise layer takes at once; ``loads``, whether a table comes with its constants; of a layer whose bands go by
    twice ``scaling``, whether this is the second time, and ``opens`` and ``closes_sums``, whether it is the first and
    the last one of the first time; where words have parts, ``part``, the one that it reads or makes, and ``fills``,
    whether its results are the last part of their words; ``slot``, the number of its sum where means are cut; ``head``,
    of an engine that divides, the channel of a word that has the denominator of its group.
    """
    layer = descriptor_record(plan).layout
    ring = plan.ring_words.bit_length() - 1
    members: dict[str, Any] = {name: layer[name].shape for name in _passed(plan)}
    if plan.depthwise:
        members["together"] = layer["kept"].shape
    if plan.tables:
        members["loads"] = 1
    if plan.pin != plan.pout:
        members["part"] = range(plan.read_parts * plan.made_parts)
    if plan.made_parts > 1:
        members["fills"] = 1
    if plan.twice:
        members |= dict.fromkeys(("scaling", "opens", "closes_sums"), 1)
    if plan.means:
        members["slot"] = range(plan.pixels)
    if plan.divide:
        members["head"] = range(plan.pout)
    return data.StructLayout({
        **members, "base": ring, "row": signed_shape(PLACE_BITS), "column": signed_shape(PLACE_BITS),
        "until": ring + 2, "chunk": layer["chunk_first"].shape, "frees": 1, "rows": layer["rows_first"].shape,
        "taken": layer["taken_first"].shape, "pixels": layer["pixels_first"].shape, "first": 1, "last": 1, "pads": 1,
        "closes": 1, "final": 1,
    })  # fmt: skip


class Planner(wiring.Component):
    """Walks over bands, groups, blocks of outputs, blocks of inputs and taps of each descriptor.

    A step is there one cycle behind its descriptor, or two behind the step before: the ends of the loops are told by
    registers. A descriptor is taken when its last step leaves.

    Members
    -------
    i : In stream of descriptors
    o : Out stream of steps
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        super().__init__({
            "i": In(stream.Signature(descriptor_record(plan).layout)),
            "o": Out(stream.Signature(step_layout(plan))),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        layer, step = self.i.payload, self.o.payload
        pool = layer.unit != Unit.ARRAY
        band, block, inner = (Signal(12, name=name) for name in ("band", "block", "inner"))
        ky, kx = Signal(6), Signal(6)
        compared = {
            "columns": pool | (kx == layer.kernel_columns - 1), "rows": pool | (ky == layer.kernel_rows - 1),
            "inner": inner == layer.in_blocks - 1, "block": block == layer.out_blocks - 1,
            "band": band == layer.bands - 1,
        }  # fmt: skip
        loops = [(kx, "columns"), (ky, "rows"), (inner, "inner"), (block, "block"), (band, "band")]
        if self.plan.grouped:
            group = Signal(12, name="group")
            compared["group"] = group == layer.groups - 1
            loops.insert(-1, (group, "group"))
        if self.plan.depthwise:
            m.d.comb += step.together.eq(Mux(kx == 0, layer.kept, layer.lead + 1))
        if self.plan.tables:
            earlier = goes_twice(self.plan, layer) if self.plan.twice else 0
            first = (band == 0) & (block == earlier) & (~pool | (inner == 0))
            if self.plan.grouped:
                first = first & (group == 0)
            m.d.comb += step.loads.eq(step.last & (layer.table != 0) & (layer.own_tables | first))
        if self.plan.means:
            m.d.comb += step.slot.eq(inner)
        if self.plan.divide:
            m.d.comb += step.head.eq(group)
        ends = {name: later(m, value, name=f"at_{name}") for name, value in compared.items()}
        begins, moving = later(m, band == 0, name="at_first"), Signal()
        origin = later(m, Mux(band == 0, layer.origin, -layer.left)[: len(step.base)], name="origin")
        m.d.comb += moving.eq(self.o.valid & self.o.ready)
        m.d.sync += self.o.valid.eq(self.i.valid & ~moving)
        m.d.comb += [step[name].eq(layer[name]) for name in _passed(self.plan)]

        sized = {
            name: self._of_band(layer, name, begins, ends["band"]) for name in ("rows", "taken", "pixels", "chunk")
        }
        m.d.comb += [step[name].eq(value) for name, value in sized.items()]
        whole = self._parts(m, moving, ends, pool)
        m.d.comb += [
            step.first.eq(pool | ((inner == 0) & (ky == 0) & (kx == 0))),
            step.last.eq(self._twice(m, ends, inner, pool | (ends["inner"] & ends["rows"] & ends["columns"]))),
            step.pads.eq(layer.padded & (ky == 0) & (kx == 0)),
            step.frees.eq(_where(ends["block"] & ends["rows"] & ends["columns"], whole)),
            step.closes.eq(Cat(ends.values()).all()),
            step.final.eq(layer.last & step.closes),
        ]
        place = origin + self._taps(m, moving, ends, begins)
        self._chunks(m, moving, ends, whole, sized["chunk"], place)

        at_end = moving
        for counter, end in loops:
            with m.If(at_end):
                m.d.sync += counter.eq(Mux(ends[end], 0, counter + 1))
            at_end = at_end & ends[end]
        m.d.comb += self.i.ready.eq(at_end)
        return m

    def _twice(self, m: Module, ends: dict[str, Value], inner: Value, last: Value) -> Value:
        """Whether a step ends sums, as ``last`` says; where a band goes by twice, those of the second time do."""
        if not self.plan.twice:
            return last
        layer, step = self.i.payload, self.o.payload
        twice = goes_twice(self.plan, layer)
        m.d.comb += [
            step.scaling.eq(twice & ends["block"]),
            step.opens.eq(~ends["block"] & later(m, inner == 0, name="at_opening")),
            step.closes_sums.eq(twice & ~ends["block"] & ends["inner"]),
        ]  # fmt: skip
        return Mux(twice, ends["block"], last)

    @staticmethod
    def _of_band(layer: Any, name: str, first: Value, final: Value) -> Value:
        return Mux(first, layer[f"{name}_first"], Mux(final, layer[f"{name}_final"], layer[f"{name}_middle"]))

    def _taps(self, m: Module, moving: Value, ends: dict[str, Value], begins: Value) -> Value:
        """Row and column of the tap in the map; returns where it stands behind the first tap of the window."""
        layer, step = self.i.payload, self.o.payload
        offset = Signal(len(step.base), name="tap_offset")
        row, column = Signal(PLACE_BITS, name="tap_row"), Signal(PLACE_BITS, name="tap_column")
        with m.If(moving):
            m.d.sync += [
                offset.eq(offset + Mux(ends["columns"], layer.next_line, layer.dilation_columns)),
                column.eq(Mux(ends["columns"], 0, column + layer.dilation_columns)),
            ]
            with m.If(ends["columns"]):
                m.d.sync += row.eq(row + layer.dilation_rows)
                with m.If(ends["rows"]):
                    m.d.sync += [offset.eq(0), row.eq(0)]
        top = Mux(begins, layer.top, 0)
        m.d.comb += [step.row.eq(row - top), step.column.eq(column - layer.left)]
        return offset

    def _parts(self, m: Module, moving: Value, ends: dict[str, Value], pool: Value) -> Value | None:
        """The part of a word that lanes read, of blocks of inputs one behind the other, or that rows make, of blocks of
        outputs; returns whether a chunk has no further part behind the taps of this block, None where it never has."""
        plan, step = self.plan, self.o.payload
        if plan.pin == plan.pout:
            return None
        part, at_taps = Signal.like(step.part, name="part"), ends["rows"] & ends["columns"]
        last = later(m, part == plan.read_parts * plan.made_parts - 1, name="at_part")
        apart = pool | step.depthwise if plan.depthwise else pool
        if plan.made_parts > 1:
            fills = last | (ends["inner"] & ends["block"] & (ends["group"] if plan.depthwise else 1))
            whole, onward, again = ~apart | fills, moving & step.last, fills
            m.d.comb += step.fills.eq(fills)
        else:
            whole = apart | last | ends["inner"]
            onward, again = moving & at_taps, whole
        with m.If(onward):
            m.d.sync += part.eq(Mux(again, 0, part + 1))
        m.d.comb += step.part.eq(part)
        return whole

    def _chunks(
        self, m: Module, moving: Value, ends: dict[str, Value], whole: Value | None, chunk: Value, place: Value
    ) -> None:  # fmt: skip
        """Where the chunks of the band stand, counted as words ever loaded."""
        step = self.o.payload
        tile, base = Signal(len(step.until), name="tile"), Signal(len(step.until), name="chunk_base")
        following = Signal(len(step.until), name="following")
        m.d.comb += [following.eq(base + chunk), step.base.eq(base + place), step.until.eq(following)]
        with m.If(moving & ends["rows"] & ends["columns"]):
            m.d.sync += base.eq(following if whole is None else Mux(whole, following, base))
            with m.If(ends["inner"]):
                with m.If(_where(ends["block"], whole)):
                    m.d.sync += tile.eq(following)
                with m.Else():
                    m.d.sync += base.eq(tile)


def _where(value: Value, condition: Value | None) -> Value:
    """``value``, and 0 where there is a ``condition`` that does not hold."""
    return value if condition is None else value & condition
