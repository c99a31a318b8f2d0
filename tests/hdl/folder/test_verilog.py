"""The emitted Verilog in Verilog-2005 and in SystemVerilog, under two simulators' eyes, whatever a BUILD is made of."""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache

import addax
import pytest
from addax.hdl.folder.generate import generate
from addax.hdl.folder.vectors import sample_vectors
from addax.hdl.verilog.emit import LINT, runs_at_once, without_lint
from addax.hdl.verilog.keywords import KEYWORDS
from addax.reports.tools.run import yosys_command
from addax.sim.verilator import tool_environment
from marks import guarded_but
from networks import (
    random_built,
    random_chain,
    random_moving,
    random_plan,
    random_program,
    random_reshaping,
    random_residual,
    random_windows,
)  # fmt: skip
from plain_bench import icarus, needs_icarus, sources

KINDS = {
    "adder and mult": (random_program, 7, {}),
    "all kernels and thresholds": (random_chain, 7, {}),
    "other lanes": (random_chain, 5, {"structures": True}),
    "windows of all kinds": (random_windows, 9, {}),
    "a residual": (random_residual, 2, {}),
    "joins and moves": (random_moving, 8, {}),
    "slopes and slices": (random_built, 1, {}),
    "pixels moved": (random_reshaping, 6, {}),
    "weights that stay": (random_residual, 3, {"fixed_weights": True}),
    "axi-lite": (random_chain, 1, {"control": "axi-lite"}),
    "wishbone": (random_program, 5, {"control": "wishbone"}),
    "ecp5": (random_chain, 7, {"fabric": "ecp5"}),
    "xc7": (random_chain, 7, {"fabric": "xc7"}),
    "xcup": (random_chain, 7, {"fabric": "xcup"}),
}
"""Everything that a BUILD can be made of, in small: network, seed, and what differs from the default plan."""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The build of each of `KINDS`, made once. Not to be changed."""

    @cache
    def make(kind):
        network, seed, options = KINDS[kind]
        program, options = network(seed), dict(options)
        control = options.pop("control", "none")
        plan = replace(random_plan(program, seed, **options), control=control)
        folder = tmp_path_factory.mktemp("build") / "out"
        return generate(program, plan, folder, vectors=sample_vectors(program, 2, seed))

    return make


EVERY_KIND = pytest.mark.parametrize("kind", guarded_but(KINDS, *list(KINDS)[::3]))


@needs_icarus
@EVERY_KIND
def test_verilog_2005_and_systemverilog_give_the_same(kind, built, tmp_path):
    """Also of lanes in device form: their cells are in the folder. Run from another folder, as a user may."""
    old, new = (icarus(built(kind).path, standard=standard, where=tmp_path) for standard in (2005, 2012))

    assert old == new
    assert re.fullmatch(r"PASS: 2 images, \d+ beats, \d+ cycles\n", old.text), old.text
    assert old.status == 0


def linted(arguments, *, where):
    """What Verilator warns of."""
    ran = subprocess.run(
        ["verilator", "--lint-only", *map(str, arguments)], cwd=where, env=tool_environment(), capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    return ran.returncode, [line for line in ran.stderr.splitlines() if line.startswith("%")]


@EVERY_KIND
def test_verilator_has_nothing_to_say(kind, built, tmp_path):
    """Not of the accelerator by itself, nor with the test bench around it; with all its warnings, given the waiver."""
    build = built(kind)
    bench = sources(build.path)
    alone = [path for path in bench if path.name in ("addax.v", "addax_cells.v")]

    assert linted(alone, where=tmp_path) == (0, [])
    assert linted(["--timing", *bench], where=tmp_path) == (0, [])
    assert linted(["--timing", "-Wall", build.path / "addax.vlt", *bench], where=tmp_path) == (0, [])


@pytest.mark.parametrize("language", ["1364-2005", "1800-2017"])
def test_verilator_reads_both_languages(language, built, tmp_path):
    """Without a word, the text of the accelerator alone: it has no extension that would let Verilator guess."""
    for kind in guarded_kinds():
        alone = [path for path in sources(built(kind).path) if path.name in ("addax.v", "addax_cells.v")]
        assert linted(["--language", language, *alone], where=tmp_path) == (0, []), kind


def test_yosys_reads_both_languages(built, tmp_path):
    """What synthesises has a reader of its own, whose two dialects must both find all modules."""
    script = [
        f"read_verilog {option} {kind}.v; hierarchy -check -top addax; design -reset"
        for kind in range(len(guarded_kinds())) for option in ("", "-sv")
    ]  # fmt: skip
    for k, kind in enumerate(guarded_kinds()):
        shutil.copy(built(kind).sources[0], tmp_path / f"{k}.v")
        for memory in built(kind).path.glob("*.mem"):
            shutil.copy(memory, tmp_path)
    (tmp_path / "read.ys").write_text("\n".join([*script, ""]))

    ran = subprocess.run([*yosys_command(), "-q", "-s", "read.ys"], cwd=tmp_path, capture_output=True, text=True)

    assert (ran.returncode, ran.stdout) == (0, ""), ran.stdout + ran.stderr
    assert "rror" not in ran.stderr


def guarded_kinds():
    """A third of `KINDS`, without cells of a device, which only their maker's library defines."""
    return [kind for kind in list(KINDS)[::3] if "fabric" not in KINDS[kind][2]]


