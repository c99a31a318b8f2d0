"""Networks that enlarge pictures through the verbs: train, quantize, evaluate, and back to the float network."""

import json

import numpy as np
import pytest
from addax.models.files.checkpoint import load_checkpoint
from addax.quant import golden
from addax.quant.files.archive import load_program
from addax.quant.ops.ends import PIXEL
from image_files import pixels

RECIPE = """
epochs = 2
batch = 4

[[augment]]
kind = "patch"
size = 6

[[augment]]
kind = "flip"

[[augment]]
kind = "turn"
"""


def pictures(folder, count=2, size=(34, 45)):
    for split in ("train", "test"):
        (folder / split / "HR").mkdir(parents=True)
        for k in range(count):
            coarse = pixels(1, 6, 7, 3, seed=k)[0]
            image = coarse.repeat(8, 0).repeat(8, 1)[: size[0], : size[1]]
            np.save(folder / split / "HR" / f"p{k}.npy", image)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint of a small EDSR, the pictures that it was trained with, and the folder of both."""
    from addax.cli import main

    folder = tmp_path_factory.mktemp("enlarging")
    pictures(folder / "set")
    (folder / "r.toml").write_text(RECIPE)
    arguments = ["--data", folder / "set", "--recipe", folder / "r.toml", "-o", folder / "net.safetensors"]
    assert main(["train", "edsr-small-x2", "--kernel", "mult", *map(str, arguments)]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.guard
def test_a_network_is_trained_quantised_and_measured_on_pictures(trained, run):
    """Whatever the size of pictures: the integers stay; floats beside them, bicubic scaling beside both."""
    _, made = load_checkpoint(trained / "net.safetensors")
    assert (made.classes, made.accuracy, made.shape, made.data) == (None, None, (3, 12, 12), "set")
    assert 5 < made.psnr < 40 and (trained / "net.csv").read_text().startswith("epoch,learning_rate,loss,psnr")

    status, out, err = run(
        "quantize", trained / "net.safetensors", "--data", trained / "set", "--calibration", 20, "--size", "8x10", "-o",
        trained / "net.addax", "--json",
    )  # fmt: skip
    assert (status, json.loads(out)["float_psnr"]) == (0, f"{made.psnr:.4f}"), err
    program = load_program(trained / "net.addax")
    assert program.input.shape == (3, 8, 10) and program.shape(program.output) == (3, 16, 20)
    assert program.format(program.output) == PIXEL and program.steps[program.output] == 1 / 255

    status, out, err = run("evaluate", trained / "net.addax", "--data", trained / "set", "--json")
    value = json.loads(out)
    assert (status, value["images"], value["scale"]) == (0, 2, 2), err
    assert value["psnr_db_float"] == pytest.approx(made.psnr, abs=1e-4)
    assert value["psnr_db"] == pytest.approx(made.psnr, abs=0.5) and value["psnr_db_bicubic"] > 10
    assert [picture["name"] for picture in value["pictures"]] == ["p0", "p1"]

    status, out, _ = run("evaluate", trained / "net.addax", "--data", trained / "set")
    # The title breaks where the folder has a long name.
    assert status == 0 and "2 times as large" in " ".join(out.split()) and "bicubic" in out and "mean" in out


@pytest.mark.slow
def test_crops_of_the_same_pictures_are_what_a_build_is_simulated_with(trained, run):
    """`given` of any verb: small images of the size that the Program takes."""
    from addax.api.given import given

    run("quantize", trained / "net.safetensors", "--data", trained / "set", "--size", "8x8", "-o", trained / "c.addax")
    program = load_program(trained / "c.addax")

    found = given(program, trained / "set", "test", limit=5)

    assert found.x.shape == (5, 3, 8, 8) and found.y is None
    assert golden.run(program, found.x).output.shape == (5, 3, 16, 16)


@pytest.mark.slow
def test_a_training_that_is_given_again_says_what_it_reached(trained, run):
    again = ("--data", trained / "set", "--recipe", trained / "r.toml", "-o", trained / "net.safetensors", "--resume")

    status, out, _ = run("train", "edsr-small-x2", "--kernel", "mult", *again, "--json")

    assert status == 0 and json.loads(out)["psnr"] == load_checkpoint(trained / "net.safetensors")[1].psnr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "digits"), "to train, digits must hold a folder train and a folder test of pictures each"),
        (("--bits", "4"), "no checkpoint comes with edsr-small-x2"),
        (("--kernel", "xnor"), "the xnor kernel has no bias"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(run, arguments, message):
    status, _, err = run("train", "edsr-small-x2", *arguments)

    assert status == 1 and message in err and len(err.strip().splitlines()) == 1


FEW_STEPS = """
epochs = 1
batch = 24

