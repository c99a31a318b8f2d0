"""What a run of training keeps, and that one which stopped ends like one that did not."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import training_runs
from addax.models.data.augment import Flip, Jitter
from addax.models.training import loop
from addax.models.training.distil import Pkkd
from addax.models.training.history import EpochRow
from addax.models.training.loop import train_by
from addax.models.training.recipe import TrainingRecipe
from addax.models.training.run import Files, state_path, train_network
from addax.models.training.schedule import AdamW, Cosine, Sgd
from addax.models.training.state import Keeping
from image_files import refused
from torch import nn
from training_runs import FEW, StoppedError, make, same, small, stop_after, weights


@pytest.fixture(scope="module")
def few():
    return training_runs.few()


@pytest.mark.parametrize(
    ("recipe", "build"),
    [
        (FEW, lambda: small(dropout=0.5)),
        (FEW.changed(ema=0.9, optimiser=AdamW(), augment=(Flip(), Jitter())), lambda: small(dropout=0.5)),
        (FEW.changed(held_out=20, schedule=Cosine(warmup=1, by="step"), accumulate=2), make),
        (FEW.changed(distil=Pkkd()), lambda: make("adder")),
    ],
    ids=["dropout", "average", "held out", "pkkd"],
)
def test_a_run_that_stopped_goes_on_to_the_same_weights(few, tmp_path, recipe, build):
    """To the bit: weights, averages, teachers, moments and all random numbers are kept."""

    def run(path, **how):
        torch.manual_seed(0)
        module = build()
        keeping = Keeping(path=path, told={"recipe": recipe.values()})
        rows = train_by(recipe, module, few, twin=make, keeping=keeping, **how)
        return weights(module), [(row.loss, row.metric, row.held_out_loss) for row in rows]

    unbroken = run(tmp_path / "a")
    with pytest.raises(StoppedError):
        run(tmp_path / "b", watch=stop_after(2))
    torch.rand(5)  # the global generator stands elsewhere
    resumed = run(tmp_path / "b", resume=True)

    assert same(unbroken[0], resumed[0])
    assert unbroken[1] == resumed[1] and len(resumed[1]) == 4
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.slow
@pytest.mark.guard
def test_a_killed_run_goes_on_to_the_same_file(tmp_path):
    """kill -9 in the middle of an epoch, in a process of its own, from the command line."""
    command = [
        sys.executable, "-m", "addax.cli", "train", "lenet5", "--kernel", "adder", "--epochs", "6", "--resume", "-o",
    ]  # fmt: skip
    subprocess.run([*command, "whole.safetensors"], cwd=tmp_path, check=True, capture_output=True)
    for _ in range(2):
        process = subprocess.Popen(
            [*command, "killed.safetensors"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        state = tmp_path / "killed.state.safetensors"
        before = state.stat().st_mtime_ns if state.exists() else 0
        deadline = time.monotonic() + 120
        while not state.exists() or state.stat().st_mtime_ns == before:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)
        process.kill()
        process.wait()
    assert not (tmp_path / "killed.safetensors").exists()

    subprocess.run([*command, "killed.safetensors"], cwd=tmp_path, check=True, capture_output=True)

    assert (tmp_path / "killed.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    whole, killed = (table(tmp_path / f"{name}.csv") for name in ("whole", "killed"))
    assert [{**row, "seconds": 0} for row in whole] == [{**row, "seconds": 0} for row in killed]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{name}{suffix}" for name in ("whole", "killed") for suffix in (".csv", ".safetensors", ".svg")
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": FEW.changed(epochs=5)}, "is the state of another run, whose epochs is 4 instead of 5"),
        ({"recipe": FEW.changed(optimiser=Sgd(learning_rate=1))}, "whose recipe: optimiser is {"),
        ({"kernel": "adder"}, "whose kernel is 'mult' instead of 'adder'"),
        ({"source": "few.npz"}, "whose data is 'digits' instead of 'few.npz'"),
    ],
)
def test_a_state_of_another_run_is_refused(few, tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    images = few.images.x.transpose(0, 2, 3, 1)
    np.savez("few.npz", train_x=images, train_y=few.images.y, test_x=images, test_y=few.images.y)
    given = {"kernel": "mult", "source": "digits", "recipe": FEW}
    files = Files(out=Path("net.safetensors"))
    monkeypatch.setattr(loop, "save_state", stopping(loop.save_state, after=1))
    with pytest.raises(StoppedError):
        train_network("lenet5", **given, files=files)
    kept = state_path(files.out).read_bytes()

    with refused("net.state.safetensors", message):
        train_network("lenet5", **{**given, **change}, files=Files(out=files.out, resume=True))

    assert state_path(files.out).read_bytes() == kept


def stopping(save, *, after):
    def wrapped(keeping, moving, rows):
        save(keeping, moving, rows)
        if len(rows) == after:
            raise StoppedError

    return wrapped


def test_resuming_what_is_finished_trains_nothing(tmp_path, monkeypatch):
    """So that a list of runs is one command that can be given again."""
    out = tmp_path / "net.safetensors"
    recipe = TrainingRecipe(epochs=1)
    first = train_network("lenet5", kernel="mult", source="digits", recipe=recipe, files=Files(out=out))
    before = out.read_bytes()
    monkeypatch.setattr(loop, "train_by", None)

    again = train_network("lenet5", kernel="mult", source="digits", recipe=recipe, files=Files(out=out, resume=True))

    assert again["accuracy"] == first["accuracy"] and out.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"\x00" * 64])
def test_a_broken_state_is_named(few, tmp_path, content):
    path = tmp_path / "x.state.safetensors"
    path.write_bytes(content)

    with refused("x.state.safetensors is not the state of a training run"):
        train_by(FEW, small(), few, keeping=Keeping(path=path, told={}), resume=True)


class Poison(nn.Module):
    """Gives NaN from its ``after``-th batch on."""

    def __init__(self, after):
        super().__init__()
        self.left = after

    def forward(self, x):
        self.left -= 1
        return x * float("nan") if self.left < 0 else x


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_state(few, tmp_path):
    """Four steps an epoch, so the sixth batch is the second epoch's second."""
    module = nn.Sequential(small(), nn.Identity(), Poison(5))
    keeping = Keeping(path=tmp_path / "s", told={})

    with refused(
        "in epoch 2, step 2: the loss is nan; layer '2' is the first", f"{keeping.path} keeps the state after"
    ):
        train_by(FEW, module, few, keeping=keeping)

    torch.manual_seed(0)
    assert (
        len(train_by(FEW, nn.Sequential(small(), nn.Identity(), nn.Identity()), few, keeping=keeping, resume=True)) == 4
    )


