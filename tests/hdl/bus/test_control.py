# amaranth: UnusedElaboratable=no
"""Builds with control: their ports, their register map in JSON, C and documentation; and builds without, which are
what they were."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import addax
import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.build import bind
from addax.hdl.dataflow.control_map import control_map
from addax.hdl.dataflow.plan import Plan
from addax.hdl.family import CONTROLS
from addax.hdl.folder.build import memory_images, open_build
from addax.hdl.folder.generate import generate
from addax.hdl.folder.vectors import sample_vectors
from addax.hdl.memory.image import Image, Rom, Table, WritePort
from addax.quant.program import Requantise
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator
from bus_sim import other_program, plan_of, program_of
from networks import random_chain, random_plan, random_program
from plain_bench import icarus, needs_icarus

BUSES = [control for control in CONTROLS if control != "none"]
PREFIXES = {"axi-lite": "alpha", "wishbone": "beta"}
STREAMS = {
    "aclk", "aresetn", "s_axis_tdata", "s_axis_tvalid", "s_axis_tready", "m_axis_tdata", "m_axis_tvalid",
    "m_axis_tready", "m_axis_tlast",
}  # fmt: skip


def build(folder, control, *, program=None, fixed_weights=False, prefix="addax"):
    program = program or program_of(1)
    plan = plan_of(program, control, fixed_weights=fixed_weights)
    return generate(program, plan, folder, vectors=sample_vectors(program, 2), prefix=prefix)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The build of a bus and a prefix, made once for all tests that only read it."""
    return cache(lambda control, prefix="addax": build(tmp_path_factory.mktemp("shared") / "b", control, prefix=prefix))


def map_of(program, plan):
    return control_map(program, bind(program, plan), plan, memory_images(program, plan))


def ports_of(made):
    """Of the top, as the Verilog has them."""
    (ports,) = re.findall(
        rf"^module {made.prefix}\s*\((.*?)\n\);", made.sources[0].read_text(), re.MULTILINE | re.DOTALL
    )
    return set(re.findall(r"^  (?:input|output) .* (\w+),?$", ports, re.MULTILINE))


@pytest.mark.parametrize("make", [random_program, random_chain])
def test_plans_from_before_there_was_control_have_none(make):
    """Plans saved by earlier versions stay readable and mean what they meant."""
    plan = random_plan(make(7), 7)
    without = {name: value for name, value in plan.to_json().items() if name != "control"}

    assert Plan.from_json(without) == plan and plan.control == "none"


def test_without_control_there_is_nothing_of_it(tmp_path):
    """Control must cost nothing where nobody asked for it."""
    made = build(tmp_path / "b", "none")
    text = made.sources[0].read_text()

    assert ports_of(made) == STREAMS
    assert not re.search(r"write_enable|reload|restart|busy_conv|module addax__(control|front)\b", text)
    assert not (made.path / "registers.json").exists() and not (made.path / "addax.h").exists()


@pytest.mark.parametrize("control", BUSES)
def test_control_adds_the_ports_of_its_bus(control, shared):
    ports = ports_of(shared(control))
    added = ports - STREAMS

    assert ports > STREAMS
    assert {name.split("_")[0] for name in added} == ({"s"} if control == "axi-lite" else {"wb"})
    if control == "axi-lite":
        channels = {
            "aw": {"addr", "prot", "valid", "ready"}, "w": {"data", "strb", "valid", "ready"},
            "b": {"resp", "valid", "ready"}, "ar": {"addr", "prot", "valid", "ready"},
            "r": {"data", "resp", "valid", "ready"},
        }  # fmt: skip
        assert added == {f"s_axil_{channel}{pin}" for channel, pins in channels.items() for pin in pins}
    else:
        inputs, outputs = ("cyc", "stb", "we", "adr", "sel", "dat"), ("dat", "ack", "err")
        assert added == {f"wb_{pin}_i" for pin in inputs} | {f"wb_{pin}_o" for pin in outputs}


def test_without_counters_the_rest_is_as_it_was(shared, tmp_path):
    """Identification, status, reload stay where they are; what counts is gone from the map, the header and the RTL."""
    whole = shared("axi-lite")
    program = whole.program
    slim = generate(program, replace(whole.plan, counters=False), tmp_path / "slim", vectors=sample_vectors(program, 2))
    all_of, few = (json.loads((made.path / "registers.json").read_text()) for made in (whole, slim))
    where = {register["name"]: register["offset"] for register in all_of["registers"]}
    gone = {name for name in where if re.match(r"cycles|(in|out)put_stall|images_|stage\d", name)}

    assert {register["name"]: register["offset"] for register in few["registers"]} == {
        name: offset for name, offset in where.items() if name not in gone
    }
    assert few["memories"] == all_of["memories"]
    assert open_build(slim.path).plan == slim.plan and not slim.plan.counters
    texts = [made.sources[0].read_text() for made in (whole, slim)]
    assert ["counters" in text for text in texts] == [True, False]
    assert "CLEAR" not in (slim.path / "addax.h").read_text() and "CYCLES" not in (slim.path / "addax.h").read_text()


