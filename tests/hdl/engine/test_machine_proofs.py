# amaranth: UnusedElaboratable=no
"""The descriptor machine of an engine ends: proved for any software, memory and descriptors, by reachability.

A run comes back to rest with its code. A descriptor is as many steps as its loops have, a step takes its own words and
issues its own taps, and each part waits for nothing but what it is there to wait for. Loops of one or two passes show
both kinds of a pass, one that ends its loop and one that does not; counters have their full width.
"""

from types import SimpleNamespace

import pytest
from addax.hdl.engine import engine as engine_module
from addax.hdl.engine.core.issuer import Issuer
from addax.hdl.engine.core.loader import StepLoader
from addax.hdl.engine.core.steps import Planner
from addax.hdl.engine.engine import ERROR_BITS, Engine, Machine
from addax.hdl.engine.record import Record, RecordField
from addax.hdl.engine.records import Unit, constants_record, descriptor_record, further_records
from addax.hdl.engine.transfer.queues import RecordQueue
from amaranth.hdl import Array, Assert, Assume, Const, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from engine_networks import small_plan
from marks import guarded_but
from prove import reached_violation

LATE = 4
PLAN = small_plan(pixels=16)
RICH = small_plan(pixels=16, bits=8, pin=8, pout=8, depthwise=2, tables=2, slopes=True, levels=3, product=True)
NORMED = small_plan(pixels=16, norms=2)
PLANS = pytest.mark.parametrize("plan", [PLAN, RICH, NORMED], ids=["plain", "with options", "with norms"])


def before(m, value):
    """What ``value`` was in the cycle before; 0 in the first."""
    register = Signal.like(value)
    m.d.sync += register.eq(value)
    return register


def stays(m, port):
    """A stream that keeps to the rules: what is offered is offered until it is taken."""
    payload = port.payload.as_value()
    waiting, was = before(m, port.valid & ~port.ready), before(m, payload)
    with m.If(waiting):
        m.d.comb += Assume(port.valid & (payload == was))


def free_machine(outside, **given):
    """A class for `Machine` whose outputs are those of ``outside``, or as ``given``; ``alive`` says that it was not in
    reset in the cycle before."""

    class FreeMachine(Machine):
        def elaborate(self, platform):
            m, alive = Module(), Signal(name="alive")
            m.d.sync += alive.eq(1)
            for name in ("finished", "idle", "error"):
                m.d.comb += getattr(self, name).eq(given.get(name, getattr(outside, name)))
            m.d.comb += [outside.alive.eq(alive), outside.begun.eq(self.begin), outside.stopped.eq(self.stop)]
            return m

    return FreeMachine


