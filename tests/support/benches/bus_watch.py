"""Inside the simulator: counts at every clock edge what the registers should say, from the signals themselves."""

import json
from pathlib import Path

from cocotb.triggers import RisingEdge

JOB = json.loads(Path("job.json").read_text()) if Path("job.json").is_file() else {}
REGISTERS = {register["name"]: register for register in JOB["map"]["registers"]} if JOB else {}


def offset(name):
    return REGISTERS[name]["offset"]


def bit(register, field):
    return next(1 << f["bit"] for f in REGISTERS[register]["fields"] if f["name"] == field)


def value_of(register, field, word):
    f = next(f for f in REGISTERS[register]["fields"] if f["name"] == field)
    return word >> f["bit"] & ((1 << f["width"]) - 1)


class Watch:
    """Totals of every counter after each clock edge since the start; ``edge`` is the number of the last one.

    ``asks`` holds the edge at whose end the bus gave an access to the registers: a front end says in which cycle that
    is, by ``asking``, from the signals at the ports alone.
    """

    def __init__(self, dut, asking):
        self.dut, self.asking = dut, asking
        self.totals, self.asks, self.edge = [], [], -1
        self.pixels = len(JOB["images"][0]) // 2 // (len(dut.s_axis_tdata) // 8)
        self.beats = 0

    def happens(self):
        d = self.dut
        out = bool(d.m_axis_tvalid.value), bool(d.m_axis_tready.value), bool(d.m_axis_tlast.value)
        valid, ready = bool(d.s_axis_tvalid.value), bool(d.s_axis_tready.value)
        self.beats += valid and ready
        found = {
            "cycles": 1,
            "input_stall": valid and not ready,
            "output_stall": out[0] and not out[1],
            "images_in": valid and ready and self.beats % self.pixels == 0,
            "images_out": all(out),
        }
        for k, name in enumerate(JOB["map"]["stages"]):
            stage = d.pipeline[f"stage_{name}"]
            found[f"stage{k}_starved"] = bool(stage.i__ready.value) and not stage.i__valid.value
            found[f"stage{k}_stalled"] = bool(stage.o__valid.value) and not stage.o__ready.value
            found[f"stage{k}_busy"] = bool(getattr(stage, JOB["works"][k]).valid.value)
        return found

    async def run(self):
        totals = {}
        while True:
            await RisingEdge(self.dut.aclk)
            self.edge += 1
            for name, happens in self.happens().items():
                totals[name] = totals.get(name, 0) + int(happens)
            self.totals.append(dict(totals))
            if self.asking():
                self.asks.append(self.edge)

    def between(self, name, clear, read):
        """What ``name`` shall say when it was set to zero by the access at edge ``clear`` and read by that at ``read``:
        the access of an edge is done in the cycle that begins there."""
        return self.totals[read][name] - self.totals[clear + 1][name]
