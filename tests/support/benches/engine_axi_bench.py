"""The cocotb side of test_engine_axi: an engine on the memory of cocotbext-axi, with pauses on every channel."""

import json
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiRam

JOB = json.loads(Path("job.json").read_text())


def pauses(seed, share):
    rng = random.Random(seed)
    while True:
        yield rng.random() < share


@cocotb.test
async def images_through_engine(dut):
    """Each case: its memory at an address of its own among random bytes, a run, and the whole memory afterwards."""
    for name in ("start", "base", "first", "m_axi_rid", "m_axi_bid"):
        getattr(dut, name).value = 0
    dut.aresetn.value = 0
    Clock(dut.aclk, 10, unit="ns").start(start_high=False)
    ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.aclk, dut.aresetn, reset_active_level=False, size=JOB["size"])
    write, read = ram.write_if, ram.read_if
    channels = write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel
    await ClockCycles(dut.aclk, 4)
    dut.aresetn.value = 1
    for number, case in enumerate(JOB["cases"]):
        for k, channel in enumerate(channels):
            channel.set_pause_generator(pauses(number * len(channels) + k, case["share"]))
        ram.write(0, random.Random(number).randbytes(JOB["size"]))
        ram.write(case["address"], Path(case["memory"]).read_bytes())
        dut.base.value, dut.first.value = case["address"] // JOB["word_bytes"], case["first"]
        await RisingEdge(dut.aclk)
        dut.start.value = 1
        await RisingEdge(dut.aclk)
        dut.start.value = 0
        await with_timeout(RisingEdge(dut.irq), 20, "ms")
        assert int(dut.error.value) == 0
        Path(case["result"]).write_bytes(ram.read(0, JOB["size"]))
