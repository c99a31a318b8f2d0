# amaranth: UnusedElaboratable=no
"""BUILD folders: what is in them, that other weights need no other RTL, and that what does not fit is refused.

The test bench that every build carries is run under Icarus Verilog, which shares nothing with our own simulation.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import addax
import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.build import bind, default_stage_plan
from addax.hdl.dataflow.plan import Plan
from addax.hdl.dataflow.schedule import schedule
from addax.hdl.dataflow.stages import stages_of
from addax.hdl.folder.build import memory_images, open_build
from addax.hdl.folder.generate import HARNESS_BEATS, generate
from addax.hdl.folder.memories import export_memories
from addax.hdl.folder.vectors import hex_lines, sample_vectors
from addax.hdl.interface import expected_beats, pack_pixels
from addax.quant import golden
from addax.quant.files.archive import load_program, program_bytes
from addax.quant.formats import signed, unsigned
from addax.quant.program import AveragePool, Convolution, Flatten, MaxPool, Program, Requantise
from addax.sim.verilator import tool_environment
from hypothesis import given
from hypothesis import strategies as st
from networks import Builder, random_plan, random_program
from plain_bench import icarus, needs_icarus, sources

SEEDS = [1, 7, 19]
"""Networks of three and four stages with pools, padding and both kernels."""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The build of a random network; made once for each seed, prefix and kind. Not to be changed."""

    @cache
    def make(seed, prefix="addax", fixed_weights=False):
        program = random_program(seed)
        plan = random_plan(program, seed, fixed_weights=fixed_weights)
        out = tmp_path_factory.mktemp("build") / "out"
        return generate(program, plan, out, vectors=sample_vectors(program, 3, seed), prefix=prefix)

    return make


def retrained(program, seed):
    """The same network with every number that training decides made anew."""
    rng = np.random.default_rng(seed)
    ops = []
    for op in program.ops:
        if isinstance(op, Convolution):
            x = program.format(op.source)
            fmt = op.weight_format
            ops.append(
                replace(
                    op,
                    weight=rng.integers(fmt.lo, fmt.hi, op.weight.shape, endpoint=True),
                    pad=rng.integers(x.lo, x.hi, op.pad.shape, endpoint=True),
                )
            )
        elif isinstance(op, Requantise):
            last = op.name == program.ops[-1].source
            ops.append(
                replace(
                    op,
                    multiplier=rng.permutation(op.multiplier) + (0 if last else 1),
                    offset=rng.permutation(op.offset) - 1,
                    shift=op.shift + 1,
                    lo=op.lo if last else op.lo + 1,
                    hi=op.hi if last else op.hi - 1,
                )
            )
        else:
            ops.append(op)
    return Program(ops=tuple(ops))


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def modules_in(text):
    return [name.lstrip("\\") for name in re.findall(r"^\s*module\s+([^\s(#;]+)", text, re.MULTILINE)]


def verilog_of(build):
    return {path.name: path.read_text() for path in build.path.glob("*.v")}


@pytest.mark.parametrize("seed", SEEDS)
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
    assert f"input [{8 * channels - 1}:0] s_axis_tdata;" in ports
    assert f"output [{bits - 1}:0] m_axis_tdata;" in ports


@pytest.mark.parametrize("seed", SEEDS)
def test_stimulus_and_expected_are_the_images_and_their_results(seed, built):
    build = built(seed)
    vectors = sample_vectors(build.program, 3, seed)
    scores = golden.run(build.program, vectors).scores

    stimulus = [int(word, 16) for word in (build.path / "stimulus.mem").read_text().split()]
    expected = [int(word, 16) for word in (build.path / "expected.mem").read_text().split()]

    assert stimulus == [int(word) for word in pack_pixels(vectors)]
    assert expected == expected_beats(build.program, scores)


@pytest.mark.parametrize("seed", SEEDS)
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


@pytest.mark.parametrize("seed", SEEDS)
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


