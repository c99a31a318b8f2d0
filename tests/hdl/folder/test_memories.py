# amaranth: UnusedElaboratable=no
"""Memory files of a build for another Program: of the same shapes and formats only."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.build import default_stage_plan
from addax.hdl.dataflow.plan import Plan
from addax.hdl.dataflow.stages import stages_of
from addax.hdl.folder.build import memory_images, open_build
from addax.hdl.folder.generate import generate
from addax.hdl.folder.memories import export_memories
from addax.hdl.folder.vectors import sample_vectors
from addax.quant.files.archive import load_program
from addax.quant.formats import signed, unsigned
from addax.quant.program import AveragePool, Flatten, MaxPool
from builds import SEEDS, files_in, retrained
from networks import Builder


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