def test_a_gradient_that_is_not_finite_is_named(few):
    """A root has an infinite slope at 0, where its value is finite."""

    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(10))

        def forward(self, x):
            return x + self.bias.sqrt()

    with refused("in epoch 1, step 1: the gradient of '1.bias' is not finite"):
        train_by(FEW, nn.Sequential(small(), Root()), few)


def test_no_room_for_the_state_is_one_line_and_leaves_the_state_before(few, tmp_path, monkeypatch):
    keeping = Keeping(path=tmp_path / "s", told={})
    with pytest.raises(StoppedError):
        train_by(FEW, small(), few, keeping=keeping, watch=stop_after(1))
    before = keeping.path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with refused(f"cannot write {keeping.path}: No space left on device"):
        train_by(FEW, small(), few, keeping=keeping)

    assert keeping.path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_run_is_drawn_and_written_down(tmp_path):
    from addax.models.training.history import write_csv, write_plot

    rows = [
        EpochRow(
            epoch=k + 1, learning_rate=0.1, loss=1 / (k + 1), metric=0.5, held_out_loss=None, held_out_metric=None,
            seconds=1.5,
        )
        for k in range(3)
    ]  # fmt: skip

    write_csv(tmp_path / "r.csv", rows, "accuracy")
    write_plot(tmp_path / "r.svg", rows, "accuracy")

    read = table(tmp_path / "r.csv")
    assert [row["epoch"] for row in read] == ["1", "2", "3"] and read[1]["loss"] == "0.5"
    assert read[0]["held_out_accuracy"] == ""
    assert "<svg" in (tmp_path / "r.svg").read_text()