def test_a_control_that_there_is_not_is_refused():
    plan = plan_of(program_of(1), "none")
    with pytest.raises(ValueError, match="control must be one of none, axi-lite, wishbone, not 'apb'"):
        replace(plan, control="apb")
    with pytest.raises(UserError, match="not a plan: control must be one of"):
        Plan.from_json({**plan.to_json(), "control": ["axi-lite"]})


@pytest.mark.parametrize("control", BUSES)
def test_other_weights_need_no_other_rtl(control, shared, tmp_path):
    """Nor another header, nor another map: their hash is of the build, not of its weights."""
    ours = shared(control)
    theirs = build(tmp_path / "b", control, program=other_program(ours.program, 77))
    assert memory_images(ours.program, ours.plan) != memory_images(theirs.program, theirs.plan)

    for name in ("addax.v", "addax_harness.v", "addax.h", "registers.json"):
        assert (ours.path / name).read_bytes() == (theirs.path / name).read_bytes(), name


def test_the_hash_tells_builds_apart():
    """Whatever changes the RTL changes it: Plan, formats, shapes, the input operation, shifts that are fixed."""
    program = program_of(1)
    plan = plan_of(program, "axi-lite")
    stage = plan.stages[0]
    shifted = replace(program, ops=tuple(
        replace(op, shift=op.shift + 1) if isinstance(op, Requantise) else op for op in program.ops
    ))  # fmt: skip
    chains = [random_chain(seed) for seed in range(6)]
    cases = [
        (program, plan),
        (program, replace(plan, control="wishbone")),
        (program, replace(plan, stages=(replace(stage, queue=stage.queue + 1), *plan.stages[1:]))),
        (program, plan_of(program, "axi-lite", fixed_weights=True)),
        (shifted, plan_of(shifted, "axi-lite", fixed_weights=True)),
        *((chain, replace(random_plan(chain, 0), control="axi-lite")) for chain in chains),
    ]

    assert len({map_of(*case)["build"].value for case in cases}) == len(cases)
    assert map_of(shifted, plan)["build"].value == map_of(program, plan)["build"].value


def test_memories_of_fixed_weights_cannot_be_written(tmp_path):
    """A build that is sized for its own weights takes no others, and pays for no write ports."""
    made = build(tmp_path / "b", "axi-lite", fixed_weights=True)

    assert map_of(made.program, made.plan).memories == ()
    assert json.loads((made.path / "registers.json").read_text())["memories"] == []
    assert "write_enable" not in made.sources[0].read_text()
    assert "MEMORY_conv" not in (made.path / "addax.h").read_text()


