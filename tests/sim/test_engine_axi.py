# amaranth: UnusedElaboratable=no
"""Engines on a memory that somebody else has written: cocotbext-axi's, which checks and stalls as it likes."""

import json
import random
import re

import numpy as np
import pytest
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.top import EngineTop
from addax.hdl.folder.engine import generate_engine
from amaranth.lib.wiring import In
from bus_sim import OpenRunner, built
from engine_executor import executed
from engine_networks import engine_program, small_plan, super_resolution

pytestmark = pytest.mark.slow
SIZE = 1 << 19
PLANS = {
    64: small_plan(control="none", outstanding=5, feature_bytes=4096),
    128: small_plan(control="none", pin=8, pout=8, memory_bits=128, burst=4, feature_bytes=8192, weight_bytes=2048),
    256: small_plan(control="none", pin=16, pout=16, memory_bits=256, feature_bytes=16384, weight_bytes=4096),
    512: small_plan(
        control="none", pin=32, pout=32, memory_bits=512, burst=8, pixels=64, feature_bytes=32 * 1024,
        weight_bytes=16 * 1024, kernels=("adder",),
    ),
}  # fmt: skip


def around(plan, prefix):
    """A module of registers and wires around an engine, among them the identifiers that it looks at no more."""
    lines, joined = [], []
    for name, member in EngineTop(plan).signature.members.items():
        width = member.shape if isinstance(member.shape, int) else len(member.shape)
        lines.append(f"    {'reg' if member.flow == In else 'wire'} [{width - 1}:0] {name};")
        joined.append(f".{name}({name})")
    named = "\n".join([*lines, "    reg [0:0] m_axi_rid;", "    reg [0:0] m_axi_bid;"])
    return f"`timescale 1ns / 1ps\nmodule around;\n{named}\n    {prefix} dut ({', '.join(joined)});\nendmodule\n"


@pytest.mark.parametrize("bits", [pytest.param(64, marks=pytest.mark.guard), 128, 256, 512])
def test_another_memory_gives_the_same_words(bits, tmp_path):
    """Every word of memory after a run, wherever the image stands, and no byte beside it; one start after the other;
    a memory that never waits, and one that pauses on every channel for a third and two thirds of the time."""
    plan = PLANS[bits]
    build = generate_engine(plan, tmp_path / "build")
    (tmp_path / "around.v").write_text(around(plan, build.prefix))
    cases, expected = [], []
    for number, share in enumerate((0, 0.3, 0.7)):
        rng = np.random.default_rng(number)
        make = super_resolution if number == 1 else engine_program
        program = (
            make(300 + number, bits=16) if bits < 512 else engine_program(7000 + number, bits=16, kernels=("adder",))
        )
        image = compiled(program, plan, reuse=number == 2)
        pixels = rng.integers(0, 256, program.input.shape)
        memory = image.with_input(pixels).tobytes()
        address = 4096 * int(rng.integers(0, (SIZE - len(memory)) // 4096 + 1))
        (tmp_path / f"memory{number}").write_bytes(memory)
        whole = bytearray(random.Random(number).randbytes(SIZE))
        whole[address : address + len(memory)] = executed(image, pixels).tobytes()
        expected.append(bytes(whole))
        cases.append({
            "memory": f"memory{number}", "result": f"result{number}", "address": address, "first": image.first,
            "share": share,
        })  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps({"size": SIZE, "word_bytes": plan.word_bytes, "cases": cases}))

    runner = OpenRunner()
    built(runner, (*build.sources[:1], tmp_path / "around.v"), "around", tmp_path / "simulator")
    runner.test(
        test_module="engine_axi_bench", hdl_toplevel="around", hdl_toplevel_lang="verilog",
        build_dir=tmp_path / "simulator", test_dir=tmp_path, results_xml=str(tmp_path / "results.xml"), seed=1,
        log_file=tmp_path / "simulation.log",
    )  # fmt: skip

    assert not re.search("<failure|<error", (tmp_path / "results.xml").read_text()), (
        tmp_path / "simulation.log"
    ).read_text()[-4000:]
    for case, words in zip(cases, expected, strict=True):
        assert (tmp_path / case["result"]).read_bytes() == words, case