@pytest.mark.parametrize("one, other", [("alpha", "beta"), ("net", "net2"), ("net", "net_rom")])
def test_builds_of_different_prefixes_share_no_module(one, other, built):
    """Two accelerators on one chip; also where one prefix begins with the other."""
    names = []
    for prefix in (one, other):
        modules = [name for text in verilog_of(built(7, prefix)).values() for name in modules_in(text)]
        assert len(modules) == len(set(modules)) > 10
        assert {prefix, f"{prefix}.rom", f"{prefix}.table", f"{prefix}_harness", f"{prefix}_testbench"} <= {*modules}
        assert all(re.match(rf"{prefix}([._]|$)", name) for name in modules)
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


@pytest.fixture
def breakable(built, tmp_path):
    """A copy of a build that may be broken."""
    return Path(shutil.copytree(built(7).path, tmp_path / "broken"))


@pytest.mark.parametrize(
    "name, message",
    [
        ("addax.json", "is not a BUILD folder; make one with 'addax generate'"),
        ("program.addax", "expected an .addax file"),
        ("plan.json", "cannot read plan"),
        ("manifest.json", "cannot read manifest"),
        ("addax.v", "is a broken BUILD folder: addax.v is missing"),
        ("addax_harness.v", "is a broken BUILD folder: addax_harness.v is missing"),
    ],
)
def test_a_build_that_lacks_a_file_is_refused(name, message, breakable):
    (breakable / name).unlink()

    with pytest.raises(UserError, match=message):
        open_build(breakable)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("addax.json", "{", "is not a BUILD folder"),
        ("addax.json", "[]", "is not a BUILD folder"),
        ("addax.json", "{}", "is not a BUILD folder"),
        ("addax.json", '{"kind": "export"}', "is not a BUILD folder"),
        ("program.addax", "", "is not an .addax file"),
        ("plan.json", "", "is not a plan"),
        ("plan.json", "{}", "not a plan"),
        ("manifest.json", "{", "is not a manifest"),
        ("manifest.json", "{}", "manifest"),
        ("manifest.json", "[]", "manifest"),
        ("manifest.json", '{"prefix": "addax"}', "manifest"),
    ],
)
def test_a_build_with_a_broken_file_is_refused(name, content, message, breakable):
    (breakable / name).write_text(content)

    with pytest.raises(UserError, match=re.escape(message)):
        open_build(breakable)


def test_a_build_whose_manifest_names_another_prefix_is_refused(breakable):
    manifest = json.loads((breakable / "manifest.json").read_text())
    (breakable / "manifest.json").write_text(json.dumps({**manifest, "prefix": "other"}))

    with pytest.raises(UserError, match=r"broken is a broken BUILD folder: other\.v is missing"):
        open_build(breakable)


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_what_is_no_folder_of_ours_is_no_build(kind, tmp_path):
    path = tmp_path / "x"
    if kind == "empty":
        path.mkdir()
    elif kind == "file":
        path.write_text("x")

    with pytest.raises(UserError, match=r"x is not a BUILD folder; make one with 'addax generate'"):
        open_build(path)


def test_exported_memories_are_those_of_the_build(built, tmp_path):
    build = built(7)

    export_memories(build, tmp_path / "mem")

    exported = files_in(tmp_path / "mem")
    manifest = json.loads(exported.pop("manifest.json"))
    marker = json.loads(exported.pop("addax.json"))
    assert marker["kind"] == "export" and set(marker["files"]) == {"manifest.json", *exported}
    assert manifest == {"format": "mem", "memories": build.manifest["memories"]}
    inside = files_in(build.path)
    assert exported == {entry["file"]: inside[entry["file"]] for entry in build.manifest["memories"]}


@pytest.mark.parametrize("seed", SEEDS)
def test_exported_memories_of_a_retrained_network_are_those_of_its_own_build(seed, built, tmp_path):
    build = built(seed)
    program = retrained(build.program, seed)

    export_memories(build, tmp_path / "mem", program=program)

    exported = files_in(tmp_path / "mem")
    manifest = json.loads(exported.pop("manifest.json"))
    del exported["addax.json"]
    assert exported == {image.file: image.text().encode() for image in memory_images(program, build.plan)}
    for entry in manifest["memories"]:
        assert hashlib.sha256(exported[entry["file"]]).hexdigest() == entry["sha256"]


