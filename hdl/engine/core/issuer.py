"""The issuer: begins steps when all that they need is there, and walks over their pixels."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.hdl import signed as signed_shape
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..activity import ACTIVITY_BITS, CycleUse
from ..plan import EnginePlan
from ..records import Unit
from ..vector.quotients import quotient_pace
from .steps import PLACE_BITS, goes_twice, step_layout

__all__ = ["Issuer"]

MOST_WORDS = 4
"""Words of a pixel of results, at most."""


class Issuer(wiring.Component):
    """A tap in every cycle; the next step follows without a gap where it may begin.

    A step begins when its features are in the ring and, if it ends sums, there is room for its results and its
    residuals have come. It never stops on the way, but where a pixel of its results takes several words,
    or is divided: then the next one comes when it is done.

    Members
    -------
    i : In stream of steps; taken one cycle before the first tap is issued
    planned : In, a step is being loaded, or its loading begins in this cycle
    loaded : In, words of the ring ever loaded, as `steps.step_layout` counts them
    room : In, free words of the queue of results that no earlier step has claimed
    residuals : In, residuals that no earlier step has claimed
    issued : Out, a tap is issued in this cycle
    meant : Out, the window of a pixel is whole with it; only depthwise layers have words with which it is not
    begin : Out, it is the first one of its step
    step : Out, the step that it belongs to
    place : Out, address in the ring
    inside : Out, whether it lies in the map, else the pad is meant
    pixel : Out, its number in the round
    first, last : Out, whether it begins and ends the sum of its pixel
    freed : Out, words of the ring that are no longer needed behind this cycle
    final : Out, it is the last tap of its step; only where ``plan.product`` or ``plan.twice``
    there : In, where ``plan.twice``: what a band needs to go by the second time
    activity : Out, of `CycleUse`
    closed : Out, the last tap of a descriptor is issued
    claimed, awaited, joined : Out, words of the queue of results, pixels of results and residuals that the step which
        was taken in the cycle before claims
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        step = step_layout(plan)
        super().__init__({
            "i": In(stream.Signature(step)), "planned": In(1),
            "loaded": In(step["until"].shape), "room": In(range(plan.result_words + 1)),
            "residuals": In(range(plan.residual_pixels + 1)),
            "issued": Out(1), "meant": Out(1), "begin": Out(1), "step": Out(step),
            "place": Out(plan.ring_words.bit_length() - 1), "inside": Out(1), "pixel": Out(range(plan.pixels)),
            "first": Out(1), "last": Out(1),
            "activity": Out(ACTIVITY_BITS, init=CycleUse.DESCRIPTORS), "closed": Out(1),
            "freed": Out(step["chunk"].shape), "claimed": Out(range(MOST_WORDS * plan.pixels + 1)),
            "awaited": Out(step["pixels"].shape), "joined": Out(step["pixels"].shape),
            **({"final": Out(1)} if plan.product or plan.twice else {}), **({"there": In(1)} if plan.twice else {}),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        step = self.step
        busy, pause = Signal(), Signal(range(max(3, self._pace)) if self.plan.divide else 3)
        ending = Signal()
        words, missing = self._may_begin(m)
        m.d.comb += [
            self.issued.eq(busy & (pause == 0)), self.closed.eq(ending & step.closes),
            self.i.ready.eq(~Cat(missing.values()).any() & (~busy | ending)),
            self.first.eq(step.first), self.last.eq(step.last),
        ]  # fmt: skip
        if self.plan.product or self.plan.twice:
            m.d.comb += self.final.eq(ending)
        taken = self.i.valid & self.i.ready
        self._tell(m, taken | (busy & ~ending), missing)
        self._walk(m, taken, ending)
        fresh, claims = Signal(), Signal()
        m.d.comb += self.begin.eq(fresh & self.issued)
        with m.If(self.issued):
            m.d.sync += fresh.eq(0)
        with m.If(ending):
            m.d.sync += busy.eq(0)
            m.d.comb += self.freed.eq(Mux(step.frees, step.chunk, 0))
        with m.If(pause != 0):
            m.d.sync += pause.eq(pause - 1)
        with m.Elif(self.issued & self.meant & self.last & ~ending):
            m.d.sync += pause.eq(self._cycles_of_pixel(step) - 1)
        with m.If(taken):
            m.d.sync += [step.eq(self.i.payload), busy.eq(1), fresh.eq(1), pause.eq(0)]
        # Whether a step is taken is known late in a cycle, and the accounts are read two cycles later at the earliest.
        claiming = taken & self.i.payload.last
        m.d.sync += claims.eq(claiming & ~self.i.payload.keeps if self.plan.means else claiming)
        with m.If(claims):
            m.d.comb += [
                self.claimed.eq(self._claims(step, words)), self.awaited.eq(step.pixels),
                self.joined.eq(Mux(step.residual, self._joins(step), 0)),
            ]  # fmt: skip
        return m

    def _tell(self, m: Module, works: Value, missing: dict[CycleUse, Value]) -> None:
        """The activity, out of a register: ``works`` says of the next cycle whether a step is in it."""
        with m.If(works):
            m.d.sync += self.activity.eq(CycleUse.WORK)
        with m.Elif(self.step.final):
            m.d.sync += self.activity.eq(CycleUse.END)
        with m.Elif(~self.i.valid):
            m.d.sync += self.activity.eq(Mux(self.planned, CycleUse.WEIGHTS, CycleUse.DESCRIPTORS))
        for cause, lacks in missing.items():
            with m.Elif(lacks):
                m.d.sync += self.activity.eq(cause)

    def _may_begin(self, m: Module) -> tuple[Value, dict[CycleUse, Value]]:
        """Words of the results of the step that waits, and what it still needs.

        Out of registers: they are those of the step that waits when its weights have come, many cycles after itself.
        """
        step = self.i.payload
        words = Signal.like(self.claimed, name="result_words")
        ahead = Signal(len(step.until), name="ahead")
        lacks = {
            cause: Signal(name=f"lacks_{cause.name.lower()}", init=1)
            for cause in (CycleUse.FEATURES, CycleUse.RESULTS, CycleUse.RESIDUALS)
        }  # fmt: skip
        m.d.comb += ahead.eq(self.loaded - step.until)
        with m.Switch(step.result_words):
            for count in range(1, MOST_WORDS + 1):
                with m.Case(count):
                    # Moved and added up: a product would become a multiplier block.
                    moved = [step.pixels << k for k in range(count.bit_length()) if count >> k & 1]
                    m.d.sync += words.eq(sum(moved[1:], moved[0]))
        m.d.sync += [
            lacks[CycleUse.FEATURES].eq(ahead[-1]),
            lacks[CycleUse.RESULTS].eq(self._claims(step, step.last) & (self.room < words)),
            lacks[CycleUse.RESIDUALS].eq(self._lacks_residuals(step)),
        ]  # fmt: skip
        return words, lacks

    def _claims(self, step: Any, value: Value) -> Value:
        """``value`` of a step whose results are the first parts of their words, for those take room for all; else 0."""
        return Mux(step.part == 0, value, 0) if self.plan.made_parts > 1 else value

    def _lacks_residuals(self, step: Any) -> Value:
        """Whether some of what stands beside the pixels of a step is missing."""
        lacks = step.last & step.residual & (self.residuals < self._joins(step))
        return lacks | (step.scaling & ~self.there) if self.plan.twice else lacks

    @property
    def _pace(self) -> int:
        """Cycles from a pixel that is divided to the next one."""
        return quotient_pace(self.plan.operand, self.plan.dividers)

    def _cycles_of_pixel(self, step: Any) -> Value:
        """Of a step that ends sums."""
        words: Value = step.result_words
        return Mux(step.divides, self._pace, words) if self.plan.divide else words

    def _begins_at(self, step: Any) -> Value | int:
        """Number of the first pixel of a step: of a part of a mean the place of its sum."""
        return Mux(step.resumes | step.keeps, step.slot, 0) if self.plan.means else 0

    def _joins(self, step: Any) -> Value:
        """Residuals of a step that has some."""
        pixels: Value = step.pixels
        return Mux(step.hold, 1, pixels) if self.plan.product else pixels

    def _windows(self, m: Module, taken: Value, at_row: Value) -> None:
        """Counts the words until the window of the next pixel is whole."""
        if not self.plan.depthwise:
            m.d.comb += self.meant.eq(1)
            return
        step = self.step
        missing = Signal.like(step.between, name="missing")
        m.d.comb += self.meant.eq(missing == 0)
        with m.If(self.issued):
            m.d.sync += missing.eq(missing - 1)
            with m.If(self.meant):
                m.d.sync += missing.eq(Mux(at_row, step.lead - step.shared, step.between))
        with m.If(taken):
            m.d.sync += missing.eq(self.i.payload.lead)

    def _walk(self, m: Module, taken: Value, ending: Signal) -> None:
        """Taps of a pool, columns and rows: the ends of all three, and what goes on with them."""
        step, moving = self.step, self.issued
        pool, opening = step.unit != Unit.ARRAY, Signal()
        left, begins = {}, {}
        for name, bits in (("kernel_columns", 6), ("kernel_rows", 6), ("columns", 12), ("rows", 12)):
            # What is to come behind the next one: its sign tells the last one without a comparison.
            shape = signed_shape(bits + 1)
            left[name], begins[name] = Signal(shape, name=f"{name}_left"), Signal(shape, name=f"{name}_begin")
        at_column = ~pool | left["kernel_columns"][-1]
        at_tap = at_column & (~pool | left["kernel_rows"][-1])
        at_pixel = at_tap & self.meant
        at_row = at_pixel & left["columns"][-1]
        m.d.comb += ending.eq(moving & at_row & left["rows"][-1])
        with m.If(pool):
            ends = at_tap & (step.last | ~goes_twice(self.plan, step)) if self.plan.twice else at_tap
            m.d.comb += [self.first.eq(opening), self.last.eq(ends)]

        def count(name: str, begin: Value) -> Any:
            """One fewer, or from the beginning."""
            return left[name].eq(Mux(begin, begins[name], left[name] - 1))

        with m.If(moving & pool):
            m.d.sync += [opening.eq(at_tap), count("kernel_columns", at_column)]
            with m.If(at_column):
                m.d.sync += count("kernel_rows", at_tap)
        with m.If(moving & at_pixel):
            m.d.sync += [self.pixel.eq(self.pixel + 1), count("columns", at_row)]
            with m.If(at_row):
                m.d.sync += left["rows"].eq(left["rows"] - 1)
        with m.If(taken):
            coming = {name: self.i.payload[name] - 2 for name in left}
            m.d.sync += [opening.eq(1), self.pixel.eq(self._begins_at(self.i.payload))]
            m.d.sync += [counter[name].eq(value) for name, value in coming.items() for counter in (left, begins)]
        self._windows(m, taken, at_row)
        self._place(m, taken, at_column, at_tap, at_row)
        self._inside(m, taken, at_column, at_tap, at_row)

    def _inside(self, m: Module, taken: Value, at_column: Value, at_tap: Value, at_row: Value) -> None:
        """Row and column of the tap, and whether they lie in the map."""
        step, moving = self.step, self.issued
        row, column = (Signal(signed_shape(PLACE_BITS), name=name) for name in ("pixel_row", "pixel_column"))
        tap_row, tap_column = (Signal(signed_shape(PLACE_BITS), name=name) for name in ("tap_row", "tap_column"))
        in_row, in_column = (Signal(signed_shape(PLACE_BITS), name=name) for name in ("in_row", "in_column"))
        m.d.comb += [
            in_row.eq(row + tap_row), in_column.eq(column + tap_column),
            self.inside.eq((in_row >= 0) & (in_row < step.taken) & (in_column >= 0) & (in_column < step.width)),
        ]  # fmt: skip
        with m.If(moving & (step.unit != Unit.ARRAY)):
            m.d.sync += tap_column.eq(Mux(at_column, 0, tap_column + step.dilation_columns))
            with m.If(at_column):
                m.d.sync += tap_row.eq(tap_row + step.dilation_rows)
        with m.If(moving & at_tap):
            m.d.sync += [tap_row.eq(0), column.eq(column + step.stride_columns)]
        with m.If(moving & at_row):
            shared = step.shared if self.plan.depthwise else 0
            m.d.sync += [column.eq(step.column + shared), row.eq(row + step.stride_rows)]
        with m.If(taken):
            following = self.i.payload
            m.d.sync += [
                tap_row.eq(0), tap_column.eq(0), row.eq(following.row), column.eq(following.column),
            ]  # fmt: skip

    def _place(self, m: Module, taken: Value, at_column: Value, at_tap: Value, at_row: Value) -> None:
        """The address of the tap, out of a register: that of the one before and one step of the innermost loop that
        goes on; the loops around the window go on from the first tap of the pixel."""
        step, pixel = self.step, Signal.like(self.place, name="pixel_place")
        within = Mux(at_column, step.next_line, step.dilation_columns)
        onward = Mux(at_row, step.next_row, Mux(at_tap, step.stride_columns, within))
        following = (Mux(at_tap, pixel, self.place) + onward)[: len(pixel)]
        with m.If(taken):
            m.d.sync += [pixel.eq(self.i.payload.base), self.place.eq(self.i.payload.base)]
        with m.Elif(self.issued):
            m.d.sync += self.place.eq(following)
            with m.If(at_tap):
                m.d.sync += pixel.eq(following)
