"""The computing half of an engine, put together: descriptors, words of weights, features and residuals in, results out.

In the cycle in which a tap is issued its address is at the ring. `AT_LANES` cycles later its features are at the lanes,
and the weights change for the first tap of a step; ``lanes.latency`` cycles later what they add is at the sums, and one
more later a complete sum is at the requantisers.
"""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...memory.block import BlockMemory
from ...streams.delay import later
from ...streams.queue import Queue
from ..activity import ACTIVITY_BITS
from ..plan import EnginePlan
from ..records import Unit, descriptor_record
from ..vector.maxima import ScoreDistances, distance_latency
from ..vector.norms import Norms
from ..vector.quotients import QuotientBank, quotient_cycles, quotient_pace
from ..vector.widths import NormTiming
from .columns import WindowColumns
from .issuer import Issuer
from .lanes import HeldWeights, Lanes, lanes_latency
from .largest import LargestRow, largest_latency
from .levels import LevelCounts, levels_latency
from .loader import StepLoader
from .products import Products
from .requantisers import Requantisers, requantise_latency
from .results import PartedResults, Residuals, ResultWords
from .steps import Planner, goes_twice
from .sums import PixelSums
from .tables import RowTables

__all__ = ["Core", "CoreDelays"]

AT_LANES = BlockMemory.latency
"""Cycles from a tap to its features: those of the ring, whose second register stands before the choice of its word or
the pad, for the way from block RAM all over a device to the lanes takes a cycle by itself."""


@dataclass(frozen=True, kw_only=True)
class CoreDelays:
    """Cycles from a tap to what becomes of it.

    Attributes
    ----------
    sums : from the last tap of a pixel to its sum at the requantisers: ring, lanes, sums
    pools : the same of a pool, whose taps pass by the lanes
    results : from a sum at the requantisers, or the products in front of them, to its result, tables included
    counts : from a result that is compared with levels to its count
    across : from results that are compared with one another to what becomes of them
    quotients : from a result that is divided to its quotient
    pace : from a result that is divided to the next one
    norms, distances : from the tap of a layer norm or a softmax to what stands for its sums at the requantisers
    """

    sums: int
    pools: int
    results: int
    counts: int
    across: int
    quotients: int
    pace: int
    norms: int
    distances: int

    @classmethod
    def of(cls, plan: EnginePlan) -> "CoreDelays":
        """Those of the core of ``plan``."""
        return cls(
            sums=AT_LANES + lanes_latency(plan) + PixelSums.latency, pools=AT_LANES + 1 + PixelSums.latency,
            results=requantise_latency(plan) + Products.latency * plan.product + RowTables.latency * (plan.tables > 0),
            counts=levels_latency(plan), across=largest_latency(plan), quotients=quotient_cycles(plan.operand),
            pace=quotient_pace(plan.operand, plan.dividers),
            norms=NormTiming.of(plan, AT_LANES).latency, distances=distance_latency(AT_LANES),
        )  # fmt: skip