def test_whoever_reads_a_build_finds_his_way(built):
    """No name is escaped or reserved; the top comes first, each module before what it holds, under a line of what it
    is; none is without the prefix."""
    for kind in guarded_kinds():
        text = built(kind).sources[0].read_text()
        assert "\\" not in text, kind
        modules = re.findall(r"^(?:// \S.*\n)module (\w+)", text, re.MULTILINE)
        assert modules == re.findall(r"^ *module (\S+)", text, re.MULTILINE), "one has no comment"
        assert modules[0] == "addax" and all(re.fullmatch(r"addax(__\w+)?", name) for name in modules)
        place = {name: k for k, name in enumerate(modules)}
        for name, body in zip(modules, text.split("\nmodule ")[1:], strict=True):
            inside = re.findall(r"^  (addax__\w+) ", body, re.MULTILINE)
            assert all(place[name] < place[inner] for inner in inside), name


STREAMS = [
    "aclk", "aresetn", "s_axis_tdata", "s_axis_tvalid", "s_axis_tready", "m_axis_tdata", "m_axis_tvalid",
    "m_axis_tready", "m_axis_tlast",
]  # fmt: skip


@pytest.mark.parametrize("kind, prefix", [("adder and mult", None), ("axi-lite", "s_axil_"), ("wishbone", "wb_")])
def test_the_ports_of_the_top_stand_as_in_the_data_sheet(kind, prefix, built):
    """Clock and reset, images, answers, registers: docs/hardware.md has the same order."""
    head = re.search(r"^module addax \((.*?)\n\);", built(kind).sources[0].read_text(), re.MULTILINE | re.DOTALL)[1]

    ports = re.findall(r"^  (?:input|output) .* (\w+),?$", head, re.MULTILINE)
    groups = re.findall(r"^  // (\w+)", head, re.MULTILINE)

    assert ports[:9] == STREAMS and all(name.startswith(prefix) for name in ports[9:])
    assert (len(ports) > 9) == (prefix is not None)
    assert groups == ["Images", "Answers", "Registers"][: 2 if prefix is None else 3]


@pytest.mark.parametrize("kind", ["adder and mult", "pixels moved", "axi-lite"])
def test_the_head_says_what_the_build_is(kind, built):
    """The numbers are those of the manifest; a date would make every build another one."""
    build = built(kind)
    head = build.sources[0].read_text().partition("\n\n")[0].splitlines()
    manifest, schedule = build.manifest, build.schedule

    assert [line for line in head if not line.startswith("//") or len(line) > 120] == []
    said = {found[1]: found[2] for line in head if (found := re.match(r"// (\w+(?: by)?)  +(.*)", line))}
    assert said["Images"] == f"s_axis: {manifest['beats']:,} beats of {manifest['data_in']} bits each"
    assert said["Answers"] == f"m_axis: {manifest['answers']:,} beats of {manifest['data_out']} bits for each image"
    assert said["Latency"].startswith(f"{schedule.latency:,} cycles ")
    assert said["Interval"].startswith(f"{schedule.interval:,} cycles ")
    assert said["Written by"] == f"addax {addax.__version__}"
    assert ("Registers" in said) == (kind == "axi-lite")
    assert {"Clock", "Reset", "Handshake", "Memories", "Plan"} <= {*said}
    for stage in schedule.stages:
        assert re.search(rf" {stage.interval:,}  pipeline\.stage_{stage.name}$", said[stage.name])
    assert not re.search(r"\b20\d\d\b|\d\d:\d\d", "\n".join(head))