class RunContract(wiring.Component):
    """A run begins with a start while at rest, and in no other way; it ends in the cycle after one in which nothing is
    on its way, if all is done, or else if it has been stopped; its code is the first cause of its end."""

    def __init__(self, *, deaf=False):
        self.deaf = deaf
        self.alive, self.begun, self.stopped = (Signal(name=name) for name in ("was_alive", "begun", "stopped"))
        super().__init__({
            "start": In(1), "late": In(1), "finished": In(1), "idle": In(1), "error": In(ERROR_BITS),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = Engine(PLAN)
        m.d.comb += [
            Assume(~ResetSignal()), dut.start.eq(self.start), dut.late.eq(0 if self.deaf else self.late)
        ]  # fmt: skip
        was_busy, started = before(m, dut.busy), before(m, self.start & ~dut.busy)
        runs, code, ends = dut.busy & ~self.begun, Signal(ERROR_BITS), Signal()
        with m.If(self.start & ~dut.busy):
            m.d.sync += code.eq(0)
        with m.Elif(runs & (code != 0)):
            m.d.comb += ends.eq(self.idle)
        with m.Elif(runs & (self.error != 0)):
            m.d.sync += code.eq(self.error)
        with m.Elif(runs & self.finished & self.idle):
            m.d.comb += ends.eq(1)
        with m.Elif(runs & self.late):
            m.d.sync += code.eq(LATE)
        m.d.comb += [
            Assert(dut.busy == (started | (was_busy & ~before(m, ends)))), Assert(self.begun == started),
            Assert(dut.error == code), Assert(self.stopped == (dut.busy & (code != 0))), Assert(self.alive == was_busy),
        ]  # fmt: skip
        return m


def test_a_run_ends_with_its_code(tmp_path, monkeypatch):
    """Protects software that polls: any errors, any time of rest, starts while running, at any time."""
    contract = RunContract()
    monkeypatch.setattr(engine_module, "Machine", free_machine(contract))
    found = reached_violation(contract, tmp_path)
    assert found is None, found


@pytest.mark.parametrize(
    "given",
    [{"idle": Const(1)}, {"error": Const(0)}, {"finished": Const(1)}, None],
    ids=["hasty", "blind", "early", "deaf"],
)
def test_a_run_that_ends_otherwise_is_found(tmp_path, monkeypatch, given):
    """Protects the proof: an engine that does not look at what is on its way, at errors, at its end, at its limit."""
    contract = RunContract(deaf=given is None)
    monkeypatch.setattr(engine_module, "Machine", free_machine(contract, **(given or {})))
    assert reached_violation(contract, tmp_path) is not None


def one_or_two(m, record, *names):
    """Assumes it of these fields; returns which are two."""
    for name in names:
        m.d.comb += Assume((record[name] == 1) | (record[name] == 2))
    return [record[name] == 2 for name in names]


class PlannerContract(wiring.Component):
    """A descriptor is as many steps as its loops have passes, the last of which closes it; each chunk of each band is
    freed once; a step is there one cycle behind its descriptor, or two behind the step before."""

    def __init__(self, plan, dut=Planner):
        self.plan, self.dut = plan, dut(plan)
        super().__init__({"layer": In(descriptor_record(plan).layout), "valid": In(1), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        layer, step = self.layer, dut.o.payload
        pool = layer.unit != Unit.ARRAY
        m.d.comb += [
            Assume(~ResetSignal()), dut.i.valid.eq(self.valid), dut.i.payload.eq(layer), dut.o.ready.eq(self.ready)
        ]  # fmt: skip
        stays(m, dut.i)
        outer = ["bands", "in_blocks", *(["groups"] if self.plan.depthwise else [])]
        bands, inner, *groups, outputs, rows, columns = one_or_two(
            m, layer, *outer, "out_blocks", "kernel_rows", "kernel_columns"
        )
        twice = layer.norm if self.plan.norms else Const(0)
        m.d.comb += [Assume(~pool | ~outputs | twice), Assume(pool | ~twice)]
        chunks = 1 << (bands + inner + sum(groups))
        steps = Mux(pool, chunks << (outputs & twice), chunks << (outputs + rows + columns))
        number, freed, waits = Signal(7), Signal(4), Signal(2)
        moving = dut.o.valid & self.ready
        closes = number == steps - 1
        with m.If(moving):
            m.d.sync += [number.eq(Mux(closes, 0, number + 1)), freed.eq(Mux(closes, 0, freed + step.frees))]
        m.d.sync += waits.eq(Mux(dut.o.valid | ~self.valid, 0, waits + 1))
        m.d.comb += [
            Assert(dut.i.ready == (moving & closes)), Assert(~dut.o.valid | self.valid), Assert(waits < 2),
            Assert(~dut.o.valid | (step.closes == closes)),
            Assert(~dut.o.valid | (step.final == (closes & layer.last))),
            Assert(~(moving & closes) | (freed + step.frees == chunks)),
        ]  # fmt: skip
        return m


@pytest.mark.slow
@PLANS
def test_a_descriptor_is_the_steps_of_its_loops(tmp_path, plan):
    """Protects the end of a run: no descriptor, of whatever fields, goes on for ever or ends early."""
    found = reached_violation(PlannerContract(plan), tmp_path)
    assert found is None, found


class Eager(Planner):
    """Offers the next step at once, while its registers still tell the ends of loops of the step before."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.sync += self.o.valid.eq(self.i.valid)
        return m


class Parted(Planner):
    """Takes a descriptor with its last step of a band."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.i.ready.eq(self.o.valid & self.o.ready & self.o.payload.frees)
        return m


@pytest.mark.parametrize("dut", [Eager, Parted])
def test_a_descriptor_that_is_cut_otherwise_is_found(tmp_path, dut):
    """Protects the proof."""
    assert reached_violation(PlannerContract(PLAN, dut), tmp_path) is not None


class LoaderContract(wiring.Component):
    """A step takes a pad, a table, further constants, constants and weights, as many of each as it has, in this order,
    and is handed on when all have come. The loader waits for steps, words, results on their way, and whoever takes the
    step; for nothing else."""

    KINDS = ("pad", "table", "further", "constant", "weight")

    def __init__(self, plan, dut=StepLoader):
        self.plan, self.dut = plan, dut(plan)
        super().__init__({
            "step": In(self.dut.i.payload.shape()), "valid": In(1), "ready": In(1), "words": In(1), "quiet": In(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        plan, step = self.plan, self.step
        m.d.comb += [
            Assume(~ResetSignal()), dut.i.valid.eq(self.valid), dut.i.payload.eq(step), dut.o.ready.eq(self.ready),
            dut.words.valid.eq(self.words), dut.quiet.eq(self.quiet),
        ]  # fmt: skip
        twice = step.norm if plan.norms else Const(0)
        array = step.unit == Unit.ARRAY
        m.d.comb += [Assume(step.last | array | twice), Assume(~(array & twice))]
        wanted = {"pad": step.pads, "constant": step.last * constants_record(plan).words(plan.bits)}
        further = further_records(plan)
        if further:
            m.d.comb += Assume(sum(step[name] for name in further) < 2)
            wanted["further"] = step.last * sum(
                step[name] * record.words(plan.bits) for name, record in further.items()
            )
        if plan.tables:
            m.d.comb += Assume(~step.loads | ((step.table > 0) & (step.table <= 1 << plan.tables)))
            wanted["table"] = Mux(step.last & step.loads, step.table, 0)
        wanted["weight"] = Mux(step.unit == Unit.ARRAY, plan.pout, 0)
        left = {kind: Signal(6, name=f"{kind}_left") for kind in self.KINDS if kind in wanted}
        taken, whole = {kind: getattr(dut, kind) for kind in left}, Const(1)
        m.d.comb += Assert(sum(taken.values()) == (dut.words.valid & dut.words.ready))
        for kind, count in left.items():
            m.d.comb += [Assert(~taken[kind] | (whole & (count != 0)))]
            whole = whole & (count == 0)
            m.d.sync += count.eq(count - taken[kind])
        for kind in ("table", "further", "constant"):
            m.d.comb += Assert(~taken.get(kind, 0) | self.quiet)
        busy, all_come = Signal(), Signal()
        m.d.comb += all_come.eq(sum(count - taken[kind] for kind, count in left.items()) == 0)
        with m.If(dut.o.valid & self.ready):
            m.d.sync += busy.eq(0)
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += [busy.eq(1), *(left[kind].eq(wanted[kind]) for kind in left)]
        m.d.comb += [
            Assert(dut.i.ready == ~busy), Assert(~dut.o.valid | (busy & all_come)),
            Assert(dut.i.ready | dut.o.valid | dut.words.ready | ~self.quiet),
        ]  # fmt: skip
        return m


@PLANS
def test_a_step_takes_its_words(tmp_path, plan):
    """Protects the stream of weights, which has no marks: a word too many or too few and all that follow are wrong."""
    found = reached_violation(LoaderContract(plan), tmp_path)
    assert found is None, found


class Impatient(StepLoader):
    """Does not wait for results on their way."""

    def elaborate(self, platform):
        given, self.quiet = self.quiet, Const(1)
        m = super().elaborate(platform)
        self.quiet = given
        return m


class Short(StepLoader):
    """Takes a word of weights too few."""

    def _to_weights(self, m, left):
        super()._to_weights(m, left)
        m.d.sync += left.eq(self.plan.pout - 2)


@pytest.mark.parametrize("dut", [Impatient, Short])
def test_a_step_that_takes_others_is_found(tmp_path, dut):
    """Protects the proof."""
    assert reached_violation(LoaderContract(PLAN, dut), tmp_path) is not None


class IssuerContract(wiring.Component):
    """A step issues a tap for each of its pixels, a pool for each place of their windows; at most the words of a pixel
    lie between two; its chunk is freed with the last one. The next step is taken then or later, and is, where all that
    it needs has been there for three cycles."""

    def __init__(self, plan, dut=Issuer):
        self.plan, self.dut = plan, dut(plan)
        super().__init__({
            "step": In(self.dut.i.payload.shape()), "valid": In(1), "loaded": In(self.dut.loaded.shape()),
            "room": In(self.dut.room.shape()), "residuals": In(self.dut.residuals.shape()), "rooted": In(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        step = self.step
        m.d.comb += [
            Assume(~ResetSignal()), dut.i.valid.eq(self.valid), dut.i.payload.eq(step), dut.loaded.eq(self.loaded),
            dut.room.eq(self.room), dut.residuals.eq(self.residuals),
        ]  # fmt: skip
        stays(m, dut.i)
        pool = step.unit != Unit.ARRAY
        rows, columns, high, wide = one_or_two(m, step, "rows", "columns", "kernel_rows", "kernel_columns")
        pixels = 1 << (rows + columns)
        m.d.comb += [
            Assume(step.pixels == pixels), Assume((step.result_words > 0) & (step.result_words <= 4)),
        ]  # fmt: skip
        twice = step.norm if self.plan.norms else Const(0)
        m.d.comb += Assume(~pool | step.last | twice)
        if self.plan.norms:
            m.d.comb += dut.there.eq(self.rooted)
        left, chunk, words, waits = Signal(5), Signal.like(step.chunk), Signal(3), Signal(3)
        ends = left == dut.issued
        m.d.sync += left.eq(left - dut.issued)
        m.d.sync += waits.eq(Mux(dut.issued | (left == 0), 0, waits + 1))
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += [
                left.eq(Mux(pool, pixels << (high + wide), pixels)), chunk.eq(Mux(step.frees, step.chunk, 0)),
                words.eq(step.result_words),
            ]  # fmt: skip
        last_tap = dut.issued & (left == 1)
        m.d.comb += [
            Assert(~dut.issued | (left != 0)), Assert(~dut.i.ready | ends),
            Assert((left == 0) | (waits < words)),
            Assert(dut.freed == Mux(last_tap, chunk, 0)),
        ]  # fmt: skip
        there = Signal(2)
        ahead = (self.loaded - step.until)[: len(step.until)]
        enough = (
            self.valid
            & ~ahead[-1]
            & (~step.last | ((self.room >= pixels * step.result_words) & (~step.residual | (self.residuals >= pixels))))
        )
        if self.plan.norms:
            enough = enough & (~step.scaling | self.rooted)
        m.d.sync += there.eq(Mux(enough & ~dut.i.ready, Mux(there == 3, 3, there + 1), 0))
        m.d.comb += Assert(~(self.valid & (left == 0) & (there == 3)))
        return m


PRODUCTS = small_plan(pixels=16, product=True)


@pytest.mark.parametrize("plan", guarded_but([PLAN, PRODUCTS, NORMED], PLAN), ids=["plain", "products", "norms"])
def test_a_step_issues_its_taps(tmp_path, plan):
    """Protects the end of a step, whatever its shape, and that none waits for what has come."""
    found = reached_violation(IssuerContract(plan), tmp_path)
    assert found is None, found


class Lavish(Issuer):
    """Frees its chunk with every tap."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.freed.eq(Mux(self.issued & self.step.frees, self.step.chunk, 0))
        return m


class Fearful(Issuer):
    """Begins no step while any result waits to be written."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        with m.If(self.room != self.plan.result_words):
            m.d.comb += self.i.ready.eq(0)
        return m


@pytest.mark.parametrize("dut", [Lavish, Fearful])
def test_a_step_that_issues_others_is_found(tmp_path, dut):
    """Protects the proof."""
    assert reached_violation(IssuerContract(PLAN, dut), tmp_path) is not None


class RecordContract(wiring.Component):
    """Records leave as their words came, the first word lowest, whenever they leave; whoever counts what has ``left``
    and claims room by it overruns nothing."""

    WORD, RECORDS = 2, 2

    def __init__(self, *, room=0):
        record = Record("pair", (RecordField(name="both", bits=2 * self.WORD, meaning="two words"),))
        # A queue reads nothing of a Plan but how wide its words are; none is as narrow as this one.
        self.dut = RecordQueue(SimpleNamespace(word_bits=self.WORD), record, records=self.RECORDS)
        self.room = self.dut.depth + room
        super().__init__({"word": In(self.WORD), "comes": In(1), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        claimed, count = Signal(4), Signal(4)
        words = Array(Signal(self.WORD, name=f"word{k}") for k in range(self.room + 3))
        given = dut.o.valid & self.ready
        m.d.comb += [
            Assume(~ResetSignal()), Assume(~self.comes | (claimed < self.room)), dut.word.eq(self.word),
            dut.valid.eq(self.comes), dut.o.ready.eq(self.ready),
            Assert(~dut.o.valid | (count >= 2)),
            Assert(~dut.o.valid | (dut.o.payload.both == words[0] | words[1] << self.WORD)),
        ]  # fmt: skip
        m.d.sync += [claimed.eq(claimed + self.comes - dut.left), count.eq(count + self.comes - 2 * given)]
        for k, word in enumerate(words):
            following = words[k + 2] if k + 2 < len(words) else 0
            m.d.sync += word.eq(Mux(self.comes & (count - 2 * given == k), self.word, Mux(given, following, word)))
        return m


def test_records_leave_as_they_came(tmp_path):
    """Protects the lists of descriptors and commands."""
    found = reached_violation(RecordContract(), tmp_path)
    assert found is None, found


def test_a_record_queue_that_is_overrun_is_found(tmp_path):
    """Protects the proof: a word more is sent than there is room for."""
    assert reached_violation(RecordContract(room=1), tmp_path) is not None
