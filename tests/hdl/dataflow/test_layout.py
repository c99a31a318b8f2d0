"""Memory files read back: for any fold, what the RTL reads is the Program."""

import json
from dataclasses import replace

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.build import bind
from addax.hdl.dataflow.kinds.images import stage_images, stage_tensors
from addax.hdl.folder.build import Build, memory_images, open_build
from addax.hdl.folder.generate import generate
from addax.hdl.folder.memories import export_memories, read_memories
from addax.hdl.folder.vectors import sample_vectors
from addax.quant import golden
from addax.quant.formats import Format, signed, unsigned
from addax.quant.program import Convolution, Requantise, Threshold
from networks import random_chain, random_images, random_plan, random_program, random_windows

SEEDS = (1, 7, 19)


def tensors_of(program):
    """Every integer that a memory holds, by operation and name; paddings only where there is a border to pad."""
    found = {}
    for op in program.ops:
        names = {Convolution: ("weight", "pad"), Requantise: ("multiplier", "offset", "shift", "lo", "hi")}
        for name in names.get(type(op), ()):
            if name != "pad" or op.padding:
                found[op.name, name] = np.asarray(getattr(op, name))
    return found


def other_weights(program, seed):
    """A Program of the same shapes and formats, all of whose integers are others."""
    rng = np.random.default_rng(seed)
    ops = []
    for op in program.ops:
        if isinstance(op, Convolution):
            fmt, x = op.weight_format, program.format(op.source)
            weight = rng.integers(fmt.lo, fmt.hi, op.weight.shape, endpoint=True)
            op = replace(op, weight=weight, pad=rng.integers(x.lo, x.hi, op.pad.shape, endpoint=True))
        elif isinstance(op, Requantise) and op.name != program.ops[-1].source:
            op = replace(op, multiplier=-op.multiplier, offset=op.offset - 3, shift=op.shift - 1, hi=op.hi - 1)
        ops.append(op)
    return replace(program, ops=tuple(ops))


@pytest.mark.parametrize("seed", range(24))
def test_filters_and_pads_of_windows_of_all_kinds_come_back(seed):
    """Taps that are read at once lie side by side in a word, in the order of the filter, however far apart they are."""
    program = random_windows(seed)

    for build in bind(program, random_plan(program, seed + 100)):
        layer = program.by_name[build.stage.name]
        if isinstance(layer, Convolution):
            found = stage_tensors(build, stage_images(build, fixed=False))[layer.name]
            assert np.array_equal(found["weight"], layer.weight)
            assert ("pad" in found) == any(layer.window.pads)
            assert np.array_equal(found.get("pad", layer.pad), layer.pad)


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("fixed", [False, True], ids=["reloadable", "fixed"])
def test_what_stands_in_the_memories_of_a_stage_is_what_was_put_there(seed, fixed):
    program = random_program(seed)
    plan = random_plan(program, seed + 100, fixed_weights=fixed)

    for build in bind(program, plan):
        stage, held = build.stage, stage_tensors(build, stage_images(build, fixed=fixed))
        layer, made = program.by_name[stage.name], program.by_name[stage.tensor]
        expected = {layer.name: set(), made.name: set()}
        if isinstance(layer, Convolution):
            expected[layer.name] = ({"pad"} if layer.padding else set()) | (set() if build.plan.reach else {"weight"})
        if isinstance(made, Requantise) and not build.plan.reach:
            expected[made.name] = {"multiplier", "offset", "shift", "lo", "hi"}
        for name, fields in expected.items():
            found = held.get(name, {})
            if not isinstance(program.by_name[name], Threshold):
                assert found.keys() == fields
                for field, value in found.items():
                    assert np.array_equal(value, getattr(program.by_name[name], field)), (name, field)


@pytest.mark.parametrize("seed", range(24))
def test_thresholds_read_back_decide_as_those_that_were_put_there(seed):
    """A threshold may come back as another that no sum can tell from it: between two possible sums, or beyond all."""
    program = random_chain(seed)
    for build in bind(program, random_plan(program, seed + 100)):
        stage, held = build.stage, stage_tensors(build, stage_images(build, fixed=False))
        own = program.by_name[stage.tensor]
        if not isinstance(own, Threshold):
            continue
        step = 2 if stage.kind == "xnor" else 1
        lo, hi = program.sum_range(stage.name)
        sums = np.arange(lo, hi + 1, step)[:, None, None]
        ours = held[own.name]
        assert np.array_equal(ours["falling"], own.falling)
        assert np.array_equal(sums >= ours["thresholds"], sums >= own.thresholds)


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """A build of every seed; not to be changed."""
    made = {}
    for seed in SEEDS:
        program = random_program(seed)
        out = tmp_path_factory.mktemp("build") / "out"
        made[seed] = generate(program, random_plan(program, seed), out, vectors=sample_vectors(program, 1))
    return made


