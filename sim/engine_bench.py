"""The cocotb side of a simulated engine: sets up the harness, starts it, waits, and writes down what it counted.

cocotb imports this module inside the simulator. All that happens at clock edges happens in the harness.
"""

import json
import time
from pathlib import Path

import cocotb
from cocotb.triggers import RisingEdge

__all__ = ["image_through_engine"]

_COUNTED = ("hung", "code", "cycles", "read_beats", "write_beats")


@cocotb.test
async def image_through_engine(dut: cocotb.handle.HierarchyObject) -> None:
    """Run the engine once over the memory in ``memory.mem``; outcome.json gets the counters of the harness."""
    for name, value in json.loads(Path("job.json").read_text()).items():
        getattr(dut, name).value = value
    begin = time.perf_counter()
    dut.start.value = 1
    await RisingEdge(dut.done)
    found = {name: int(getattr(dut, name).value) for name in _COUNTED}
    Path("outcome.json").write_text(json.dumps({**found, "seconds": time.perf_counter() - begin}))
