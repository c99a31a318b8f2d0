# amaranth: UnusedElaboratable=no
"""The register map as one value, and the register file that is made of it."""

import pytest
from addax.hdl.bus.register_map import BusRegister, Field, RegisterMap
from addax.hdl.bus.registers import RegisterFile
from amaranth.sim import Simulator


def register(name, offset, *, width=32, access="ro", **more):
    return BusRegister(name=name, offset=offset, width=width, access=access, meaning="", **more)


def map_of(*registers, stages=(), stage_registers=()):
    return RegisterMap(
        registers=registers,
        stages=stages,
        stage_registers=stage_registers,
        stage_base=0x20,
        stage_stride=8,
        memories=(),
    )


@pytest.mark.parametrize(("make", "message"), [
    (lambda: register("two words", 0), "must be an identifier, not 'two words'"),
    (lambda: register("a", 2), "offset of a must be a multiple of 4, not 2"),
    (lambda: register("a", 4, width=64), "offset of a must be a multiple of 8, not 4"),
    (lambda: register("a", 0, width=33), r"width of a must be 1\.\.32, or 64 read only, not 33"),
    (lambda: register("a", 0, width=64, access="rw"), r"width of a must be 1\.\.32, or 64 read only, not 64"),
    (lambda: register("a", 0, access="rx"), "access of a must be one of ro, rw, wo, w1c, not 'rx'"),
    (lambda: register("a", 0, width=4, value=16), "a must be read only and hold its value, not 16"),
    (lambda: register("a", 0, width=4, fields=(Field(name="f", bit=4, meaning=""),)), "f lies outside a"),
    (lambda: map_of(register("a", 0, width=64), register("b", 4)), "b and a are both at 0x4"),
    (lambda: map_of(register("a", 0), register("a", 4)), "two registers are called a"),
    (
        lambda: map_of(register("a", 0x28), stages=("x", "y"), stage_registers=(register("b", 0),)),
        "stage1_b and a are both at 0x28",
    ),
])  # fmt: skip
def test_a_map_that_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


REGISTERS = (
    register("counter", 0x00, width=64),
    register("other", 0x08, width=64),
    register("constant", 0x10, width=64, value=0x0123456789ABCDEF),
    register("number", 0x18, access="rw"),
    register("flags", 0x1C, width=4, access="w1c"),
    register("port", 0x24, access="wo"),
)


def accesses(steps):
    """Run ``steps``, one per cycle without pause: (what to set at the ports, request or None); the responses."""
    file = RegisterFile(REGISTERS, address_bits=6)
    responses = []

    async def drive(ctx):
        for ports, request in [*steps, ({}, None)]:
            for path, value in ports.items():
                name, member = path.split(".")
                ctx.set(getattr(getattr(file.ports, name), member), value)
            ctx.set(file.request.valid, request is not None)
            if request is not None:
                where, data, strobe = request
                ctx.set(file.request.write, data is not None)
                ctx.set(file.request.address, where)
                ctx.set(file.request.data, data or 0)
                ctx.set(file.request.strobe, strobe)
            seen = (file.ports.number.written, file.ports.number.data, file.ports.flags.written, file.ports.flags.data,
                    file.ports.port.written, file.refused)  # fmt: skip
            answer = file.response
            _, _, valid, read, refused, absent, *now = await ctx.tick().sample(
                answer.valid, answer.data, answer.refused, answer.absent, *seen
            )
            responses.append(((valid, read, refused, absent), tuple(now)))

    sim = Simulator(file)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.run()
    return [answer for answer, _ in responses[1:]], [now for _, now in responses]


def test_reading_the_low_word_latches_the_high_one():
    """A counter that carries between the two reads, another one read in between: each has its own latch."""
    steps = [
        ({"counter.value": 0x1_FFFFFFFF, "other.value": 0x7_00000000}, (0x00, None, 0)),
        ({"counter.value": 0x2_00000000}, (0x08, None, 0)),
        ({"other.value": 0}, (0x04, None, 0)),
        ({}, (0x0C, None, 0)),
        ({}, (0x00, None, 0)),
        ({"counter.value": 0x9_00000000}, (0x04, None, 0)),
    ]

    answers, _ = accesses(steps)

    assert [read for _, read, _, _ in answers] == [0xFFFFFFFF, 0, 1, 7, 0, 2]
    assert {(valid, refused, absent) for valid, _, refused, absent in answers} == {(1, 0, 0)}


def test_a_write_to_the_low_word_latches_nothing():
    steps = [
        ({"counter.value": 0x5_00000000}, (0x00, None, 0)),
        ({"counter.value": 0x6_00000000}, (0x00, 1, 15)),
        ({}, (0x04, None, 0)),
    ]

    answers, _ = accesses(steps)

    assert answers == [(1, 0, 0, 0), (1, 0, 1, 0), (1, 5, 0, 0)]


def test_constants_strobes_and_what_is_refused():
    steps = [
        ({}, (0x10, None, 0)),
        ({}, (0x14, None, 0)),
        ({"number.value": 0x11223344}, (0x18, 0xAABBCCDD, 0b0101)),
        ({}, (0x18, 0xAABBCCDD, 0)),
        ({"flags.value": 0b1111}, (0x1C, 0b0110, 0b0001)),
        ({}, (0x1C, 0xFFFFFFFF, 0b0010)),
        ({}, (0x10, 1, 15)),
        ({}, (0x20, None, 0)),
        ({}, (0x24, None, 0)),
        ({"port.refuse": 0}, (0x24, 3, 15)),
        ({"port.refuse": 1}, (0x24, 3, 15)),
        ({}, None),
    ]

    answers, seen = accesses(steps)

    okay, refused, absent = (1, 0, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1)
    assert answers == [
        (1, 0x89ABCDEF, 0, 0), (1, 0x01234567, 0, 0), okay, okay, okay, okay, refused, absent, refused, okay, refused,
        (0, *refused[1:]),
    ]  # fmt: skip
    number = [(data if written else None) for written, data, *_ in seen[:4]]
    assert number == [None, None, 0x11BB33DD, None]
    flags = [(data if written else None) for _, _, written, data, *_ in seen[4:6]]
    assert flags == [0b0110, 0xFF00]
    assert [port for *_, port, _ in seen[9:12]] == [1, 0, 0]
    assert [k for k, (*_, refused) in enumerate(seen) if refused] == [6, 7, 8], "a port says itself why it refuses"
