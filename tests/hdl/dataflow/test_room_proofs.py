# amaranth: UnusedElaboratable=no
"""A group of a stage never stalls: whoever begins one when `room_for` says so finds room for each of its beats, however
late they come and whatever the reader does. Proved by reachability, for queues with and without gathered beats."""

from types import SimpleNamespace

import pytest
from addax.hdl.dataflow.kinds.component import StageComponent
from addax.hdl.streams.beats import elements
from amaranth.hdl import Assert, Assume, Module, Mux, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from prove import reached_violation


class RoomContract(wiring.Component):
    """The room of a queue as stages use it: groups begin, their beats come some time later, in any rhythm."""

    outlet, room_for = StageComponent.outlet, StageComponent.room_for

    def __init__(self, *, queue, gather, group, claimed=None):
        # Of a stage and its build nothing else is read here.
        self.stage = SimpleNamespace(y=SimpleNamespace(bits=1))
        self.build = SimpleNamespace(
            gather=gather, out_count=1, group_beats=group if claimed is None else claimed,
            plan=SimpleNamespace(queue=queue),
        )  # fmt: skip
        self.group = group
        super().__init__({
            "begin": In(1), "comes": In(1), "o": Out(stream.Signature(elements(1, gather))), "idle": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        queue, entry = self.outlet(m)
        begins, on_the_way, waits = Signal(), Signal(4), Signal(3)
        free = self.room_for(m, queue, begins)
        m.d.comb += [
            Assume(~ResetSignal()), begins.eq(self.begin & free), Assume(~self.comes | (on_the_way != 0)),
            entry.valid.eq(self.comes), Assert(~self.comes | entry.ready),
        ]  # fmt: skip
        m.d.sync += on_the_way.eq(on_the_way + Mux(begins, self.group, 0) - self.comes)
        # Where the reader takes all there is and nothing is on the way, a group can begin again.
        resting = (on_the_way == 0) & self.o.ready & ~begins
        m.d.sync += waits.eq(Mux(resting, Mux(waits == 7, 7, waits + 1), 0))
        m.d.comb += Assert(free | (waits < 7))
        return m


SIZES = [(2, 1, 1), (3, 1, 2), (2, 2, 2), (2, 2, 4), (3, 2, 1), (2, 3, 3)]


@pytest.mark.parametrize("queue, gather, group", SIZES)
def test_a_group_never_stalls(tmp_path, queue, gather, group):
    """Protects the pipeline of lanes, which has no way to stop."""
    found = reached_violation(RoomContract(queue=queue, gather=gather, group=group), tmp_path)
    assert found is None, found


def test_a_group_that_claims_too_little_is_found(tmp_path):
    """Protects the proof: groups of two beats that claim room for one."""
    assert reached_violation(RoomContract(queue=3, gather=1, group=2, claimed=1), tmp_path) is not None