def test_the_waiver_is_needed_and_short(built, tmp_path):
    """The control to the test above: all of its rules are of warnings that come without it, and there are few."""
    build = built("axi-lite")
    rules = re.findall(r"^lint_off -rule (\w+)", (build.path / "addax.vlt").read_text(), re.MULTILINE)

    _, said = linted(["--timing", "-Wall", *sources(build.path)], where=tmp_path)

    assert {re.match(r"%Warning-(\w+)", line)[1] for line in said if line.startswith("%Warning")} == {*rules}
    assert len(rules) <= 4


def test_the_marks_hide_nothing_outside_their_text(tmp_path):
    """A mistake of a user's, in a file behind ours, is still said."""
    (tmp_path / "ours.v").write_text(
        without_lint("module ours(input [3:0] a, output [4:0] b);\nassign b = a;\nendmodule\n")
    )
    (tmp_path / "top.v").write_text(
        "module top(input [3:0] a, output [4:0] b, output [4:0] c);\nours ours (a, b);\nassign c = a;\nendmodule\n"
    )

    status, said = linted(["ours.v", "top.v"], where=tmp_path)

    assert status != 0 and [line for line in said if "WIDTHEXPAND" in line and "top.v:3" in line]
    assert not [line for line in said if "ours.v" in line]
    assert "WIDTHEXPAND" in LINT


YOSYS = """module top(a);
  reg \\$auto$verilog_backend.cc:2355:dump_module$1  = 0;
  output [1:0] a;
  reg [1:0] a;
  always @* begin
    if (\\$auto$verilog_backend.cc:2355:dump_module$1 ) begin end
    a = 2'h2;
  end
endmodule
"""
"""A constant block as yosys writes it."""


@needs_icarus
@pytest.mark.parametrize("standard", [2005, 2012])
def test_a_block_of_constants_runs(standard, tmp_path):
    """What failed: such a block never ran in SystemVerilog, where initial values are no change."""
    bench = 'module bench;\nwire [1:0] a;\ntop top (a);\ninitial #1 $display("%b", a);\nendmodule\n'
    (tmp_path / "top.v").write_text(runs_at_once(YOSYS) + bench)

    subprocess.run(["iverilog", f"-g{standard}", "-o", "test", "-s", "bench", "top.v"], cwd=tmp_path, check=True)
    said = subprocess.run(["vvp", "-n", "test"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    assert said == "10\n"


def test_every_block_of_a_build_is_made_to_run(built):
    for kind in KINDS:
        text = built(kind).sources[0].read_text()
        assert "verilog_backend" not in text
        blocks = re.findall(r"^ *always @\*.*\n(.*)\n", text, re.MULTILINE)
        assert {line.strip() for line in blocks} <= {"if (_fire) begin end"}
        fired = [module for module in text.split("endmodule") if "if (_fire)" in module]
        assert all(module.count("reg _fire;\n  initial _fire <= 1'b1;") == 1 for module in fired)


def test_a_block_that_might_never_run_is_refused():
    """Another yosys might write blocks otherwise; then no Verilog is written, instead of one that waits for ever."""
    text = YOSYS.replace("    if (\\$auto$verilog_backend.cc:2355:dump_module$1 ) begin end\n", "")

    with pytest.raises(ValueError, match=r"a block that might never run: always @\* begin"):
        runs_at_once(text)


def test_the_reserved_words_are_those_of_the_standard():
    """Annex B of IEEE 1800-2017 has 248."""
    assert len(KEYWORDS) == 248
    assert {"logic", "unique0", "interconnect", "s_until_with", "reg", "endmodule"} <= KEYWORDS


@pytest.mark.slow
@pytest.mark.guard
def test_the_test_bench_runs_under_verilator(built, tmp_path):
    """As its head says; a wrong word in a memory ends it with another status, and an overruled folder is used."""
    build = built("all kernels and thresholds")
    folder = shutil.copytree(build.path, tmp_path / "moved")
    arguments = ["verilator", "--binary", "--timing", "-j", "2", "-o", "test", *map(str, sources(folder))]
    subprocess.run(arguments, cwd=tmp_path, env=tool_environment(), check=True, capture_output=True, timeout=300)

    def said(*more):
        ran = subprocess.run(
            [str(tmp_path / "obj_dir" / "test"), *more], cwd=tmp_path, capture_output=True, text=True, env=os.environ
        )
        return ran.returncode, ran.stdout

    status, text = said()
    assert status == 0 and text.startswith("PASS: 2 images")
    (folder / "expected.mem").write_text("0\n" * len((folder / "expected.mem").read_text().split()))
    status, text = said()
    assert status != 0 and re.search(r"^FAIL: \d+ wrong beats$", text, re.MULTILINE)
    assert said(f"+folder={build.path}")[0] == 0
