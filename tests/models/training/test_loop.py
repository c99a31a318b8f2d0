"""The training loop: batches, accumulation, averages, precision, processes, and tasks other than classes."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import training_runs
from addax.models.data.examples import HeldExamples
from addax.models.training import loop
from addax.models.training.loop import train_by
from addax.models.training.ranks import Ranks
from addax.models.training.recipe import TrainingRecipe
from addax.models.training.run import Files, train_network
from addax.models.training.schedule import Sgd
from image_files import refused
from torch import nn
from training_runs import FEW, close, make, same, small, trained, weights


@pytest.fixture(scope="module")
def few():
    return training_runs.few()


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (FEW.changed(batch=101), "a batch of 101 images is larger than the 100 to train on"),
        (FEW.changed(held_out=80), "a batch of 32 images is larger than the 20 to train on"),
        (FEW.changed(held_out=100), "100 images cannot be held out of 100"),
    ],
)
def test_more_images_than_there_are_cannot_be_asked_for(few, recipe, message):
    with refused(message):
        train_by(recipe, small(), few)


def test_a_label_without_a_score_is_named(few):
    module = nn.Sequential(small(), nn.Linear(10, 7))

    with refused("the network tells 7 classes apart, but there is a label "):
        train_by(FEW, module, few)


def test_a_test_split_with_a_class_more_is_refused(tmp_path):
    x = np.zeros((4, 16, 16), np.uint8)
    np.savez(tmp_path / "s.npz", train_x=x, train_y=np.arange(4), test_x=x, test_y=np.arange(1, 5))

    with refused("has a label 4; its train split only 0..3"):
        train_network(
            "lenet5", kernel="mult", source=str(tmp_path / "s.npz"), recipe=TrainingRecipe(batch=2),
            files=Files(out=tmp_path / "net.safetensors"),
        )  # fmt: skip
    assert len(list(tmp_path.iterdir())) == 1


def test_accumulated_parts_of_a_batch_give_the_step_of_the_whole(few):
    """Parts are of unlike sizes, and a last batch of four images has two."""
    whole, parts = (trained(few, FEW.changed(accumulate=n, augment=())) for n in (1, 3))

    assert close(whole[0], parts[0]) and not same(whole[0], parts[0])
    assert [row.metric for row in whole[1]] == [row.metric for row in parts[1]]


def test_no_part_of_a_batch_is_one_image(few):
    """It has no batch statistics, which would stop the training."""
    rows = train_by(FEW.changed(epochs=1, accumulate=15), make(), HeldExamples(images=few.images.head(35)))

    assert np.isfinite(rows[0].loss)


def test_gradients_are_changed_once_per_step_behind_all_parts(few, monkeypatch):
    """Where the filter gradients of adder layers get their size."""
    seen = []
    monkeypatch.setattr(
        loop, "GRADIENT_STEPS", (lambda module: seen.append(module) or [p.grad.zero_() for p in module.parameters()],)
    )
    torch.manual_seed(0)
    module = small()
    before = weights(module)

    train_by(FEW.changed(accumulate=2, epochs=1, optimiser=Sgd(weight_decay=0.0)), module, few)

    assert len(seen) == 4 and seen[0] is module
    assert same(weights(module), before)


def test_a_network_is_told_how_much_of_its_training_is_over(few, monkeypatch):
    """Layers whose gradient sharpens, or whose noise fades, depend on it."""
    seen = []
    monkeypatch.setattr(loop, "EPOCH_STEPS", (lambda *told: seen.append(told),))
    module = small()

    train_by(FEW, module, few)

    assert seen == [(module, epoch, 4) for epoch in range(4)]


def test_the_average_of_weights_is_the_result(few):
    """With a decay of 0 it is the last weights, with one of 1 the first."""
    torch.manual_seed(0)
    first = weights(small())

    assert same(trained(few, FEW.changed(ema=0.0))[0], trained(few, FEW)[0])
    assert same(trained(few, FEW.changed(ema=1.0))[0], first)


def test_held_out_images_are_measured_and_not_trained_on(few):
    seen = []

    class Seen:
        shape, classes = few.shape, few.classes

        def __len__(self):
            return len(few)

        def batches(self, order):
            seen.append([set(chosen.tolist()) for chosen in order])
            return few.batches(order)

    recipe = FEW.changed(held_out=30, epochs=1)
    _, (row,) = trained(Seen(), recipe)

    trained_on, measured_loss, measured_accuracy = (set().union(*batches) for batches in seen)
    assert measured_loss == measured_accuracy and len(measured_loss) == 30
    assert len(trained_on) == 70 and not trained_on & measured_loss
    assert row.held_out_loss > 0 and 0 <= row.held_out_metric <= 1


def test_mixed_precision_trains_float32_weights(few):
    result, rows = trained(few, FEW.changed(precision="bfloat16"))

    assert rows[-1].loss < rows[0].loss
    assert all(value.dtype == torch.float32 for value in result.values())
    assert not same(result, trained(few, FEW)[0])


def test_another_task_brings_its_loss_and_metric(few):
    """Here a number per image: how bright it is."""

    class Squares:
        kind = "squares"

        def __call__(self, output, target):
            return (output[:, 0] - target / 10).square().mean()

        def check(self, output, target):
            pass

    metric = loop.Metric(name="error", total=lambda output, target: (output[:, 0] - target / 10).abs().sum())
    _, rows = trained(few, FEW.changed(loss=Squares()), metric=metric)

    assert rows[-1].metric < rows[0].metric


@pytest.mark.parametrize("count", [3, 32])
def test_a_batch_that_cannot_be_dealt_out_is_refused(few, count):
    with refused(f"a batch of 32 images cannot be dealt out evenly to {count} processes"):
        train_by(FEW, small(), few, ranks=Ranks(rank=0, count=count))


WORKER = """
import sys, torch
from addax.models import data
from addax.models.data.examples import HeldExamples
from addax.models.training.loop import train_by
from addax.models.training.ranks import started_ranks
from addax.models.training.recipe import recipe_of
from safetensors.torch import save_file
from torch import nn
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(1, 4, 5, stride=3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10))
few = HeldExamples(images=data.load("digits", "train").head(100))
with started_ranks() as ranks:
    rows = train_by(recipe_of({"epochs": 2, "batch": 32, "accumulate": int(sys.argv[2])}, "r"), net, few, ranks=ranks)
    save_file(net.state_dict(), f"{sys.argv[1]}-{ranks.rank}", metadata={"loss": repr(rows[-1].loss)})
"""


@pytest.mark.slow
@pytest.mark.guard
@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_train_what_one_does(tmp_path, accumulate):
    """As torchrun starts them; gradients are means over both, and every image is augmented as by one process."""
    from safetensors.torch import load_file

    (tmp_path / "worker.py").write_text(WORKER)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for start, name in (([sys.executable], "one"), (torchrun, "two")):
        done = subprocess.run(
            [*start, str(tmp_path / "worker.py"), name, str(accumulate)], cwd=tmp_path, check=False, env=environment,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    one, first, second = (load_file(tmp_path / name) for name in ("one-0", "two-0", "two-1"))
    assert same(first, second)
    assert all(torch.allclose(one[name], first[name], atol=1e-4) for name in one)
