# amaranth: UnusedElaboratable=no
"""Where streams part and meet, proved for any sources and readers at any time: no beat is lost, doubled or reordered, a
stalled output holds its beat, and where all sides are willing something moves."""

import pytest
from addax.hdl.maps.join import Join, JoinShape
from addax.hdl.streams.fork import Fork
from amaranth.hdl import Array, Assert, Assume, Cat, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from prove import reached_violation


def kept(m, port, check):
    """What is offered at ``port`` stays until it is taken."""
    payload = port.payload.as_value() if hasattr(port.payload, "as_value") else port.payload
    waiting, was = Signal(), Signal(len(payload))
    m.d.sync += [waiting.eq(port.valid & ~port.ready), was.eq(payload)]
    with m.If(waiting):
        m.d.comb += check(port.valid & (payload == was))


class ForkContract(wiring.Component):
    """Each reader gets each beat once; the next comes when all have this one, at once where all are willing."""

    BITS = 2

    def __init__(self, count, dut=Fork):
        self.dut = dut(self.BITS, count=count)
        super().__init__({"data": In(self.BITS), "valid": In(1), "ready": In(count)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.d.comb += [Assume(~ResetSignal()), dut.i.payload.eq(self.data), dut.i.valid.eq(self.valid)]
        kept(m, dut.i, Assume)
        readers = [getattr(dut, f"o{k}") for k in range(dut.count)]
        entered = dut.i.valid & dut.i.ready
        # How many beats each reader has had that the source still holds: none, or the one that stands there.
        ahead = [Signal(2, name=f"ahead{k}") for k in range(dut.count)]
        for k, reader in enumerate(readers):
            taken = reader.valid & reader.ready
            m.d.comb += [
                reader.ready.eq(self.ready[k]), Assert(~reader.valid | (dut.i.valid & (reader.payload == self.data))),
                Assert(~reader.valid | (ahead[k] == 0)), Assert(~entered | (ahead[k] + taken == 1)),
            ]  # fmt: skip
            m.d.sync += ahead[k].eq(ahead[k] + taken - entered)
            kept(m, reader, Assert)
        m.d.comb += Assert(~self.valid | ~self.ready.all() | dut.i.ready)
        return m


@pytest.mark.parametrize("count", [2, 3])
def test_fork(tmp_path, count):
    """Protects residual networks, in which a stream has two readers of different pace."""
    found = reached_violation(ForkContract(count), tmp_path)
    assert found is None, found


class Forgetful(Fork):
    """Does not remember who has had the beat."""

    def elaborate(self, platform):
        m = Module()
        readers = [getattr(self, f"o{k}") for k in range(self.count)]
        m.d.comb += self.i.ready.eq(Cat(reader.ready for reader in readers).all())
        for reader in readers:
            m.d.comb += [reader.payload.eq(self.i.payload), reader.valid.eq(self.i.valid)]
        return m


class Generous(Fork):
    """Goes on as soon as one reader has had the beat."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.i.ready.eq(self.o0.ready & self.o0.valid)
        return m


@pytest.mark.parametrize("dut", [Forgetful, Generous])
def test_a_fork_that_loses_or_doubles_is_found(tmp_path, dut):
    """Protects the proof."""
    assert reached_violation(ForkContract(2, dut), tmp_path) is not None


SHAPES = {
    "in turn": {"parts": (2, 1), "simd": 1},
    "at once": {"parts": (2, 3), "simd": 5},
    "constant between": {"parts": (1, 2, 1), "simd": 1, "constants": {1: (2, 1)}},
    "constant at once": {"parts": (1, 2), "simd": 3, "constants": {1: (3, 0)}},
    "constant at the end": {"parts": (2, 1), "simd": 1, "constants": {1: (2,)}},
}


class JoinContract(wiring.Component):
    """A pixel is the channels of its parts, in their order; a beat is taken from a source when it leaves."""

    BITS = 2

    def __init__(self, shape, dut=Join):
        self.shape, self.dut = shape, dut(shape)
        width = max(shape.takes) * self.BITS
        super().__init__({
            **{f"data{k}": In(width) for k in range(len(shape.streams))}, "valid": In(len(shape.streams)),
            "ready": In(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        s = self.shape
        sources = [getattr(dut, f"i{k}") for k in range(len(s.streams))]
        m.d.comb += [Assume(~ResetSignal()), dut.o.ready.eq(self.ready)]
        for k, source in enumerate(sources):
            m.d.comb += [source.payload.as_value().eq(getattr(self, f"data{k}")), source.valid.eq(self.valid[k])]
            kept(m, source, Assume)
        kept(m, dut.o, Assert)
        given = dut.o.valid & self.ready
        if s.at_once:
            parts = [self._beat(part, 0, sources) for part in range(len(s.parts))]
            m.d.comb += Assert(~dut.o.valid | (dut.o.payload.as_value() == Cat(parts)))
            m.d.comb += [Assert((source.valid & source.ready) == given) for source in sources]
            m.d.comb += Assert(~self.valid.all() | dut.o.valid)
            return m
        beats = [(part, beat) for part in range(len(s.parts)) for beat in range(s.beats[part])]
        place = Signal(range(len(beats)))
        m.d.sync += place.eq(Mux(given, Mux(place == len(beats) - 1, 0, place + 1), place))
        m.d.comb += Assert(~dut.o.valid | (dut.o.payload.as_value() == Array(
            self._beat(part, beat, sources) for part, beat in beats)[place]))  # fmt: skip
        for k, source in enumerate(sources):
            own = Array(part == s.streams[k] for part, _ in beats)[place]
            m.d.comb += Assert((source.valid & source.ready) == (given & own))
        m.d.comb += Assert(~self.valid.all() | dut.o.valid)
        return m

    def _beat(self, part, beat, sources):
        s = self.shape
        if part in s.constants:
            words = s.constants[part][beat * s.takes[part] : (beat + 1) * s.takes[part]]
            return sum(word << k * self.BITS for k, word in enumerate(words)) | Signal(len(words) * self.BITS)
        return sources[s.streams.index(part)].payload.as_value()


def shape_of(kind):
    return JoinShape(height=2, width=2, bits=JoinContract.BITS, **SHAPES[kind])


@pytest.mark.parametrize("kind", SHAPES)
def test_join(tmp_path, kind):
    """Protects concatenations, also with constants, which no source brings."""
    found = reached_violation(JoinContract(shape_of(kind)), tmp_path)
    assert found is None, found


class Hasty(Join):
    """Takes a beat of its source a cycle before it leaves."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.i0.ready.eq(1)
        return m


@pytest.mark.parametrize("kind", ["in turn", "at once"])
def test_a_join_that_loses_a_beat_is_found(tmp_path, kind):
    """Protects the proof."""
    assert reached_violation(JoinContract(shape_of(kind), Hasty), tmp_path) is not None
