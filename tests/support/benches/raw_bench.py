"""The cocotb side of test_control_bus for a build with a raw result: packets, counters, reload."""

import cocotb
from axi_bench import ANSWERS, IMAGES, JOB, REGISTERS, Bench, bit


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(share=[0.0, 0.5])
async def packets_and_counters_are_right(dut, share):
    """An image is a packet; every counter of the ports and of moves equals what was counted at the signals."""
    bench = await Bench(dut, share).start()
    await bench.infer(ANSWERS["own"])
    await bench.write("control", bit("control", "run") | bit("control", "clear"))
    clear = bench.watch.asks[-1]
    await bench.infer(ANSWERS["own"])
    for name, register in REGISTERS.items():
        if register["access"] != "ro" or register["value"] is not None or name == "status" or "memory" in name:
            continue
        value = await bench.get(name)
        read = bench.watch.asks[-(register["width"] // 32)]  # of the low word
        assert value == bench.watch.between(name, clear, read), name
    assert await bench.get("images_in") == await bench.get("images_out") == len(IMAGES)
    assert [await bench.get(f"stage{k}_busy") for k in range(len(JOB["busy"]))] == [
        b * len(IMAGES) for b in JOB["busy"]
    ]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def other_values_give_other_results(dut):
    """Every memory, that of what a shift brings in among them."""
    bench = await Bench(dut, 0.2).start()
    for name in ("own", "other", "own"):
        await bench.write("control", 0)
        await bench.until_idle()
        await bench.load(JOB["parts"][name])
        await bench.write("control", bit("control", "run"))
        await bench.infer(ANSWERS[name])