@pytest.mark.parametrize("seed", SEEDS)
def test_memory_files_of_a_build_are_its_program(builds, seed):
    build = builds[seed]

    again = read_memories(build)

    expected = tensors_of(build.program)
    assert tensors_of(again).keys() == expected.keys()
    assert all(np.array_equal(value, expected[key]) for key, value in tensors_of(again).items())
    images = random_images(build.program, 100, seed)
    assert np.array_equal(golden.run(again, images).scores, golden.run(build.program, images).scores)


@pytest.mark.parametrize("seed", SEEDS)
def test_exported_memory_files_are_the_program_that_was_exported(builds, seed, tmp_path):
    build = builds[seed]
    program = other_weights(build.program, seed)
    export_memories(build, tmp_path / "mem", program=program)

    again = read_memories(build, tmp_path / "mem")

    images = random_images(program, 100, seed)
    before, after = golden.run(program, images), golden.run(again, images)
    assert np.array_equal(before.scores, after.scores)
    assert not np.array_equal(before.scores, golden.run(build.program, images).scores)


@pytest.mark.parametrize("kernel", ["adder", "mult"])
def test_memory_files_of_lenet5_classify_as_the_network(lenet, digits, tmp_path, kernel):
    from addax.hdl.dataflow.planning.fold import fold

    program = lenet(kernel)
    plan = fold(program, device="ecp5-85k", clock_mhz=50.0, lanes=80, fps=None, fixed_weights=False, fabric="generic")
    build = Build(path=tmp_path, program=program, plan=plan, manifest={"prefix": "addax"})
    export_memories(build, tmp_path / "mem", program=program)

    again = read_memories(build, tmp_path / "mem")

    images = digits.x[:100]
    assert np.array_equal(golden.run(again, images).scores, golden.run(program, images).scores)


# Damage


@pytest.fixture
def exported(builds, tmp_path):
    export_memories(builds[7], tmp_path / "mem")
    return tmp_path / "mem"


def victim(build):
    return next(image for image in memory_images(build.program, build.plan) if image.name.endswith("weights"))


def rewrite(folder, image, text):
    """Another text of a memory file, with a checksum that says it belongs there."""
    from addax.common.files import sha256_of

    (folder / image.file).write_text(text)
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["memories"]:
        if entry["file"] == image.file:
            entry["sha256"] = sha256_of(text.encode())
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_changed_memory_file_is_refused_by_name(builds, exported):
    path = exported / victim(builds[7]).file
    lines = path.read_text().splitlines()
    path.write_text("\n".join([f"{int(lines[0], 16) ^ 1:0{len(lines[0])}x}", *lines[1:]]) + "\n")

    with pytest.raises(UserError, match=rf"{path.name} differs from the manifest"):
        read_memories(builds[7], exported)


def test_missing_memory_file_is_refused_by_name(builds, exported):
    path = exported / victim(builds[7]).file
    path.unlink()

    with pytest.raises(UserError, match=rf"cannot read memory file .*{path.name}"):
        read_memories(builds[7], exported)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: text.index("\n") + 1] * 2, "it holds 2 words, not"),
        (lambda text: "f" * 400 + text[text.index("\n") :], "words of more than"),
        (lambda text: "xyz" + text[3:], "invalid literal"),
        (lambda text: "", "it holds 0 words, not"),
    ],
    ids=["short", "wide", "text", "empty"],
)
def test_memory_file_of_another_shape_is_refused(builds, exported, change, message):
    image = victim(builds[7])
    rewrite(exported, image, change(image.text()))

    with pytest.raises(UserError, match=rf"{image.file} does not fit the build: .*{message}"):
        read_memories(builds[7], exported)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"memories": 3}', '{"memories": [{}]}'])
def test_broken_manifest_is_refused(builds, exported, content):
    (exported / "manifest.json").write_text(content)

    with pytest.raises(UserError, match="manifest"):
        read_memories(builds[7], exported)


def test_memory_files_of_another_build_are_refused(builds, exported):
    with pytest.raises(UserError, match=r"\.mem"):
        read_memories(open_build(builds[1].path), exported)


@pytest.mark.parametrize(
    "fmt", [unsigned(1), unsigned(8), signed(2), signed(16), Format(bits=61, signed=True)], ids=str
)
def test_a_bit_pattern_is_decoded_to_what_was_encoded(fmt):
    for value in (fmt.lo, fmt.lo + 1, 0, fmt.hi - 1, fmt.hi):
        assert fmt.decode(fmt.encode(value)) == value
