"""What the blocks in front of lanes and between stages take on ECP5, beside what they took before issue 18's changes.

Windows and queues by themselves: synthesised by the pinned yosys, placed and routed by nextpnr out of context, the
median of three seeds. What they were is kept here, by the same commands on commit 25e050b.
"""

import json
from collections import Counter
from statistics import median

from addax.common.temporary import scratch_folder
from addax.hdl.maps.window import WindowBuffer
from addax.hdl.maps.window_shape import WindowShape
from addax.hdl.streams.queue import Queue
from addax.hdl.verilog.emit import to_verilog
from addax.reports.devices.devices import device
from addax.reports.devices.resources import Resources
from addax.reports.synth.place import place_netlist
from addax.reports.tools.run import run_tool, yosys_command

__all__ = ["BLOCKS", "block_sizes", "measured"]

SEEDS = (1, 2, 3)


def _window(**shape):
    return WindowBuffer(WindowShape(stride=1, bits=8, simd=1, lines=1, groups=1, **shape))


BLOCKS = {
    "window, 16 channels of 32 x 32, 3 x 3, 3 taps": lambda: _window(
        channels=16, height=32, width=32, kernel=(3, 3), padding=1, taps=3, rows=8
    ),
    "window, 6 channels of 14 x 14, 5 x 5": lambda: _window(
        channels=6, height=14, width=14, kernel=(5, 5), padding=0, taps=1, rows=12
    ),
    "window, 1 channel of 16 x 16, 5 x 5, 5 taps": lambda: _window(
        channels=1, height=16, width=16, kernel=(5, 5), padding=2, taps=5, rows=12
    ),
    "queue, 536 beats of 32 bits": lambda: Queue(32, depth=536, block=True),
}
BEFORE = {
    "window, 16 channels of 32 x 32, 3 x 3, 3 taps": (384, 142, 98.6),
    "window, 6 channels of 14 x 14, 5 x 5": (282, 108, 106.2),
    "window, 1 channel of 16 x 16, 5 x 5, 5 taps": (582, 141, 127.2),
    "queue, 536 beats of 32 bits": (136, 107, 171.2),
}
"""LUT4, flip-flops and MHz of each."""


def measured(component):
    """LUT4, flip-flops and MHz of ``component`` by itself."""
    with scratch_folder("blocks") as folder:
        (folder / "block.v").write_text(to_verilog(component, "block"))
        script = "read_verilog -sv block.v; synth_ecp5 -abc9 -top block -json block.json; tee -o cells.json stat -json"
        run_tool([*yosys_command(), "-q", "-p", script], folder, "yosys")
        cells = json.loads((folder / "cells.json").read_text())["design"]["num_cells_by_type"]
        found = Resources.of_cells(Counter(cells), "ecp5")
        target = device("ecp5-25k")
        clocks = [
            place_netlist(folder / "block.json", target, top="block", clock_mhz=200, seed=seed).fmax_mhz
            for seed in SEEDS
        ]
        return found.lut, found.ff, median(clocks)


def block_sizes(row):
    """One row for each size of each block."""
    for name, make in BLOCKS.items():
        now = measured(make())
        for value, before, unit in zip(now, BEFORE[name], ("LUT4", "FF", "MHz"), strict=True):
            row(name, value, unit, f"{before:g} before")
