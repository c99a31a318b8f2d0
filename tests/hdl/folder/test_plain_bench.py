# amaranth: UnusedElaboratable=no
"""The plain Verilog test bench of a BUILD folder: passes from any folder, fails on one wrong word."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import addax
import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.build import default_stage_plan
from addax.hdl.dataflow.handshake import without_handshake
from addax.hdl.dataflow.plan import Plan
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.dataflow.stages import stages_of
from addax.hdl.folder.build import memory_images
from addax.hdl.folder.generate import generate
from addax.hdl.folder.harness import HARNESS_BEATS
from addax.hdl.folder.memories import export_memories
from addax.hdl.folder.vectors import hex_lines, sample_vectors
from addax.hdl.interface import expected_beats
from addax.quant import golden
from addax.quant.formats import unsigned
from addax.quant.program import Convolution, MaxPool, Program
from builds import SEEDS, files_in, retrained
from networks import Builder, random_plan, random_program
from perceptrons import perceptron
from plain_bench import icarus, needs_icarus, sources


@needs_icarus
@pytest.mark.parametrize("seed", SEEDS)
def test_the_test_bench_passes(seed, built, tmp_path):
    """With and without random stalls at both ends, which cost cycles and change nothing."""
    folder = shutil.copytree(built(seed).path, tmp_path / "run")

    said = [icarus(folder, *arguments) for arguments in ((), ("+stall=20000",))]

    cycles = []
    for status, text in said:
        assert status == 0
        beats = 3 * (built(seed).program.classes + 1)
        (line,) = text.strip().splitlines()
        match = re.fullmatch(rf"PASS: 3 images, {beats} beats, (\d+) cycles", line)
        assert match, text
        cycles.append(int(match[1]))
    assert cycles[1] > cycles[0]


@needs_icarus
@pytest.mark.parametrize("seed", SEEDS)
def test_a_reset_in_the_middle_of_an_image_leaves_nothing_behind(seed, built, tmp_path):
    """Reset wherever the first, the second or the last image stands: all images behind it are answered as ever."""
    folder = shutil.copytree(built(seed).path, tmp_path / "run")
    beats = built(seed).design.interface.beats

    for after in (1, beats // 2, beats + beats // 3, 3 * beats - 1):
        status, text = icarus(folder, "+stall=10000", f"+reset={after}")
        assert status == 0 and text.startswith("PASS: 3 images"), (after, text)


@needs_icarus
def test_the_test_bench_of_another_prefix_and_of_fixed_weights_passes(built, tmp_path):
    folder = shutil.copytree(built(7, "net", True).path, tmp_path / "run")

    assert icarus(folder, prefix="net").text.startswith("PASS: 3 images")


@needs_icarus
@pytest.mark.parametrize("standard", [2005, 2012])
def test_the_test_bench_finds_its_files_from_any_folder(standard, built, tmp_path):
    """Where it was compiled, by a relative name too, after the folder was moved; the folder stays as it is."""
    shutil.copytree(built(7).path, tmp_path / "first")
    folder = (tmp_path / "first").rename(tmp_path / "a folder of another name")
    (tmp_path / "work").mkdir()
    before = files_in(folder)

    for named in (folder, Path("..", folder.name)):
        status, text = icarus(named, standard=standard, where=tmp_path / "work")
        assert status == 0 and text.startswith("PASS: 3 images"), text

    assert files_in(folder) == before
    assert all(str(tmp_path).encode() not in data for data in before.values())


@needs_icarus
def test_the_test_bench_is_told_where_its_files_are(built, tmp_path):
    """Compiled in its folder by plain names, run elsewhere: ``+folder=`` says what no compiler can know."""
    folder = shutil.copytree(built(7).path, tmp_path / "run")
    assert icarus(folder).status == 0

    lost = subprocess.run(["vvp", "-n", folder / "test"], cwd=tmp_path, capture_output=True, text=True)
    told = subprocess.run(["vvp", "-n", folder / "test", "+folder=run"], cwd=tmp_path, capture_output=True, text=True)

    assert lost.returncode == 1 and "expected.mem" in lost.stdout + lost.stderr and "PASS" not in lost.stdout
    assert told.returncode == 0 and told.stdout.startswith("PASS: 3 images")


def test_the_readme_says_how_to_run_the_test_bench(built):
    """As the head of the test bench does."""
    line = next(line for line in (Path(addax.__file__).parent / "README.md").read_text().splitlines() if "vvp" in line)
    compiled = [Path(word).name for word in line.split() if word.startswith("build/")]

    assert "iverilog" in line and compiled == [path.name for path in sources(built(7).path)]


@needs_icarus
def test_two_accelerators_compile_together(built, tmp_path):
    """Beside each other on one chip; their memory files have folders of their own."""
    sources = [path for prefix in ("alpha", "beta") for path in built(7, prefix).sources]

    compiled = subprocess.run(
        ["iverilog", "-g2005", "-o", str(tmp_path / "test"), "-s", "alpha_harness", "-s", "beta_harness", *sources],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    assert compiled.returncode == 0, compiled.stderr


def with_a_weight_changed(build, vectors):
    """The Program with one weight of its last layer moved to the other end of its range, such that results change."""
    program = build.program
    scores = golden.run(program, vectors).scores
    layer = [op for op in program.ops if isinstance(op, Convolution)][-1]
    for index in np.ndindex(layer.weight.shape):
        weight = layer.weight.copy()
        fmt = layer.weight_format
        weight[index] = fmt.lo if weight[index] > (fmt.lo + fmt.hi) // 2 else fmt.hi
        changed = replace(layer, weight=weight)
        other = Program(ops=tuple(changed if op is layer else op for op in program.ops))
        if not np.array_equal(golden.run(other, vectors).scores, scores):
            return other, f"{build.prefix}_{layer.name}_weights.mem"
    raise AssertionError("no weight of the last layer matters")


@needs_icarus
@pytest.mark.parametrize("seed", SEEDS)
def test_the_test_bench_fails_when_one_word_of_weights_is_wrong(seed, built, tmp_path):
    """A test bench that cannot fail protects nothing."""
    build = built(seed)
    folder = shutil.copytree(build.path, tmp_path / "run")
    other, name = with_a_weight_changed(build, sample_vectors(build.program, 3, seed))
    (image,) = [image for image in memory_images(other, build.plan) if image.file == name]
    before = (folder / name).read_text().split()
    assert sum(a != b for a, b in zip(before, image.text().split(), strict=True)) == 1
    (folder / name).write_text(image.text())

    status, text = icarus(folder)

    assert status == 1
    assert re.search(r"^FAIL: \d+ wrong beats$", text, re.MULTILINE)
    assert re.search(r"^beat \d+: got [0-9a-f]+, expected [0-9a-f]+$", text, re.MULTILINE)
    assert "PASS" not in text


@needs_icarus
def test_the_memories_of_a_retrained_network_run_in_the_old_rtl(built, tmp_path):
    """What `export_memories` writes is all that a retrained network needs."""
    build = built(7)
    program = retrained(build.program, 7)
    vectors = sample_vectors(program, 3, 7)
    folder = shutil.copytree(build.path, tmp_path / "run")
    export_memories(build, tmp_path / "mem", program=program)
    for path in (tmp_path / "mem").glob("*.mem"):
        shutil.copy(path, folder)
    expected = expected_beats(program, golden.run(program, vectors).scores)
    assert hex_lines(expected, build.manifest["data_out"] + 1) != (folder / "expected.mem").read_text()
    (folder / "expected.mem").write_text(hex_lines(expected, build.manifest["data_out"] + 1))

    assert icarus(folder).text.startswith("PASS: 3 images")


def test_more_images_than_the_harness_holds_are_refused_or_fit(tmp_path):
    """A build whose own test bench cannot pass must not be written."""
    b = Builder(np.random.default_rng(0), (1, 64, 64))
    b.convolution("adder", 1, size=4, stride=4)
    b.requantise(unsigned(4))
    b.emit(MaxPool(name="pool", source=b.last, size=16, stride=1))
    b.convolution("mult", 2)
    b.requantise(None, scores=True)
    program, count = b.program(), HARNESS_BEATS // 64**2 + 1
    stages = tuple(default_stage_plan(stage, pe=1, simd=1, taps=1) for stage in stages_of(program))
    plan = Plan(family="dataflow", device="ecp5-45k", clock_mhz=50.0, fixed_weights=False, stages=stages)

    try:
        build = generate(program, plan, tmp_path / "out", vectors=sample_vectors(program, count))
    except UserError as error:
        assert str(count - 1) in str(error)
    else:
        assert build.manifest["capacity"] >= count


@pytest.mark.slow
@needs_icarus
@pytest.mark.parametrize("seed", range(40, 70))
def test_many_more_test_benches_pass(seed, tmp_path):
    program = random_program(seed)
    plan = random_plan(program, seed, fixed_weights=bool(seed % 2))
    generate(program, plan, tmp_path / "out", vectors=sample_vectors(program, 5, seed))

    for arguments in ((), ("+stall=20000",), ("+stall=50000",)):
        assert icarus(tmp_path / "out", *arguments).text.startswith("PASS: 5 images")


@needs_icarus
def test_a_design_without_handshake_is_driven_by_its_valids(tmp_path):
    """Neither ready is there; pauses of the source cost cycles, and a reset leaves nothing behind. One wrong word of
    its answers shows."""
    program = perceptron("mult", (6, 5, 3), seed=2)
    plan = fold(program, device="xc7z020", clock_mhz=100.0, fps=1e8, fixed_weights=True, compress=True)
    folder = generate(program, without_handshake(plan), tmp_path / "bare", vectors=sample_vectors(program, 9)).path

    said = [icarus(folder, *arguments) for arguments in ((), ("+stall=30000",), ("+stall=20000", "+reset=4"))]

    found = [re.match(r"PASS: 9 images, 9 beats, (\d+) cycles", text) for status, text in said if status == 0]
    assert len(found) == 3 and all(found)
    assert int(found[1][1]) > int(found[0][1])
    text = (folder / "addax.v").read_text() + (folder / "addax_harness.v").read_text()
    assert ".s_axis_tready" not in text and ".m_axis_tready" not in text
    words = (folder / "expected.mem").read_text().split()
    (folder / "expected.mem").write_text("\n".join([f"{int(words[0], 16) ^ 1:x}", *words[1:]]))
    assert "FAIL: 1 wrong beats" in icarus(folder).text
