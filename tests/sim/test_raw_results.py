"""A network that ends in a map, from the command line: moves, concatenations and a raw result, every element compared.

It is built like a small super-resolution network of ghost features: each layer computes half of its channels, the other
half are the same ones shifted in space; a pixel shuffle makes the larger image.
"""

import json
import re

import numpy as np
import pytest
from addax.cli import main
from addax.hdl.folder.build import open_build
from addax.quant import golden
from addax.quant.files.archive import save_program
from addax.quant.formats import unsigned
from addax.quant.program import Concat, PixelShuffle, SpatialShift, Upsample
from networks import Builder
from plain_bench import icarus, needs_icarus

IMAGES = 12


def ghost(b, outputs, kernel):
    """A layer whose ``outputs`` channels are half computed, half shifted."""
    b.convolution(kernel, outputs // 2, 3, padding=1)
    b.rescale(unsigned(6))
    made = b.last
    offsets = np.array([(1, 0), (0, -1), (-2, 1), (0, 3)])[np.arange(outputs // 2) % 4]
    b.emit(SpatialShift(name=f"move{len(b.ops)}", source=made, offsets=offsets))
    return b.emit(Concat(name=f"cat{len(b.ops)}", source=made, others=(b.last,)))


def super_resolution(seed=0):
    """1 x 6 x 8 pixels to 1 x 12 x 16; the enlarged input stands beside what the last layer reads."""
    b = Builder(np.random.default_rng(seed), (1, 6, 8))
    pixels = b.last
    ghost(b, 8, "mult")
    ghost(b, 8, "adder")
    b.convolution("adder", 4, 3, padding=1)
    b.rescale(unsigned(8))
    b.emit(PixelShuffle(name="shuffle", source=b.last, factor=2))
    detail = b.last
    b.last = pixels
    b.emit(Upsample(name="enlarged", source=b.last, factor=2))
    b.emit(Concat(name="both", source=detail, others=(b.last,)))
    b.convolution("mult", 1, 1)
    b.rescale(unsigned(8))
    b.emit(SpatialShift(name="centred", source=b.last, offsets=np.array([[0, 1]]), pad=np.array([255])))
    return b.raw()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The network, its images and its BUILD at full speed."""
    folder = tmp_path_factory.mktemp("raw")
    save_program(folder / "net.addax", super_resolution())
    pixels = np.random.default_rng(1).integers(0, 256, (IMAGES, 6, 8), dtype=np.uint8)
    np.savez(folder / "data.npz", test_x=pixels, test_y=np.zeros(IMAGES, np.int64))
    arguments = ["generate", folder / "net.addax", "--lanes", "60", "-o", folder / "build"]
    assert main([str(a) for a in arguments]) == 0
    return folder


@pytest.fixture
def run(capsys):
    def call(*arguments):
        status = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.mark.slow
@pytest.mark.guard
def test_every_element_is_right_and_on_time(run, made):
    """Protects the whole way, and that keys without a meaning are null."""
    status, out, _ = run("simulate", made / "build", "--data", made / "data.npz", "--json")

    value = json.loads(out)
    assert (status, value["images"], value["mismatches"], value["bit_exact"]) == (0, IMAGES, 0, True)
    assert value["accuracy"] is None and value["first_mismatch"] is None
    assert value["cycles_per_image"] == value["predicted_cycles_per_image"]
    assert value["cycles_first_image"] == value["predicted_cycles_first_image"]


@pytest.mark.slow
@pytest.mark.guard
def test_every_stage_is_right_under_stalls(run, made):
    """Moves and joins among them; the table instead of JSON."""
    status, out, _ = run(
        "simulate", made / "build", "--data", made / "data.npz", "--stall", "40", "--trace-stages", "--json"
    )
    value = json.loads(out)
    assert (status, value["bit_exact"], value["first_difference"]) == (0, True, None)
    assert {"cat4", "shuffle", "enlarged", "both", "centred"} <= {stage["name"] for stage in value["stages"]}
    assert all(stage["values"] and not stage["mismatches"] for stage in value["stages"])

    status, out, _ = run("simulate", made / "build", "--data", made / "data.npz")
    assert status == 0 and "wrong elements" in out and "accuracy" not in out


def test_a_wrong_word_shows_with_its_place(run, made):
    """The comparison must be able to fail: what moves in at the left edge is another value in memory."""
    from addax.sim import cosim

    original = cosim.prepare

    def tampering(target, *arguments):
        original(target, *arguments)
        (target / "addax_centred_pad.mem").write_text("fe\n")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cosim, "prepare", tampering)
        status, out, err = run("simulate", made / "build", "--data", made / "data.npz", "--json")

    value = json.loads(out)
    assert status == 3 and value["mismatches"] >= 12 * IMAGES and value["first_mismatch"] == [0, 0, 0, 0]
    assert "first at image, row, column, channel (0, 0, 0, 0)" in err


def test_the_manifest_says_how_a_packet_is_laid_out(made):
    build = open_build(made / "build")
    packet = build.manifest["packet"]

    assert packet["shape"] == [1, 12, 16]
    assert packet["element"] == {"bits": 8, "signed": False, "stored_bits": 8}
    assert packet["beats"] * packet["elements_per_beat"] == 12 * 16
    assert packet["beat_bits"] == 8 * build.plan.outputs


def test_the_fastest_fold_is_that_of_the_shuffle(run, made, tmp_path):
    """One output channel leaves it per cycle; faster is refused, and what limits it is said."""
    least = 12 * 16
    status, out, _ = run("generate", made / "net.addax", "--fps", 50e6 / least, "-o", tmp_path / "fast", "--json")
    value = json.loads(out)
    assert (status, value["predicted_cycles_per_image"], value["plan"]["outputs"]) == (0, least, 1)

    status, _, err = run("generate", made / "net.addax", "--fps", 50e6 / (least - 1), "-o", tmp_path / "faster")
    assert status == 1 and f"the fastest takes {least} cycles per image" in err and "limited by" in err
    assert not (tmp_path / "faster").exists()


def test_a_report_needs_no_accuracy(run, made, tmp_path):
    status, out, _ = run("report", made / "build", "-o", tmp_path / "report", "--json")

    assert status == 0 and json.loads(out)["cycles_per_image"] > 0
    stages = json.loads((tmp_path / "report" / "report.json").read_text())["stages"]
    assert {"spatial_shift", "pixel_shuffle", "upsample", "concat"} <= {stage["kind"] for stage in stages}


@needs_icarus
def test_the_plain_test_bench_passes(made, tmp_path):
    for stall in ((), ("+stall=20000",)):
        status, said = icarus(made / "build", *stall, where=tmp_path)
        beats = 4 * open_build(made / "build").manifest["packet"]["beats"]
        assert re.fullmatch(rf"PASS: 4 images, {beats} beats, \d+ cycles", said.strip()), said
        assert status == 0


def test_the_memories_hold_the_program(made):
    """What the shift brings in from outside is data: read back from the files it is what the Program says."""
    from addax.hdl.folder.memories import read_memories

    build = open_build(made / "build")
    pixels = np.random.default_rng(2).integers(0, 256, (2, 1, 6, 8), dtype=np.uint8)

    assert np.array_equal(golden.run(read_memories(build), pixels).output, golden.run(build.program, pixels).output)