@pytest.mark.parametrize("control", BUSES)
def test_a_build_lists_its_map_and_its_header(control, shared):
    made, prefix = shared(control, PREFIXES[control]), PREFIXES[control]
    value = json.loads((made.path / "registers.json").read_text())
    registers = control_map(
        made.program, bind(made.program, made.plan), made.plan, memory_images(made.program, made.plan, prefix)
    )

    assert {"registers.json", f"{prefix}.h"} <= set(made.manifest["files"])
    assert open_build(made.path).plan.control == control
    assert (value["bus"], value["accelerator"]) == (control, prefix)
    assert {r["name"]: (r["offset"], r["width"], r["access"], r["value"]) for r in value["registers"]} == {
        r.name: (r.offset, r.width, r.access, r.value) for r in registers
    }
    assert value["stages"] == [stage.name for stage in made.plan.stages]
    assert [m["file"] for m in value["memories"]] == [entry["file"] for entry in made.manifest["memories"]]
    for memory, entry in zip(value["memories"], made.manifest["memories"], strict=True):
        assert (memory["width"], memory["depth"]) == (entry["width"], entry["depth"])
        assert memory["parts"] == -(-entry["width"] // 32)


def compiled(folder, text, *options):
    (folder / "main.c").write_text(text)
    strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    done = subprocess.run(
        ["gcc", *strict, *options, "-o", "main", "main.c"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return subprocess.run([folder / "main"], capture_output=True, text=True, check=True).stdout


def test_the_headers_of_two_accelerators_compile_together_and_say_what_the_map_says(shared, tmp_path):
    """Through memory at first, as on a processor with the registers mapped."""
    for control, prefix in PREFIXES.items():
        made = shared(control, prefix)
        shutil.copy(made.path / f"{prefix}.h", tmp_path)
        shutil.copy(made.path / "registers.json", tmp_path / f"{prefix}.json")
    registers = json.loads((tmp_path / "alpha.json").read_text())
    identity = next(r["value"] for r in registers["registers"] if r["name"] == "build")
    names = [r["name"] for r in registers["registers"] if not r["name"].startswith("stage") or r["name"] == "stages"]
    fields = [(r["name"], f) for r in registers["registers"] for f in r["fields"]]
    lines = [f'    printf("{name} %u\\n", ALPHA_{name.upper()}_OFFSET);' for name in names]
    lines += [
        f'    printf("{name}.{f["name"]} %u\\n", ALPHA_{name.upper()}_{f["name"].upper()}_MASK);' for name, f in fields
    ]
    lines += [
        f'    printf("stage1_{name} %u\\n", ALPHA_STAGE_{name.upper()}_OFFSET(1));'
        for name in ("busy", "starved", "stalled")
    ]
    for memory in registers["memories"]:
        macro = f"ALPHA_MEMORY_{memory['name'].removeprefix('alpha_')}"
        lines.append(f'    printf("{memory["name"]} %u %u %u\\n", {macro}, {macro}_WORDS, {macro}_PARTS);')

    said = compiled(tmp_path, f"""
#include <stdio.h>
#include "alpha.h"
#include "alpha.h"
#include "beta.h"
int main(void)
{{
    static uint32_t window[1024];
    window[ALPHA_MAGIC_OFFSET / 4] = ALPHA_MAGIC_VALUE;
    window[ALPHA_MAP_VERSION_OFFSET / 4] = ALPHA_MAP_VERSION_VALUE;
    window[ALPHA_BUILD_OFFSET / 4] = {identity & 0xFFFFFFFF}u;
    window[ALPHA_BUILD_OFFSET / 4 + 1] = {identity >> 32}u;
    window[ALPHA_STATUS_OFFSET / 4] = 4u;
    printf("is %d %d\\n", alpha_is_this_build(window), beta_is_this_build(window));
    printf("idle %d\\n", alpha_is_idle(window));
    printf("read64 %d\\n", alpha_read64(window, ALPHA_BUILD_OFFSET) == ALPHA_BUILD_VALUE);
    alpha_start(window);
    printf("run %u\\n", window[ALPHA_CONTROL_OFFSET / 4]);
    alpha_stop(window);
    printf("stop %u\\n", window[ALPHA_CONTROL_OFFSET / 4]);
{chr(10).join(lines)}
    return 0;
}}
""")  # fmt: skip

    said = dict(line.split(" ", 1) for line in said.splitlines())
    assert {said.pop(name): name for name in ("is", "idle", "read64", "run", "stop")} == {
        "1 0": "is", "1": "run", "0": "stop",
    }  # fmt: skip
    offsets = {r["name"]: r["offset"] for r in registers["registers"]}
    expected = {name: str(offsets[name]) for name in [*names, "stage1_busy", "stage1_starved", "stage1_stalled"]}
    expected |= {f"{name}.{f['name']}": str(((1 << f["width"]) - 1) << f["bit"]) for name, f in fields}
    expected |= {m["name"]: f"{m['number']} {m['depth']} {m['parts']}" for m in registers["memories"]}
    assert said == expected


def test_the_documentation_holds_the_map():
    """As the code makes it; none of it depends on the network."""
    program = program_of(1)
    table = map_of(program, plan_of(program, "axi-lite")).table()
    other = random_chain(7)
    assert map_of(other, replace(random_plan(other, 7), control="wishbone")).table() == table
    assert table in (Path(addax.__file__).parent / "docs" / "hardware.md").read_text(), f"put this into it:\n{table}"


@needs_icarus
@pytest.mark.parametrize("control", BUSES)
def test_the_test_bench_passes_with_nobody_on_the_bus(control, shared, tmp_path):
    """An accelerator runs from reset on, without a word of software. Under Icarus, where what is not driven shows."""
    made = shared(control)
    status, said = icarus(made.path, where=tmp_path)
    assert status == 0 and said.startswith("PASS: 2 images"), said


@pytest.mark.parametrize("kind", [Rom, Table])
def test_a_memory_that_is_written_reads_back(kind):
    """Only with the enable, only that word; the others stay."""
    image = Image(name="m", width=5, words=(1, 2, 3))
    enable, address, data = Signal(), Signal(4), Signal(5)
    m = Module()
    m.submodules.memory = dut = kind(image, prefix=None, write=WritePort(enable=enable, address=address, data=data))
    seen = []

    async def drive(ctx):
        for on, where, what in ((0, 0, 31), (1, 1, 30), (0, 2, 29)):
            ctx.set(enable, on)
            ctx.set(address, where)
            ctx.set(data, what)
            await ctx.tick()
        ctx.set(enable, 0)
        for where in range(3):
            ctx.set(dut.address, where)
            await ctx.tick()
            seen.append(ctx.get(dut.data))

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.run()

    assert seen == [1, 30, 3]
