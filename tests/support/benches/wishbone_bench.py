"""The cocotb side of test_control_bus for Wishbone: a master of classic cycles, written from the standard alone."""

import random

import cocotb
from bus_watch import JOB, REGISTERS, bit, offset
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiStreamBus, AxiStreamSink, AxiStreamSource

IMAGES = [bytes.fromhex(image) for image in JOB.get("images", [])]
ANSWERS = {name: [bytes.fromhex(packet) for packet in packets] for name, packets in JOB.get("answers", {}).items()}


class Master:
    """One access at a time, with ``gap`` cycles at most before each, at random; ``cyc`` may stay up in between.

    Checks on the way what the standard says of a slave: one answer, never two kinds at once, none that was not asked.
    """

    def __init__(self, dut):
        self.dut = dut
        self.rng = random.Random(cocotb.RANDOM_SEED)
        self.gap = 3
        for name in ("cyc_i", "stb_i", "we_i", "adr_i", "sel_i", "dat_i"):
            self.port(name).value = 0

    def port(self, name):
        return self.dut[f"wb_{name}"]

    async def edge(self):
        """One clock edge; the answer before it, or None."""
        await RisingEdge(self.dut.aclk)
        ack, err = bool(self.port("ack_o").value), bool(self.port("err_o").value)
        assert not (ack and err)
        assert not (ack or err) or (self.port("cyc_i").value == 1 and self.port("stb_i").value == 1)
        return (ack, self.port("dat_o").value.to_unsigned()) if ack or err else None

    async def access(self, where, *, write=None, sel=15):
        for _ in range(self.rng.randint(0, self.gap)):
            self.port("cyc_i").value = self.rng.randint(0, 1)
            self.port("stb_i").value = 0
            assert await self.edge() is None
        self.port("cyc_i").value = self.port("stb_i").value = 1
        self.port("we_i").value = int(write is not None)
        self.port("adr_i").value = where + self.rng.randrange(4)  # the lowest bits are not looked at
        self.port("sel_i").value = sel
        self.port("dat_i").value = write or 0
        for _ in range(10):
            answer = await self.edge()
            if answer is not None:
                self.port("stb_i").value = 0
                return answer
        raise AssertionError(f"no answer at {where:#x}")

    async def write(self, name, value, sel=15):
        return (await self.access(offset(name) if isinstance(name, str) else name, write=value, sel=sel))[0]

    async def get(self, name):
        words = [await self.access(offset(name) + 4 * k) for k in range(-(-REGISTERS[name]["width"] // 32))]
        assert all(ack for ack, _ in words)
        return sum(word << (32 * k) for k, (_, word) in enumerate(words))


async def start(dut):
    reset = {"reset": dut.aresetn, "reset_active_level": False}
    source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.aclk, **reset)
    sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.aclk, **reset)
    master = Master(dut)
    Clock(dut.aclk, 10, unit="ns").start(start_high=False)
    dut.aresetn.value = 0
    await ClockCycles(dut.aclk, 4)
    dut.aresetn.value = 1
    await RisingEdge(dut.aclk)
    return master, source, sink


async def infer(source, sink, answers):
    for image in IMAGES:
        source.send_nowait(image)
    got = [bytes((await with_timeout(sink.recv(), 500, "us")).tdata) for _ in IMAGES]
    assert got == answers


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def it_says_what_it_is_and_refuses_the_rest(dut):
    """Constants; an error for what is not there, or not this way; strobes."""
    master, _, _ = await start(dut)
    constants = {name: r["value"] for name, r in REGISTERS.items() if r["value"] is not None}
    assert {name: await master.get(name) for name in constants} == constants
    there = {r["offset"] + 4 * k for r in REGISTERS.values() for k in range(-(-r["width"] // 32))}
    absent = min(set(range(0, 1 << JOB["map"]["address_bits"], 4)) - there)
    assert await master.access(absent) == (False, 0)
    assert await master.get("errors") == bit("errors", "access")
    assert await master.write("errors", 15)
    assert not await master.write("magic", 1)
    assert not (await master.access(offset("memory_data")))[0]
    assert await master.get("errors") == bit("errors", "access")
    await master.write("memory_address", 0x11223344)
    assert await master.write("memory_address", 0xAABBCCDD, sel=0b0110)
    assert await master.get("memory_address") == 0x11BBCC44
    assert await master.write("memory_address", 0, sel=0)
    assert await master.get("memory_address") == 0x11BBCC44


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def it_loads_other_weights_and_only_while_idle(dut):
    master, source, sink = await start(dut)
    assert not await master.write("memory_data", 0)
    assert await master.get("errors") == bit("errors", "busy")
    await master.write("errors", 15)
    for name in ("own", "other", "own"):
        await master.write("control", 0)
        while not await master.get("status") & bit("status", "idle"):
            pass
        for number, words in enumerate(JOB["parts"][name]):
            await master.write("memory_select", number)
            for word in words:
                assert await master.write("memory_data", word)
        await master.write("control", bit("control", "run") | bit("control", "clear"))
        await infer(source, sink, ANSWERS[name])
        assert await master.get("images_in") == await master.get("images_out") == len(IMAGES)
        busy = [await master.get(f"stage{k}_busy") for k in range(len(JOB["busy"]))]
        assert busy == [b * len(IMAGES) for b in JOB["busy"]]
    assert await master.get("errors") == 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_cycle_that_is_given_up_gets_no_answer(dut):
    master, _, _ = await start(dut)
    for port, value in (("cyc_i", 1), ("stb_i", 1), ("we_i", 0), ("sel_i", 15), ("adr_i", 0)):
        master.port(port).value = value
    assert await master.edge() is None
    master.port("cyc_i").value = 0  # the answer would be here
    for _ in range(3):
        assert await master.edge() is None
    assert await master.get("magic") == REGISTERS["magic"]["value"]
