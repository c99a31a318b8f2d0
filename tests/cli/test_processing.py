"""A network with several tasks through the verbs: train, quantize, evaluate, for each of what it does to pictures."""

import json
from functools import partial

import numpy as np
import pytest
from addax.models.nets import zoo
from addax.models.nets.transformers.ipt import IPT, IPT_TASKS
from addax.quant.files.archive import load_program
from image_files import pixels

TINY = zoo.ZooNetwork(
    name="ipt-tiny", make=partial(IPT, tasks=tuple(IPT_TASKS), features=2, heads=2, blocks=1, pixels=12),
    shape=(3, 12, 12), paper="IPT, 2012.00364", classes=None, kernel="mult", scale=2, tasks=tuple(IPT_TASKS),
)  # fmt: skip
RECIPE = """
epochs = 1
batch = 2

[[augment]]
kind = "patch"
size = 12

[tasks]
names = ["derain", "denoise-30", "x2"]
"""


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A small IPT in the zoo, and folders of clean pictures."""
    monkeypatch.setitem(zoo.NETWORKS, TINY.name, TINY)
    for split in ("train", "test"):
        (tmp_path / "set" / split).mkdir(parents=True)
        image = pixels(1, 4, 5, 3, seed=len(split))[0].repeat(8, 0).repeat(8, 1)[:30, :37]
        np.save(tmp_path / "set" / split / "p.npy", image)
    (tmp_path / "r.toml").write_text(RECIPE)
    return tmp_path


@pytest.mark.slow
@pytest.mark.guard
def test_tasks_go_the_whole_way(pictures, run):
    """Trained in turns; a Program for each task, by the first without a word; the same figures to the bit each time."""
    checkpoint, data = pictures / "net.safetensors", ("--data", pictures / "set")
    status, out, err = run(
        "train", "ipt-tiny", "--kernel", "mult", *data, "--recipe", pictures / "r.toml", "-o", checkpoint, "--json"
    )
    assert status == 0, err
    value = json.loads(out)
    assert list(value["tasks"]) == ["derain", "denoise-30", "x2"]
    assert value["psnr"] == pytest.approx(np.mean(list(value["tasks"].values())))

    for task, scale in ((None, 1), ("denoise-30", 1), ("x2", 2)):
        name = task or "derain"
        file, asked = pictures / f"{name}.addax", () if task is None else ("--task", task)
        status, out, err = run("quantize", checkpoint, *data, "--calibration", 10, *asked, "-o", file, "--json")
        assert (status, json.loads(out)["task"]) == (0, name), err
        program = load_program(file)
        assert program.input.shape == (3, 12, 12) and program.enlargement == scale

        found = []
        for _ in range(2):
            status, out, err = run("evaluate", file, *data, "--json")
            assert status == 0, err
            found.append(json.loads(out))
            found[-1].pop("images_per_second")
        assert found[0] == found[1] and found[0]["scale"] == scale
        assert found[0]["psnr_db_float"] == pytest.approx(value["tasks"][name], abs=1e-4)
        assert found[0]["psnr_db"] == pytest.approx(value["tasks"][name], abs=1.0)
        assert ("psnr_db_input" in found[0]) == (scale == 1)

    status, out, _ = run("evaluate", pictures / "derain.addax", *data)
    assert status == 0 and "made better" in " ".join(out.split()) and "input: PSNR, SSIM" in " ".join(out.split())


def test_what_cannot_be_is_said_in_one_line(pictures, run):
    """Tasks that are not there, recipes that do not say patches of its size, pictures smaller than a square."""
    small = pictures / "small" / "train"
    small.mkdir(parents=True)
    np.save(small / "p.npy", pixels(1, 8, 30, 3)[0])
    (pictures / "small" / "test").symlink_to(small)
    (pictures / "wrong.toml").write_text('[tasks]\nnames = ["deblur"]\n')
    (pictures / "nine.toml").write_text(RECIPE.replace("size = 12", "size = 9").replace('"x2"', '"x3"'))
    data = ("--data", pictures / "set")
    for arguments, message in (
        (("train", "ipt-tiny", *data, "--recipe", pictures / "wrong.toml"), "the network has the tasks x2, x3, x4"),
        (("train", "ipt-tiny", *data, "--recipe", pictures / "nine.toml"), "learns from patches of 12x12 pixels"),
        (
            ("train", "edsr-small-x2", *data, "--recipe", pictures / "r.toml"),
            "tasks are for networks that have",
        ),
        (
            ("train", "ipt-tiny", "--data", pictures / "small"),
            "p is 4x15 pixels when made small, and",
        ),
        (("quantize", "lenet5", "--task", "x2", "-o", pictures / "n.addax"), "lenet5 has no tasks to choose from"),
    ):
        status, _, err = run(*arguments, *(() if arguments[0] == "quantize" else ("--kernel", "mult")))
        assert status == 1 and message in err and len(err.strip().splitlines()) == 1, err
