"""The cocotb side of test_control_bus: AXI4-Lite and AXI4-Stream by cocotbext-axi, against a build with control."""

import random

import cocotb
from bus_watch import JOB, REGISTERS, Watch, bit, offset, value_of
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp, AxiStreamBus, AxiStreamSink, AxiStreamSource

IMAGES = [bytes.fromhex(image) for image in JOB.get("images", [])]
ANSWERS = {name: [bytes.fromhex(packet) for packet in packets] for name, packets in JOB.get("answers", {}).items()}


class Bench:
    def __init__(self, dut, share):
        self.dut = dut
        self.rng = random.Random(cocotb.RANDOM_SEED)
        reset = {"reset": dut.aresetn, "reset_active_level": False}
        self.bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.aclk, **reset)
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.aclk, **reset)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.aclk, **reset)
        if share:
            write, read = self.bus.write_if, self.bus.read_if
            for channel in (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel,
                            self.source, self.sink):  # fmt: skip
                channel.set_pause_generator(self.pauses(share))
        self.writes, self.reads = [], []
        self.address = self.data = False
        self.watch = Watch(dut, self.asking)

    def pauses(self, share):
        rng = random.Random(self.rng.random())
        while True:
            yield rng.random() < share

    def asking(self):
        """A read whose address came, or a write whose later part came; there is no other access meanwhile."""
        d = self.dut
        self.address |= bool(d.s_axil_awvalid.value) and bool(d.s_axil_awready.value)
        self.data |= bool(d.s_axil_wvalid.value) and bool(d.s_axil_wready.value)
        if self.address and self.data:
            self.address = self.data = False
            return True
        return bool(d.s_axil_arvalid.value) and bool(d.s_axil_arready.value)

    async def start(self):
        Clock(self.dut.aclk, 10, unit="ns").start(start_high=False)
        self.dut.aresetn.value = 0
        await ClockCycles(self.dut.aclk, 4)
        self.dut.aresetn.value = 1
        await RisingEdge(self.dut.aclk)
        cocotb.start_soon(self.watch.run())
        return self

    async def write(self, name, value, *, size=4, at=0):
        where = offset(name) if isinstance(name, str) else name
        answer = await with_timeout(self.bus.write(where + at, value.to_bytes(size, "little")), 50, "us")
        return answer.resp

    async def read(self, name, *, word=0):
        where = offset(name) if isinstance(name, str) else name
        answer = await with_timeout(self.bus.read(where + 4 * word, 4), 50, "us")
        return answer.resp, int.from_bytes(answer.data, "little")

    async def get(self, name):
        """The number in a register."""
        words = []
        for word in range(-(-REGISTERS[name]["width"] // 32)):
            resp, value = await self.read(name, word=word)
            assert resp == AxiResp.OKAY
            words.append(value)
        return sum(value << (32 * k) for k, value in enumerate(words))

    async def packets(self, count):
        return [bytes((await with_timeout(self.sink.recv(), 1, "ms")).tdata) for _ in range(count)]

    async def infer(self, answers):
        for image in IMAGES:
            self.source.send_nowait(image)
        assert await self.packets(len(IMAGES)) == answers

    async def until_idle(self):
        while not await self.get("status") & bit("status", "idle"):
            pass

    async def load(self, parts):
        for number, words in enumerate(parts):
            assert await self.write("memory_select", number) == AxiResp.OKAY
            for word in words:
                assert await self.write("memory_data", word) == AxiResp.OKAY
        assert await self.get("errors") == 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def it_says_what_it_is(dut):
    """Identification, sizes of the memories, and every register that never changes."""
    bench = await Bench(dut, 0).start()
    constants = {name: r["value"] for name, r in REGISTERS.items() if r["value"] is not None}
    assert {"magic", "map_version", "build", "stages", "memories"} == set(constants)
    assert {name: await bench.get(name) for name in constants} == constants
    assert await bench.get("status") == bit("status", "running")
    for memory in JOB["map"]["memories"]:
        await bench.write("memory_select", memory["number"])
        assert await bench.get("memory_width") == memory["width"]
        assert await bench.get("memory_depth") == memory["depth"]
    await bench.write("memory_select", len(JOB["map"]["memories"]))
    assert (await bench.get("memory_width"), await bench.get("memory_depth")) == (0, 0)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def what_is_not_there_is_refused(dut):
    """DECERR where there is no register, SLVERR where it allows no such access, and a sticky bit for either."""
    bench = await Bench(dut, 0).start()
    there = {r["offset"] + 4 * k for r in REGISTERS.values() for k in range(-(-r["width"] // 32))}
    for where in range(0, 1 << JOB["map"]["address_bits"], 4):
        if where in there and where < 0x80:
            continue
        resp, value = await bench.read(where)
        assert resp == (AxiResp.OKAY if where in there else AxiResp.DECERR), hex(where)
        if where not in there:
            assert value == 0
    assert await bench.get("errors") == bit("errors", "access")
    assert await bench.write("errors", bit("errors", "access")) == AxiResp.OKAY
    for name, register in REGISTERS.items():
        assert await bench.get("errors") == 0
        if register["access"] == "ro":
            assert await bench.write(name, 0xFFFFFFFF) == AxiResp.SLVERR, name
        elif register["access"] == "wo":
            assert (await bench.read(name))[0] == AxiResp.SLVERR, name
        else:
            continue
        assert await bench.get("errors") == bit("errors", "access")
        await bench.write("errors", bit("errors", "partial"))  # another bit: this one stays
        assert await bench.get("errors") == bit("errors", "access")
        await bench.write("errors", bit("errors", "access"))
    assert await bench.write(0x40 - 4, 1) == AxiResp.DECERR


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def strobes_are_honoured(dut):
    """A write changes the bytes it has; half a part of a word is no part."""
    bench = await Bench(dut, 0).start()
    await bench.write("memory_address", 0x11223344)
    assert await bench.write("memory_address", 0xAB, size=1, at=1) == AxiResp.OKAY
    assert await bench.get("memory_address") == 0x1122AB44
    await bench.write("memory_address", 0xCDEF, size=2, at=2)
    assert await bench.get("memory_address") == 0xCDEFAB44
    await bench.write("control", 0, size=1, at=1)  # not the byte with `run`
    assert await bench.get("status") == bit("status", "running")
    await bench.write("control", 0)
    await bench.write("memory_select", 0)
    assert await bench.write("memory_data", 7, size=2) == AxiResp.SLVERR
    assert await bench.get("errors") == bit("errors", "partial")
    assert await bench.get("memory_address") == 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize((("source", "sink"), [(0.0, 0.0), (0.5, 0.5), (0.0, 0.97)]))
async def counters_count(dut, source, sink):
    """Each equals what was counted at the signals, to the cycle; busy cycles are those of the cycle model, too."""
    bench = await Bench(dut, 0).start()
    bench.source.set_pause_generator(bench.pauses(source))
    bench.sink.set_pause_generator(bench.pauses(sink))
    await bench.infer(ANSWERS["own"])
    assert await bench.get("images_out") == len(IMAGES)
    await bench.write("control", bit("control", "run") | bit("control", "clear"))
    clear = bench.watch.asks[-1]
    rounds = 20 if sink > 0.9 else 2  # until every queue and ring is full
    for _ in range(rounds):
        for image in IMAGES:
            bench.source.send_nowait(image)
    assert await bench.packets(rounds * len(IMAGES)) == rounds * ANSWERS["own"]
    seen = {}
    names = [name for name, r in REGISTERS.items() if r["access"] == "ro" and r["value"] is None]
    for name in names:
        if name in ("status", "memory_width", "memory_depth"):
            continue
        seen[name] = await bench.get(name)
        read = bench.watch.asks[-(REGISTERS[name]["width"] // 32)]  # of the low word
        assert seen[name] == bench.watch.between(name, clear, read), name
    assert seen["images_in"] == seen["images_out"] == rounds * len(IMAGES)
    assert [seen[f"stage{k}_busy"] for k in range(len(JOB["busy"]))] == [b * rounds * len(IMAGES) for b in JOB["busy"]]
    assert (seen["output_stall"] > 0) == (sink > 0)
    assert sink < 0.9 or all(seen[f"stage{k}_stalled"] for k in range(len(JOB["busy"])))
    assert seen["stage0_starved"] and (source > 0 or seen["input_stall"])


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(share=[0.0, 0.3, 0.8])
async def other_weights_give_the_other_answers(dut, share):
    """Every memory, there and back, between images that went before and come after; any pauses on all seven channels.

    The padding that waits in the ring for the next image, and the words that have been fetched ahead, are new, too.
    """
    bench = await Bench(dut, share).start()
    for name in ("own", "other", "own", "other", "own"):
        await bench.write("control", 0)
        await bench.until_idle()
        await bench.load(JOB["parts"][name])
        await bench.write("control", bit("control", "run"))
        await bench.infer(ANSWERS[name])


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def the_functions_of_the_c_header_load_the_other_weights(dut):
    bench = await Bench(dut, 0.2).start()
    await bench.infer(ANSWERS["own"])
    for where, value in JOB["c_writes"]:
        assert await bench.write(where, value) == AxiResp.OKAY
    await bench.infer(ANSWERS["other"])
    assert await bench.get("errors") == 0
    await bench.write("control", 0)
    await bench.until_idle()
    await bench.load(JOB["parts"]["own"])  # a reset does not, and the next test begins with these


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def one_memory_alone_can_be_written(dut):
    """Every memory, and a single word at its address, changes what it should and nothing else."""
    bench = await Bench(dut, 0).start()
    await bench.write("control", 0)
    for memory, own, other in zip(JOB["map"]["memories"], JOB["parts"]["own"], JOB["parts"]["other"], strict=True):
        parts, last = memory["parts"], memory["depth"] - 1
        for words in (other, own):  # the last word alone, and back
            await bench.write("memory_select", memory["number"])
            await bench.write("memory_address", last)
            for part in words[last * parts :]:
                assert await bench.write("memory_data", part) == AxiResp.OKAY
            assert await bench.get("memory_address") == last + 1
        assert await bench.write("memory_data", 0) == AxiResp.SLVERR  # beyond the end
        assert await bench.get("errors") == bit("errors", "range")
        await bench.write("errors", bit("errors", "range"))
        if parts > 1:  # a word that was begun is begun anew
            await bench.write("memory_address", 0)
            await bench.write("memory_data", ~own[0] & 0xFFFFFFFF)
            await bench.write("memory_address", 0)
            for part in own[:parts]:
                await bench.write("memory_data", part)
    await bench.write("memory_select", len(JOB["parts"]["own"]))
    assert await bench.write("memory_data", 0) == AxiResp.SLVERR
    assert await bench.get("errors") == bit("errors", "range")
    await bench.write("control", bit("control", "run"))
    await bench.infer(ANSWERS["own"])


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def nothing_is_written_while_it_is_not_idle(dut):
    """Refused while it runs, and while an image is in flight after the stop; that image and its answers are whole."""
    bench = await Bench(dut, 0).start()
    assert await bench.write("memory_data", 1) == AxiResp.SLVERR  # runs, though no image has come
    assert await bench.get("errors") == bit("errors", "busy")
    await bench.write("errors", bit("errors", "busy"))

    stop_in = bench.pauses(0.9)
    bench.source.set_pause_generator(stop_in)
    for image in IMAGES[:2]:
        bench.source.send_nowait(image)
    while not await bench.get("status") & bit("status", "busy"):
        pass
    assert value_of("status", "in_flight", await bench.get("status")) == 1
    await bench.write("control", 0)
    refused = 0
    while not await bench.get("status") & bit("status", "idle"):
        resp = await bench.write("memory_data", ~JOB["parts"]["own"][0][0] & 0xFFFFFFFF)
        if resp == AxiResp.OKAY:  # it has become idle in between
            break
        refused += 1
        assert resp == AxiResp.SLVERR and await bench.get("errors") == bit("errors", "busy")
    assert refused > 3
    # The last one may have come when it had become idle: as long as an image is in flight, none has an effect.
    await bench.write("errors", bit("errors", "busy"))
    await bench.load(JOB["parts"]["own"][:1])
    assert await bench.packets(1) == ANSWERS["own"][:1]
    await ClockCycles(dut.aclk, 300)
    assert bench.sink.empty() and await bench.get("images_in") == 1, "the second image waits"
    await bench.write("control", bit("control", "run"))
    assert await bench.packets(1) == ANSWERS["own"][1:2]
