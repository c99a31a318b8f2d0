# amaranth: UnusedElaboratable=no
"""BUILD folders: what is in them, that other weights need no other RTL, and what they may replace."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import addax
import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.build import bind
from addax.hdl.dataflow.schedule import schedule
from addax.hdl.dataflow.stages import stages_of
from addax.hdl.folder.build import open_build
from addax.hdl.folder.generate import generate
from addax.hdl.folder.harness import HARNESS_BEATS
from addax.hdl.folder.vectors import sample_vectors
from addax.hdl.interface import expected_beats, pack_pixels
from addax.quant import golden
from addax.quant.files.archive import program_bytes
from addax.quant.formats import unsigned
from addax.quant.program import Convolution, Flatten, Program
from addax.sim.verilator import tool_environment
from builds import SEEDS, files_in, modules_in, retrained, verilog_of
from marks import guarded
from networks import Builder, random_moving, random_plan, random_program


@pytest.mark.parametrize("seed", guarded(SEEDS, SEEDS[-1]))
def test_a_build_holds_what_its_manifest_names_and_no_more(seed, built):
    build = built(seed)
    manifest = json.loads((build.path / "manifest.json").read_text())

    for entry in manifest["memories"]:
        text = (build.path / entry["file"]).read_bytes()
        assert hashlib.sha256(text).hexdigest() == entry["sha256"]
        words = text.decode().split()
        assert len(words) == entry["depth"]
        assert all(int(word, 16) < 1 << entry["width"] for word in words)
    assert sorted(files_in(build.path)) == sorted(
        [entry["file"] for entry in manifest["memories"]]
        + ["addax.json", "manifest.json", "plan.json", "program.addax", "stimulus.mem", "expected.mem"]
        + ["addax.v", "addax.vlt", "addax_harness.v", "addax_testbench.v"]
    )
    assert manifest["top"] == "addax" and "addax" in modules_in((build.path / "addax.v").read_text())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_build_can_be_opened_again(seed, built):
    program, plan = random_program(seed), random_plan(random_program(seed), seed)

    build = open_build(built(seed).path)

    assert program_bytes(build.program) == program_bytes(program)
    assert build.plan == plan
    assert build.schedule == schedule(bind(program, plan), program)
    assert build.manifest["schedule"] == build.schedule.to_json()
    assert [path.name for path in build.sources] == ["addax.v", "addax_harness.v"]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_manifest_tells_the_packet_and_the_pixels(seed, built):
    build = built(seed)
    channels, height, width = build.program.input.shape
    bits = build.program.score_format.bits

    manifest = build.manifest

    assert (manifest["beats"], manifest["data_in"]) == (height * width, 8 * channels)
    assert (manifest["answers"], manifest["data_out"]) == (build.program.classes + 1, bits)
    assert manifest["packet"]["score"] == {"bits": bits, "signed": True}
    assert manifest["capacity"] * manifest["beats"] <= HARNESS_BEATS < (manifest["capacity"] + 1) * manifest["beats"]
    ports = (build.path / "addax.v").read_text()
    assert re.search(rf"^  input +\[{8 * channels - 1}:0\] +s_axis_tdata,$", ports, re.MULTILINE)
    assert re.search(rf"^  output +\[{bits - 1}:0\] +m_axis_tdata,$", ports, re.MULTILINE)


@pytest.mark.parametrize("seed", SEEDS)
def test_stimulus_and_expected_are_the_images_and_their_results(seed, built):
    build = built(seed)
    vectors = sample_vectors(build.program, 3, seed)
    scores = golden.run(build.program, vectors).scores

    stimulus = [int(word, 16) for word in (build.path / "stimulus.mem").read_text().split()]
    expected = [int(word, 16) for word in (build.path / "expected.mem").read_text().split()]

    assert stimulus == [int(word) for word in pack_pixels(vectors)]
    assert expected == expected_beats(build.program, scores)


@pytest.mark.parametrize("seed", guarded(SEEDS, SEEDS[-1]))
def test_a_retrained_network_needs_no_new_rtl(seed, built, tmp_path):
    """Every number that training decides is data: the Verilog is the same to the byte, the memories are not."""
    build = built(seed)
    program = retrained(build.program, seed)

    other = generate(program, build.plan, tmp_path / "other", vectors=sample_vectors(program, 3, seed))

    assert verilog_of(other) == verilog_of(build)
    ours, theirs = files_in(build.path), files_in(other.path)
    for layer in (op.name for op in program.ops if isinstance(op, Convolution)):
        for kind in ("weights", "factors", "constants"):
            name = f"{build.prefix}_{layer}_{kind}.mem"
            assert ours[name] != theirs[name]


@pytest.mark.parametrize("seed", guarded(SEEDS, SEEDS[-1]))
def test_the_rtl_of_fixed_weights_is_narrower(seed, built):
    """The control to the test above: where the weights may matter, they do."""
    assert len(verilog_of(built(seed, fixed_weights=True))["addax.v"]) != len(verilog_of(built(seed))["addax.v"])


def test_a_build_does_not_depend_on_where_addax_lies_nor_on_hashing(built, tmp_path):
    """Two checkouts make the same bytes, in any process."""
    root = Path(addax.__file__).parent
    checkout = tmp_path / "elsewhere" / "addax"
    for part in ("hdl", "quant", "common"):
        shutil.copytree(root / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "__init__.py", checkout)
    build = built(7)
    script = (
        "import sys, addax\n"
        "from pathlib import Path\n"
        "from addax.hdl.folder.build import open_build\n"
        "from addax.hdl.folder.generate import generate\n"
        "from addax.hdl.folder.vectors import sample_vectors\n"
        "build = open_build(Path(sys.argv[1]))\n"
        "generate(build.program, build.plan, Path('out'), vectors=sample_vectors(build.program, 3, 7))\n"
        "print(addax.__file__)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(checkout.parent), "PYTHONHASHSEED": "12345"}

    done = subprocess.run(
        [sys.executable, "-c", script, str(build.path)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(checkout / "__init__.py"), "the copy must be what ran"
    assert files_in(tmp_path / "out") == files_in(build.path)


@pytest.mark.slow
@pytest.mark.guard
def test_every_process_writes_the_same_names(tmp_path):
    """What a set or a dictionary of hashes would shuffle: forks, joins and registers in one build."""
    program = random_moving(8)
    plan = replace(random_plan(program, 8), control="axi-lite")
    build = generate(program, plan, tmp_path / "here", vectors=sample_vectors(program, 1, 8))
    script = (
        "import sys\n"
        "from addax.hdl.folder.build import open_build\n"
        "from addax.hdl.folder.generate import generate\n"
        "from addax.hdl.folder.vectors import sample_vectors\n"
        "build = open_build(sys.argv[1])\n"
        "generate(build.program, build.plan, sys.argv[2], vectors=sample_vectors(build.program, 1, 8))\n"
    )

    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        out = tmp_path / f"out{seed}"
        subprocess.run([sys.executable, "-c", script, str(build.path), str(out)], env=environment, check=True)
        assert files_in(out) == files_in(build.path)


@pytest.mark.parametrize("prefix", ["net__rom", "a__", "two__under__scores"])
def test_a_prefix_that_may_hide_in_another_is_refused(prefix, tmp_path):
    """Two underscores end the prefix in names of modules: with them in it, two builds could have the same module."""
    program = random_program(2)

    with pytest.raises(UserError, match=f"^prefix must not hold '__', which .*, as '{prefix}' does$"):
        generate(program, random_plan(program, 2), tmp_path / "out", vectors=sample_vectors(program), prefix=prefix)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "one, other", [("alpha", "beta"), ("net", "net2"), ("net", "net_rom"), ("net", "net_pipeline")]
)
def test_builds_of_different_prefixes_share_no_module(one, other, built):
    """Two accelerators on one chip; also where one prefix begins with the other."""
    names = []
    for prefix in (one, other):
        modules = [name for text in verilog_of(built(7, prefix)).values() for name in modules_in(text)]
        assert len(modules) == len(set(modules)) > 10
        assert {prefix, f"{prefix}__rom", f"{prefix}__table", f"{prefix}_harness", f"{prefix}_testbench"} <= {*modules}
        assert all(re.match(rf"{prefix}(__\w+|_harness|_testbench)?$", name) for name in modules)
        names.append(set(modules))

    assert names[0].isdisjoint(names[1])


@pytest.mark.parametrize("prefix", ["", "1net", "_net", "net-a", "net a", "net.v", "../net", "né", "net\n", "$net"])
def test_a_prefix_that_is_no_identifier_is_refused(prefix, tmp_path):
    program = random_program(2)

    with pytest.raises(UserError, match="prefix must be a Verilog identifier that is no reserved word, not "):
        generate(program, random_plan(program, 2), tmp_path / "out", vectors=sample_vectors(program), prefix=prefix)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("prefix", ["module", "reg", "always", "logic", "checker", "unique0"])
def test_a_prefix_that_is_a_word_of_verilog_is_refused(prefix, tmp_path):
    """The top module would not compile."""
    program = random_program(2)

    with pytest.raises(UserError, match="prefix must be a Verilog identifier"):
        generate(program, random_plan(program, 2), tmp_path / "out", vectors=sample_vectors(program), prefix=prefix)


def test_a_plan_for_another_network_leaves_nothing_behind(tmp_path):
    program = random_program(2)

    with pytest.raises(UserError, match="the plan is for stages"):
        generate(program, random_plan(random_program(1), 1), tmp_path / "out", vectors=sample_vectors(program))
    assert list(tmp_path.iterdir()) == []


def test_images_of_another_shape_leave_nothing_behind(tmp_path):
    program = random_program(2)

    with pytest.raises(ValueError, match="pixels must be uint8 of shape"):
        generate(program, random_plan(program, 2), tmp_path / "out", vectors=np.zeros((2, 9, 9, 9), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_build_is_replaced_whole(built, tmp_path):
    out = tmp_path / "out"
    program = random_program(2)
    generate(program, random_plan(program, 2), out, vectors=sample_vectors(program), prefix="old")
    (out / "notes.txt").write_text("the user's own")
    build = built(7)

    generate(build.program, build.plan, out, vectors=sample_vectors(build.program, 3, 7))

    assert files_in(out) == {**files_in(build.path), "notes.txt": b"the user's own"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_may_become_a_build(built, tmp_path):
    build = built(7)

    generate(build.program, build.plan, tmp_path, vectors=sample_vectors(build.program, 3, 7))

    assert files_in(tmp_path) == files_in(build.path)


@pytest.mark.parametrize(
    "files, message",
    [
        ({"thesis.tex": "years of work"}, "is not an addax build folder; it is left alone"),
        ({"addax.json": '{"kind": "export"}', "a.mem": "00"}, "is not an addax build folder; it is left alone"),
        ({"addax.json": "not JSON"}, "is not an addax build folder; it is left alone"),
        ({"addax.json": "[]"}, "is not an addax build folder; it is left alone"),
        (None, "is a file; expected the name of a folder to write"),
    ],
    ids=["someone's work", "an export", "a broken marker", "a foreign marker", "a file"],
)
def test_anything_else_is_left_alone(files, message, built, tmp_path):
    out = tmp_path / "out"
    if files is None:
        out.write_text("a file")
    else:
        out.mkdir()
        for name, text in files.items():
            (out / name).write_text(text)
    build = built(7)

    with pytest.raises(UserError, match=message):
        generate(build.program, build.plan, out, vectors=sample_vectors(build.program))

    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    if files is None:
        assert out.read_text() == "a file"
    else:
        assert files_in(out) == {name: text.encode() for name, text in files.items()}


def test_memory_kinds_are_one_module_each(tmp_path):
    """What asks for block RAM says so in a module of its own; the rest of the text does not change."""
    program = random_program(1)
    plan = random_plan(program, 1)
    weighed = next(stage.name for stage in stages_of(program) if stage.weight_bits)
    asking = replace(plan, stages=tuple(
        replace(stage, memory="block") if stage.name == weighed else stage for stage in plan.stages
    ))  # fmt: skip
    texts = []
    for name, chosen in (("auto", plan), ("block", asking)):
        build = generate(program, chosen, tmp_path / name, vectors=sample_vectors(program, 1))
        texts.append(build.sources[0].read_text())

    auto, block = texts
    assert "ram_style" not in auto and "block_rom" not in auto
    assert block.count('ram_style = "block"') == 1
    assert re.search(rf"addax__block_rom #\([^;]*addax_{weighed}_weights\.mem", block, re.S)
    assert "\nmodule addax__rom " in block


def test_an_unknown_memory_is_refused():
    program = random_program(1)
    with pytest.raises(ValueError, match=r"memory of stage 'conv1' must be one of auto, block, not 'paper'"):
        replace(random_plan(program, 1).stages[0], memory="paper")


def test_layers_called_like_words_of_verilog_are_no_words_of_verilog(tmp_path):
    """Names of operations reach the RTL only behind a prefix of ours; Verilator reads the result."""
    b = Builder(np.random.default_rng(0), (1, 4, 4))
    b.convolution("adder", 2, size=3)
    b.requantise(unsigned(4))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("mult", 3)
    b.requantise(None, scores=True)
    given = b.program()
    words = dict(
        zip((op.name for op in given.ops[1:]), ("module", "logic", "begin", "reg", "always", "wire"), strict=True)
    )
    ops = [replace(op, name=words.get(op.name, op.name), source=words.get(op.source, op.source)) for op in given.ops]
    program = Program(ops=tuple(ops))

    build = generate(
        program, random_plan(program, 0), tmp_path / "build", vectors=sample_vectors(program), prefix="net"
    )

    done = subprocess.run(
        [shutil.which("verilator", path=tool_environment()["PATH"]), "--lint-only", "-Wno-fatal", "--top-module", "net",
         build.sources[0].name],
        capture_output=True, text=True, cwd=build.path, env=dict(tool_environment()),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-500:]