class Core(wiring.Component):
    """Runs descriptors one after the other.

    Members
    -------
    descriptors : In stream
    weights : In stream of words
    feature, feature_valid : In, a word for the ring; there must be room
    residual, residual_valid, residual_wide : In, a word of a residual; there must be room
    results : Out stream of words
    came : Out, a word of results has come to their queue
    freed : Out, words of the ring that have become free
    unjoined : Out, words of the queue of residuals that have become free
    activity, closed : Out, see `issuer.Issuer`
    marked, asked : Out, of an engine that skips commands, see `transfer.skips.CommandSkips`
    finished : Out, stays up when the last step of the last descriptor has been issued and all its results have left
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        self.issuer = Issuer(plan)
        super().__init__({
            "descriptors": In(stream.Signature(descriptor_record(plan).layout)),
            "weights": In(stream.Signature(plan.word_bits)),
            "feature": In(plan.word_bits), "feature_valid": In(1),
            "residual": In(plan.word_bits), "residual_valid": In(1), "residual_wide": In(1),
            "results": Out(stream.Signature(plan.word_bits)), "came": Out(1),
            "freed": Out(self.issuer.freed.shape()), "unjoined": Out(2), "finished": Out(1),
            "activity": Out(ACTIVITY_BITS), "closed": Out(1),
            **({"marked": Out(1), "asked": Out(plan.pout)} if plan.predicates else {}),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan = self.plan
        m.submodules.planner = planner = Planner(plan)
        m.submodules.loader = loader = StepLoader(plan)
        m.submodules.issuer = issuer = self.issuer
        wiring.connect(m, wiring.flipped(self.descriptors), planner.i)
        wiring.connect(m, planner.o, loader.i)
        wiring.connect(m, loader.o, issuer.i)
        wiring.connect(m, wiring.flipped(self.weights), loader.words)
        m.d.comb += [
            issuer.planned.eq(planner.o.valid | ~loader.i.ready), self.freed.eq(issuer.freed),
            self.activity.eq(issuer.activity), self.closed.eq(issuer.closed),
        ]  # fmt: skip
        # Words of weights and pads meet the features of their step.
        weight = later(m, self.weights.payload, AT_LANES - 1, name="weight_word")
        x, pad = self._features(m, loader, weight)
        # What results belong to. The next step that ends sums waits for its constants until all results have come.
        layer = Signal(issuer.step.shape(), name="layer")
        with m.If(issuer.begin & issuer.step.last):
            m.d.sync += layer.eq(issuer.step)
        sums, complete = self._sums(m, x, weight, loader, layer)
        if plan.twice:
            sums, complete = self._of_tokens(m, x, pad, layer, sums, complete)
        results, done = self._requantised(m, loader, layer, sums, complete)
        self._stored(m, loader, layer, results, done)
        return m

    def _features(self, m: Module, loader: StepLoader, word: Any) -> tuple[Any, Any]:
        """The words of the taps, `AT_LANES` cycles after they were issued, and the pad of their step, which is one of
        the words ``word``."""
        plan, issuer = self.plan, self.issuer
        m.submodules.ring = ring = BlockMemory(width=plan.word_bits, depth=plan.ring_words, fabric=plan.fabric)
        coming, pad = Signal(plan.word_bits), Signal(plan.word_bits)
        with m.If(self.feature_valid):
            m.d.sync += issuer.loaded.eq(issuer.loaded + 1)
        comes, begins = (
            later(m, flag, AT_LANES - 1, name=f"pad_{name}")
            for name, flag in (("comes", loader.pad), ("begins", issuer.begin))
        )
        with m.If(comes):
            m.d.sync += coming.eq(word)
        with m.If(begins):
            m.d.sync += pad.eq(coming)
        m.d.comb += [
            ring.write_at.eq(issuer.loaded), ring.write_word.eq(self.feature), ring.write.eq(self.feature_valid),
            ring.read_at.eq(issuer.place),
        ]  # fmt: skip
        return Mux(later(m, issuer.inside, AT_LANES, name="inside"), ring.read_word, pad), pad

    def _sums(self, m: Module, x: Any, weight: Any, loader: StepLoader, layer: Any) -> tuple[Any, Any]:
        """Sums of the array or of a pool, of features ``x`` and words ``weight``, and whether they are complete."""
        issuer, step = self.issuer, self.issuer.step
        m.submodules.weights = weights = HeldWeights(self.plan)
        m.submodules.lanes = lanes = Lanes(self.plan)
        m.submodules.sums = sums = PixelSums(self.plan, lanes.step)
        array = step.unit == Unit.ARRAY
        read, passing = self._parts_read(m, x)
        feature_signed = later(m, step.signed, AT_LANES, name="signed")
        # From a tap to the cycle before that of what it adds.
        ranks = AT_LANES - 1 + lanes.latency
        m.d.comb += [
            # The next set may come in from the cycle on in which the lanes take this one.
            weights.word.eq(weight),
            weights.shift.eq(later(m, loader.weight, AT_LANES - 1, name="weight_shift")),
            weights.swap.eq(later(m, issuer.begin, AT_LANES, name="swap")),
            lanes.x.eq(read), lanes.signed.eq(feature_signed), lanes.weights.eq(weights.weights),
            lanes.kernel.eq(later(m, step.kernel, ranks, name="kernel")),
            sums.fetch.eq(self._fetched(m, ranks)), sums.words.eq(lanes.words),
            sums.carries.eq(lanes.carries), sums.largest.eq(layer.unit == Unit.MAXIMUM),
        ]  # fmt: skip
        if self.plan.pin != self.plan.pout:
            m.d.comb += lanes.passing.eq(passing)
        if self.plan.matmul:
            coming = loader.o.payload
            m.d.comb += [
                weights.turned.eq(later(m, coming.turned, AT_LANES - 1, name="turned")),
                weights.inverted.eq(later(m, coming.inverted, AT_LANES - 1, name="inverted")),
            ]  # fmt: skip
        if self.plan.choices:
            m.d.comb += sums.choosing.eq(layer.unit == Unit.CHOICE)
        meant, pool = issuer.issued & issuer.meant, self._pools()
        first, last, issued = (
            later(m, flag & array, ranks, name=f"array_{name}")
            for name, flag in (("first", issuer.first), ("last", issuer.last), ("issued", meant))
        )
        tap, begins, ends = (
            later(m, flag & pool, AT_LANES, name=f"pool_{name}")
            for name, flag in (("tap", issuer.issued), ("first", issuer.first), ("last", issuer.last))
        )
        begun = later(m, issuer.first & step.resumes, AT_LANES, name="resumes") if self.plan.means else None
        m.d.comb += [lanes.pool.eq(tap), sums.fresh.eq(first | (tap if begun is None else tap & ~begun))]
        if self.plan.means:
            m.d.comb += sums.keeps.eq(later(m, step.keeps, AT_LANES + 1, name="keeps"))
        m.d.sync += [
            sums.valid.eq(issued | tap), sums.last.eq(Mux(tap, ends, last)), sums.pool.eq(tap), sums.first.eq(begins),
        ]  # fmt: skip
        if self.plan.depthwise:
            m.submodules.columns = columns = WindowColumns(self.plan)
            m.d.comb += [
                columns.x.eq(passing), columns.valid.eq(later(m, issuer.issued, AT_LANES, name="issued")),
                columns.together.eq(later(m, step.together, AT_LANES - 1, name="together")),
                lanes.columns.eq(columns.columns),
                lanes.depthwise.eq(later(m, step.depthwise, AT_LANES, name="depthwise")),
            ]  # fmt: skip
        return sums.sums, sums.done

    def _pools(self) -> Any:
        """Whether taps of the step make sums on their way past the lanes."""
        step = self.issuer.step
        pool = step.unit != Unit.ARRAY
        return pool & ~goes_twice(self.plan, step) if self.plan.twice else pool

    def _fetched(self, m: Module, ranks: int) -> Any:
        """The number of the pixel whose sum is fetched, two cycles before it meets what is added."""
        issuer = self.issuer
        pixel = later(m, issuer.pixel, ranks - 1, name="pixel")
        if not self.plan.means:
            return pixel
        # What goes by twice begins while the array's last pixels are still on their way, and fetches nothing.
        pool = later(m, self._pools(), AT_LANES - 1, name="pool")
        return Mux(pool, later(m, issuer.pixel, AT_LANES - 1, name="pool_pixel"), pixel)

    def _parts_read(self, m: Module, x: Any) -> tuple[Any, Any]:
        """What the lanes read of words ``x`` of features, and what passes by them: a part, where one has more."""
        plan, issuer = self.plan, self.issuer
        if plan.pin == plan.pout:
            return x, x
        part = issuer.step.part
        if plan.choices and plan.made_parts > 1:
            # The number of a choice stands in the first channel, whichever are chosen.
            part = Mux((issuer.step.unit == Unit.CHOICE) & issuer.first, 0, part)
        part = later(m, part, AT_LANES, name="part")
        if plan.made_parts > 1:
            return x, x.word_select(part, plan.pout * plan.bits)
        return x.word_select(part, plan.pin * plan.bits), x

    def _of_tokens(self, m: Module, x: Any, pad: Any, layer: Any, sums: Any, complete: Any) -> tuple[Any, Any]:
        """Sums, or what stands in their place in layers whose bands go by twice, and whether they are complete."""
        issuer, step, there = self.issuer, self.issuer.step, []
        if self.plan.norms:
            m.submodules.norms = norms = Norms(self.plan, AT_LANES)
            fields = ("pixels", "channels", "fraction", "eps", "digits", "places", "longest")
            m.d.comb += [getattr(norms, name).eq(step[name]) for name in fields]
            m.d.comb += norms.powers.eq(pad)
            sums, complete = self._instead(m, norms, step.norm, layer.norm, x, sums, complete)
            there.append(norms.there)
        if self.plan.softmax:
            m.submodules.distances = distances = ScoreDistances(self.plan, AT_LANES)
            m.d.comb += distances.counts.eq(pad)
            sums, complete = self._instead(m, distances, step.softmax, layer.softmax, x, sums, complete)
            there.append(distances.there)
        m.d.comb += issuer.there.eq(Cat(there).all())
        return sums, complete

    def _instead(
        self, m: Module, unit: Any, meant: Any, shown: Any, x: Any, sums: Any, complete: Any
    ) -> tuple[Any, Any]:  # fmt: skip
        """Connects what is ``meant`` by a step; its sums in place of ``sums`` in a layer that says so."""
        issuer, step = self.issuer, self.issuer.step
        m.d.comb += [
            unit.word.eq(x), unit.signed.eq(later(m, step.signed, AT_LANES, name="score_signed")),
            unit.pixel.eq(issuer.pixel), unit.issued.eq(issuer.issued & meant), unit.scaling.eq(step.scaling),
            unit.opens.eq(step.opens), unit.closes.eq(issuer.final & step.closes_sums & meant),
        ]  # fmt: skip
        return Mux(shown, unit.sums, sums), complete | unit.done

    def _requantised(self, m: Module, loader: StepLoader, layer: Any, sums: Any, complete: Any) -> tuple[Any, Any]:
        """Results of pixels, and whether there is one."""
        issuer = self.issuer
        m.submodules.residuals = residuals = Residuals(self.plan)
        m.submodules.requantisers = requantisers = Requantisers(self.plan)
        taken = Signal()
        if self.plan.product:
            # Of a pool, which products are, a pixel is complete so many cycles behind its tap.
            final = later(m, issuer.final, CoreDelays.of(self.plan).pools, name="final")
            m.d.comb += taken.eq(complete & layer.residual & (~layer.hold | final))
        else:
            m.d.comb += taken.eq(complete & layer.residual)
        joins = self._spread(m, layer, residuals.residuals)
        joins, sums, ready = self._multiplied(m, layer, joins, sums, complete)
        low, high = self._bounds(layer)
        m.d.comb += [
            residuals.word.eq(self.residual),
            residuals.valid.eq(self.residual_valid), residuals.wide.eq(self.residual_wide), residuals.take.eq(taken),
            residuals.signed.eq(layer.residual_signed), residuals.double.eq(layer.residual_words == 2),
            self.unjoined.eq(Mux(taken, layer.residual_words, 0)),
            requantisers.word.eq(self._row_elements()), requantisers.shift.eq(loader.constant),
            requantisers.sums.eq(sums), requantisers.valid.eq(ready), requantisers.residuals.eq(joins),
            requantisers.low.eq(low), requantisers.high.eq(high),
        ]  # fmt: skip
        if self.plan.made_parts > 1:
            m.d.comb += residuals.part.eq(layer.part)
        if self.plan.slopes:
            m.d.comb += [requantisers.further.eq(loader.further), requantisers.bends.eq(layer.slopes)]
        if self.plan.ties_even:
            m.d.comb += requantisers.even.eq(layer.ties_even)
        m.d.sync += issuer.residuals.eq(issuer.residuals + residuals.arrived - issuer.joined)
        made = self._divided(m, layer, joins, requantisers)
        counted = self._counted(m, loader, layer, *made)
        return self._across(m, layer, *self._looked_up(m, loader, layer, *counted))

    def _row_elements(self) -> Any:
        """Of a word of constants an element for each row."""
        return self.weights.payload[: self.plan.pout * self.plan.bits]

    def _multiplied(self, m: Module, layer: Any, residuals: Any, sums: Any, complete: Any) -> tuple[Any, Any, Any]:
        """Residuals, sums and whether there are some, as the requantisers take them."""
        if not self.plan.product:
            return residuals, sums, complete
        m.submodules.products = products = Products(self.plan)
        m.d.comb += [
            products.sums.eq(sums), products.residuals.eq(residuals), products.valid.eq(complete),
            products.product.eq(layer.product), products.signed.eq(layer.signed),
            products.residual_signed.eq(layer.residual_signed),
        ]  # fmt: skip
        return products.joins, products.totals, products.done

    def _spread(self, m: Module, layer: Any, residuals: Any) -> Any:
        """Residuals, or for each row the denominator of the group."""
        plan = self.plan
        if not plan.divide:
            return residuals
        own, bits = Signal(plan.residual.bits, name="denominator"), plan.residual.bits
        held = residuals.word_select(layer.head, bits)
        m.d.comb += own.eq(Cat(held[0] | (held == 0), held[1:]))
        return Mux(layer.divides, own.replicate(plan.pout), residuals)

    def _bounds(self, layer: Any) -> tuple[Any, Any]:
        """What requantisers clamp to: what is divided is clamped behind that."""
        result = self.plan.result
        if not self.plan.divide:
            return layer.low, layer.high
        return tuple(
            Mux(layer.divides, Const(end, signed(result.bits)), own)
            for end, own in ((result.lo, layer.low), (result.hi, layer.high))
        )

    def _divided(self, m: Module, layer: Any, joins: Any, requantisers: Requantisers) -> tuple[Any, Any]:
        """Results of requantisers, or their quotients by what joined them, and whether there is one."""
        plan, results, done = self.plan, requantisers.results, requantisers.done
        if not plan.divide:
            return results, done
        m.submodules.quotients = quotients = QuotientBank(
            plan.dividers, plan.pout, plan.result, plan.denominator, plan.operand
        )
        divisor = later(m, joins[: plan.denominator.bits], requantisers.latency, name="divisor")
        m.d.comb += [
            quotients.low.eq(layer.low), quotients.high.eq(layer.high), quotients.numerators.eq(results),
            quotients.denominators.eq(divisor.replicate(plan.pout)), quotients.valid.eq(done & layer.divides),
        ]  # fmt: skip
        rows = []
        for row in range(plan.pout):
            quotient = Signal(signed(plan.result.bits), name=f"quotient{row}")
            m.d.comb += quotient.eq(quotients.quotients.word_select(row, plan.operand.bits).as_signed())
            rows.append(quotient)
        return Mux(layer.divides, Cat(rows), results), Mux(layer.divides, quotients.done, done)

    def _counted(self, m: Module, loader: StepLoader, layer: Any, results: Any, done: Any) -> tuple[Any, Any]:
        """Results, or how many levels they reach, and whether there is one."""
        if not self.plan.levels:
            return results, done
        m.submodules.levels = levels = LevelCounts(self.plan)
        m.d.comb += [
            levels.word.eq(self._row_elements()), levels.shift.eq(loader.further), levels.counting.eq(layer.levels),
            levels.values.eq(results), levels.valid.eq(done),
        ]  # fmt: skip
        return levels.results, levels.done

    def _looked_up(self, m: Module, loader: StepLoader, layer: Any, results: Any, done: Any) -> tuple[Any, Any]:
        """Results behind the tables, and whether there is one."""
        if not self.plan.tables:
            return results, done
        m.submodules.tables = tables = RowTables(self.plan)
        m.d.comb += [
            tables.word.eq(self._row_elements()), tables.load.eq(loader.table), tables.begin.eq(loader.constant),
            tables.results.eq(results), tables.valid.eq(done), tables.look.eq(layer.table != 0),
        ]  # fmt: skip
        return tables.values, tables.done

    def _across(self, m: Module, layer: Any, results: Any, done: Any) -> tuple[Any, Any]:
        """Results, or what becomes of all of a pixel, and whether there is one."""
        if not self.plan.choices:
            return results, done
        m.submodules.largest = largest = LargestRow(self.plan)
        m.d.comb += [largest.values.eq(results), largest.valid.eq(done), largest.across.eq(layer.across)]
        return largest.results, largest.done

    def _stored(self, m: Module, loader: StepLoader, layer: Any, results: Any, done: Any) -> None:
        """Results as words in their queue; the account of its room and of results on their way."""
        plan, issuer = self.plan, self.issuer
        m.submodules.words = words = ResultWords(plan)
        m.submodules.queue = queue = self._queue(m, layer)
        wiring.connect(m, queue.o, wiring.flipped(self.results))
        awaited, room, final = Signal(range(2 * plan.pixels)), Signal(range(plan.result_words + 1)), Signal()
        # Whether none is awaited, without a comparison in front of the loader.
        quiet = Signal(init=1)
        left = self.results.valid & self.results.ready
        used = Signal(range(plan.result_words + 1))
        m.d.sync += [
            awaited.eq(awaited + issuer.awaited - done), used.eq(used + issuer.claimed - left),
            final.eq(final | (issuer.begin & issuer.step.final)),
            quiet.eq((issuer.awaited == 0) & (quiet | (done & (awaited == 1)))),
        ]  # fmt: skip
        m.d.comb += [
            words.results.eq(results), words.valid.eq(done), words.count.eq(layer.result_words),
            queue.i.payload.eq(words.word), queue.i.valid.eq(words.done),
            self.came.eq(words.done & layer.fills if plan.made_parts > 1 else words.done),
            room.eq(plan.result_words - used), issuer.room.eq(room),
            loader.quiet.eq(quiet), self.finished.eq(final & (used == 0)),
        ]  # fmt: skip
        if plan.predicates:
            number = results[: plan.bits]
            here = Cat(done & layer.marks & (number == k) for k in range(plan.pout))
            m.d.sync += [
                self.marked.eq(done & layer.marks & (awaited == 1)),
                self.asked.eq(Mux(self.marked, 0, self.asked) | here),
            ]  # fmt: skip

    def _queue(self, m: Module, layer: Any) -> Any:
        """The queue of words of results."""
        if self.plan.made_parts == 1:
            return Queue(self.plan.word_bits, depth=self.plan.result_words, block=True)
        queue = PartedResults(self.plan)
        m.d.comb += [queue.part.eq(layer.part), queue.fills.eq(layer.fills)]
        return queue
