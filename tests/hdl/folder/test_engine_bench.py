"""The plain test bench of an image for an engine: passes in the predicted cycles, fails on one wrong bit."""

import re
import shutil
import subprocess

import pytest
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.cycles.transfers import Memory
from addax.hdl.folder.engine import generate_engine
from addax.hdl.folder.engine_bench import write_engine_bench
from addax.sim.verilator import tool_environment
from engine_networks import engine_program, small_plan
from plain_bench import icarus, needs_icarus, sources

pytestmark = [pytest.mark.slow, pytest.mark.guard]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """An image and its bench; two beats in a word, and blocks of channels that are not full."""
    folder = tmp_path_factory.mktemp("bench")
    plan = small_plan(pin=8, pout=8, control="wishbone")
    image = compiled(engine_program(5, bits=16), plan)
    write_engine_bench(generate_engine(plan, folder / "engine", prefix="net"), image, folder / "bench")
    return image, folder / "bench"


@needs_icarus
@pytest.mark.parametrize("latency", [1, 20, 77])
def test_the_bench_passes_in_the_cycles_that_are_predicted(latency, written, tmp_path):
    """In a simulator of four values, which shares nothing with our own simulation; the folder alone is needed."""
    image, bench = written
    folder = shutil.copytree(bench, tmp_path / "run")

    status, text = icarus(folder, f"+latency={latency}", prefix="net")

    beats = sum(image.layouts[name].words for name in image.intact) * image.plan.beats
    cycles = predicted(image, Memory(latency=latency)).total
    assert (status, text) == (0, f"PASS: {len(image.intact)} tensors, {beats} beats, {cycles} cycles\n")


@needs_icarus
def test_the_bench_finds_its_files_from_any_folder(written, tmp_path):
    """As that of the dataflow family does: both share how they find them."""
    shutil.copytree(written[1], tmp_path / "a folder")
    (tmp_path / "work").mkdir()

    assert icarus(tmp_path / "a folder", prefix="net", where=tmp_path / "work").text.startswith("PASS")


@needs_icarus
def test_the_bench_fails_when_one_bit_is_wrong(written, tmp_path):
    """A test bench that cannot fail protects nothing: a bit of an expected word, then another picture in memory."""
    image, bench = written
    folder = shutil.copytree(bench, tmp_path / "run")
    lines = (folder / "expected.mem").read_text().splitlines()
    at = len(lines) - 1
    changed = f"{int(lines[at][-16:], 16) ^ 1:016x}"
    (folder / "expected.mem").write_text("\n".join([*lines[:at], lines[at][:-16] + changed, ""]))
    status, text = icarus(folder, prefix="net")
    assert status == 1 and "FAIL: 1 wrong beats" in text and "PASS" not in text
    assert re.search(rf"^{image.intact[-1]}, beat \d+: got [0-9a-f]+, expected {changed}$", text, re.MULTILINE)

    (folder / "expected.mem").write_text("\n".join([*lines, ""]))
    memory = (folder / "memory.mem").read_text().splitlines()
    first = image.areas[image.network.tensors[0]] * image.plan.beats
    (folder / "memory.mem").write_text("\n".join([*memory[:first], *["0" * 16] * (len(memory) - first), ""]))
    status, text = icarus(folder, prefix="net")
    assert status == 1 and re.search(r"^FAIL: \d+ wrong beats$", text, re.MULTILINE)


def test_the_bench_runs_under_verilator(written, tmp_path):
    """As its head says; compiled without a flag that silences it, so one warning would end it."""
    arguments = ["verilator", "--binary", "--timing", "-j", "2", "-o", "test", *map(str, sources(written[1], "net"))]
    subprocess.run(arguments, cwd=tmp_path, env=tool_environment(), check=True, capture_output=True, timeout=300)
    ran = subprocess.run([str(tmp_path / "obj_dir" / "test")], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0 and ran.stdout.startswith("PASS")


@needs_icarus
def test_the_bench_passes_in_device_form(tmp_path):
    """Features stand in block RAM that is an instance: its model lies beside, knows four values, and is wrong where
    a word is read while it is written. Verilator, too, has nothing to say of it."""
    plan = small_plan(fabric="ecp5", kernels=("adder",))
    image = compiled(engine_program(102, bits=16, kernels=("adder",)), plan)
    write_engine_bench(generate_engine(plan, tmp_path / "engine", prefix="net"), image, tmp_path / "bench")
    assert "DP16KD #(" in (tmp_path / "bench" / "net.v").read_text()

    status, text = icarus(tmp_path / "bench", "+latency=30", prefix="net")

    assert (status, text.split(":")[0]) == (0, "PASS")
    assert f" {predicted(image, Memory(latency=30)).total} cycles" in text
    names = [path.name for path in sources(tmp_path / "bench", "net") if "testbench" not in path.name]
    ran = subprocess.run(
        ["verilator", "--lint-only", "--top-module", "net_harness", *names], cwd=tmp_path / "bench",
        env=tool_environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (ran.returncode, [line for line in ran.stderr.splitlines() if line.startswith("%")]) == (0, [])