[[augment]]
kind = "patch"
size = 24

[routing]
guide = 0.5
budget = 0.3
"""


@pytest.mark.slow
@pytest.mark.guard
def test_a_frequency_aware_network_goes_the_whole_way_on_photographs(run, tmp_path):
    """A few steps on what comes along; its Program has an arg-max and a choice for each of eight blocks."""
    import torch
    from addax.models.nets.fadn import routed
    from addax.quant.program import ArgMax, Select

    (tmp_path / "r.toml").write_text(FEW_STEPS)
    status, out, err = run(
        "train", "fadn-small-x2", "--kernel", "mult", "--recipe", tmp_path / "r.toml", "-o", tmp_path / "f.safetensors",
        "--json",
    )  # fmt: skip
    assert status == 0, err
    net, made = load_checkpoint(tmp_path / "f.safetensors")
    assert made.training["routing"]["budget"] == 0.3 and made.psnr == json.loads(out)["psnr"]
    assert routed(net, torch.rand(3, 20, 24)).pixels != ((480, 0, 0),) * 8

    status, _, err = run(
        "quantize", tmp_path / "f.safetensors", "--size", "12x16", "--calibration", 10, "-o", tmp_path / "f.addax"
    )
    assert status == 0, err
    program = load_program(tmp_path / "f.addax")
    kinds = [type(op) for op in program.ops]
    assert kinds.count(ArgMax) == kinds.count(Select) == 8
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 12, 16), np.uint8)
    with torch.no_grad():
        wanted = (net(torch.from_numpy(x / np.float32(255))) * 255).round().clamp(0, 255).numpy()
    assert np.abs(golden.run(program, x).output - wanted).mean() < 3


@pytest.mark.slow
@pytest.mark.guard
def test_a_ghost_begins_with_a_trained_network_and_its_moves_cost_no_lanes(trained, run, tmp_path):
    """Half of the channels of its blocks are moved copies, which the report shows without lanes and requantisers."""
    (tmp_path / "r.toml").write_text(
        f'{RECIPE}\n[start]\nkind = "clustered"\ncheckpoint = "{trained / "net.safetensors"}"\n'
    )
    arguments = ("--kernel", "mult", "--data", trained / "set", "--recipe", tmp_path / "r.toml", "--epochs", 1)

    status, _, err = run("train", "ghostsr-small-x2", *arguments, "-o", tmp_path / "g.safetensors")
    assert status == 0, err
    assert load_checkpoint(tmp_path / "g.safetensors")[1].training["start"]["kind"] == "clustered"

    crops = ("--data", trained / "set", "--size", "12x12")
    for verb in (
        ("quantize", tmp_path / "g.safetensors", *crops, "-o", tmp_path / "g.addax"),
        ("generate", tmp_path / "g.addax", "--lanes", 64, "--device", "xczu7ev", "-o", tmp_path / "build"),
        ("report", tmp_path / "build", "-o", tmp_path / "report"),
    ):  # fmt: skip
        status, _, err = run(*verb)
        assert status == 0, err
    stages = json.loads((tmp_path / "report" / "report.json").read_text())["stages"]
    moves = [stage for stage in stages if stage["kind"] == "spatial_shift"]
    assert len(moves) == 16 and all(move["result"][0] == 16 for move in moves)
    assert all(move["lanes"] == move["requantisers"] == move["dsp"] == move["macs"] == 0 for move in moves)
    assert all(stage["lanes"] > 0 for stage in stages if stage["kind"] == "mult")

    status, _, err = run("train", "ghostsr-small-x3", *arguments, "-o", tmp_path / "h.safetensors")
    assert status == 1 and "holds edsr-small-x2 (mult): 'tail.0.0.weight' is" in err
    assert len(err.strip().splitlines()) == 1


def test_a_recipe_without_patches_is_refused(run, tmp_path):
    (tmp_path / "r.toml").write_text("augment = []\n")

    status, _, err = run("train", "edsr-small-x2", "--recipe", tmp_path / "r.toml")

    assert status == 1 and "needs an augment of kind patch" in err


def test_pictures_are_refused_where_nothing_is_enlarged(net, run, tmp_path):
    """A classifier is no network for pictures; the message is that of any folder without classes."""
    status, _, err = run("evaluate", net, "--data", pictures(tmp_path / "s") / "test" / "HR")

    assert status == 1 and "no data in" in err