def test_an_export_never_replaces_a_build(built, breakable):
    before = files_in(breakable)

    with pytest.raises(UserError, match="is not an addax export folder; it is left alone"):
        export_memories(built(7), breakable)
    assert files_in(breakable) == before


UINT4 = unsigned(4)


def network(
    *, shape=(2, 7, 7), kernel="adder", size=2, stride=1, padding=0, channels=4, hidden=UINT4, average=False,
    pool=(2, 2), pool_padding=0, name="pool", dense="adder", classes=3, weight_bits=4,
):  # fmt: skip
    """A convolution, a pool to 3x3 pixels, and a dense layer."""
    b = Builder(np.random.default_rng(3), shape)
    b.convolution(kernel, channels, size, stride, padding, weight_bits)
    b.requantise(hidden)
    if average:
        b.emit(AveragePool(name=name, source=b.last, size=pool[0], stride=pool[1]))
        b.requantise(hidden)
    else:
        b.emit(MaxPool(name=name, source=b.last, size=pool[0], stride=pool[1], padding=pool_padding))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution(dense, classes, weight_bits=weight_bits)
    b.requantise(None, scores=True)
    return b.program()


OTHERS = {
    "more classes": {"classes": 4},
    "a larger image": {"shape": (2, 8, 7)},
    "another number of input channels": {"shape": (1, 7, 7)},
    "more channels": {"channels": 8},
    "wider activations": {"hidden": unsigned(5)},
    "signed activations": {"hidden": signed(4)},
    "another kernel": {"kernel": "mult", "weight_bits": 8},
    "another kernel of the dense layer": {"dense": "mult"},
    "a larger window": {"size": 3, "pool": (3, 1)},
    "another pool": {"average": True},
    "a pool of another name": {"name": "other"},
    "a pool of another size and stride": {"pool": (4, 1)},
    "another stride": {"stride": 2, "pool": (1, 1)},
    "padding": {"padding": 1, "size": 2, "pool": (4, 2)},
    "a padded pool": {"pool": (2, 3), "pool_padding": 1},
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The build that all of OTHERS must not be loaded into."""
    program = network()
    stages = tuple(default_stage_plan(stage, pe=1, simd=1, taps=1) for stage in stages_of(program))
    plan = Plan(family="dataflow", device="ecp5-45k", clock_mhz=50.0, fixed_weights=False, stages=stages)
    plan = replace(plan, stages=tuple(replace(stage, rows=20, queue=20) for stage in plan.stages))
    return generate(program, plan, tmp_path_factory.mktemp("reference") / "out", vectors=sample_vectors(program))


@pytest.mark.parametrize("difference", OTHERS)
def test_a_program_of_other_shapes_or_formats_is_refused(difference, reference, tmp_path):
    """The RTL computes one geometry in one set of formats; weights of another would give wrong numbers silently."""
    program = network(**OTHERS[difference])

    with pytest.raises(UserError, match=r"the plan|the build"):
        export_memories(reference, tmp_path / "mem", program=program)
    assert list(tmp_path.iterdir()) == []


def test_a_program_of_the_same_shapes_and_formats_is_accepted(reference, tmp_path):
    """The control to the test above."""
    export_memories(reference, tmp_path / "mem", program=retrained(network(), 1))

    assert (tmp_path / "mem" / "manifest.json").is_file()


def test_a_build_of_fixed_weights_takes_no_others(built, tmp_path):
    build = built(7, fixed_weights=True)

    with pytest.raises(UserError, match="this build is sized for its own weights; generate it without --fixed-weights"):
        export_memories(build, tmp_path / "mem", program=retrained(build.program, 1))
    assert list(tmp_path.iterdir()) == []
    export_memories(build, tmp_path / "mem")
    assert (tmp_path / "mem" / "manifest.json").is_file()


def test_a_build_opened_from_disk_takes_the_program_it_was_made_of(built, tmp_path):
    build = open_build(built(7).path)

    export_memories(build, tmp_path / "mem", program=load_program(build.path / "program.addax"))

    manifest = json.loads((tmp_path / "mem" / "manifest.json").read_text())
    assert manifest["memories"] == build.manifest["memories"]


def test_pixels_are_packed_row_by_row_with_channel_0_lowest():
    images = np.arange(2 * 3 * 2 * 2, dtype=np.uint8).reshape(2, 3, 2, 2)

    words = [int(word) for word in pack_pixels(images)]

    assert words[:4] == [0x080400, 0x090501, 0x0A0602, 0x0B0703]
    assert words[4] == 0x14100C


@given(
    count=st.integers(0, 3), channels=st.integers(1, 12), height=st.integers(1, 4), width=st.integers(1, 4),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_any_images_can_be_read_back_from_their_words(count, channels, height, width, seed):
    """Also more than eight channels, whose words no machine integer holds."""
    images = np.random.default_rng(seed).integers(0, 256, (count, channels, height, width), dtype=np.uint8)

    words = pack_pixels(images)

    assert len(words) == count * height * width
    for k, word in enumerate(int(word) for word in words):
        image, y, x = k // (height * width), k // width % height, k % width
        assert list(word.to_bytes(channels, "little")) == images[image, :, y, x].tolist()


def test_expected_beats_are_scores_extended_by_their_sign_then_the_class(built):
    program = built(1).program
    bits = program.score_format.bits
    scores = np.array([[-1, 5, 5, -7, 0], [program.score_format.lo, -2, -3, -4, -2]])[:, : program.classes]
    top = (1 << bits) - 1

    beats = expected_beats(program, scores)

    assert beats == [
        *[top, 5, 5, top - 6, 0], 1 << bits | 1,
        *[1 << (bits - 1), top - 1, top - 2, top - 3, top - 1], 1 << bits | 1,
    ]  # fmt: skip


def test_narrow_scores_are_extended_to_whole_bytes():
    """12-bit scores stand in 16-bit beats."""
    b = Builder(np.random.default_rng(0), (1, 1, 1))
    b.convolution("adder", 2)
    b.emit(
        Requantise(
            name="scores", source=b.last, multiplier=np.array([1, 1]), offset=np.array([0, 0]), shift=0,
            format=signed(12), lo=-2048, hi=2047,
        )
    )  # fmt: skip

    assert expected_beats(b.program(), np.array([[-1, -2048]])) == [0xFFFF, 0xF800, 0x10000]


@pytest.mark.parametrize("bits, words, text", [(9, [0x1FF, 0], "1ff\n000\n"), (8, [7], "07\n"), (1, [1], "1\n")])
def test_words_are_written_in_as_many_digits_as_their_bits_need(bits, words, text):
    assert hex_lines(words, bits) == text


def test_sample_vectors_are_images_of_the_program_and_repeatable():
    program = random_program(1)

    vectors = sample_vectors(program, 5, 3)

    assert vectors.dtype == np.uint8 and vectors.shape == (5, *program.input.shape)
    assert np.array_equal(vectors, sample_vectors(program, 5, 3))
    assert not np.array_equal(vectors, sample_vectors(program, 5, 4))
    many = sample_vectors(program, 200)
    assert many.min() < 10 and many.max() > 245


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


def test_memory_kinds_are_one_module_each(tmp_path):
    """What asks for block RAM says so in a module of its own; the rest of the text does not change."""
    program = random_program(1)
    plan = random_plan(program, 1)
    weighed = next(stage.name for stage in stages_of(program) if stage.weight is not None)
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
    assert re.search(rf"addax\.block_rom +#\([^;]*addax_{weighed}_weights\.mem", block, re.S)
    assert "\nmodule \\addax.rom " in block


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
