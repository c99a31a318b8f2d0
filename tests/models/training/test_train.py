"""Training repeats itself, learns, and has the shapes that its papers state."""

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.models import data
from addax.models.files.checkpoint import load_checkpoint
from addax.models.layers.kernels import KERNELS
from addax.models.nets import zoo
from addax.models.nets.lenet5 import LeNet5
from addax.models.training.loop import accuracy, predict, to_float, train
from addax.models.training.recipe import TrainingRecipe
from addax.models.training.run import Files, train_network


@pytest.fixture(scope="module")
def few():
    return data.load("digits", "train").head(256)


def fit(images, kernel="adder", *, seed=0, epochs=2, initial=0):
    torch.manual_seed(initial)
    module = zoo.build("lenet5", kernel=kernel)
    losses = []
    train(module, images, epochs=epochs, seed=seed, progress=lambda epoch, loss: losses.append((epoch, loss)))
    return module, losses


def same(left, right):
    pairs = zip(left.state_dict().values(), right.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("kernel", KERNELS)
def test_training_repeats_itself_whatever_the_global_generator_does(few, kernel):
    first, losses = fit(few, kernel)
    torch.manual_seed(0)
    second = zoo.build("lenet5", kernel=kernel)
    torch.manual_seed(99)
    again = []
    train(second, few, epochs=2, seed=0, progress=lambda epoch, loss: again.append((epoch, loss)))

    assert losses == again
    assert same(first, second)


def test_another_seed_trains_another_network(few):
    assert not same(fit(few, seed=0, epochs=1)[0], fit(few, seed=1, epochs=1)[0])


@pytest.mark.parametrize("kernel", KERNELS)
def test_loss_falls_within_three_epochs(few, kernel):
    module, losses = fit(few, kernel, epochs=3)

    assert [epoch for epoch, _ in losses] == [0, 1, 2]
    assert losses[2][1] < losses[1][1] < losses[0][1]
    assert losses[2][1] < 0.9 * losses[0][1]
    assert not module.training


def test_three_epochs_classify_better_than_chance(few):
    """With multiplications; batch statistics of an adder network take longer to settle than a test may."""
    module, _ = fit(few, "mult", epochs=3)

    assert accuracy(module, few) > 0.3


def test_every_parameter_moves(few):
    """Protects against a layer that the gradient does not reach."""
    torch.manual_seed(0)
    before = {name: value.clone() for name, value in zoo.build("lenet5", kernel="adder").named_parameters()}

    module, _ = fit(few, epochs=1)

    assert [name for name, value in module.named_parameters() if torch.equal(value, before[name])] == []


@pytest.mark.parametrize("count", [64 + 1, 3])
def test_last_batch_may_be_small(few, count):
    """A batch of one image has no batch statistics and would stop the training."""
    module, losses = fit(few.head(count), epochs=1)

    assert np.isfinite(losses[0][1])
    assert all(bool(value.isfinite().all()) for value in module.state_dict().values())


def test_training_images_are_left_as_they_are(few):
    before = few.x.copy()

    fit(few.head(64), epochs=1)

    assert np.array_equal(few.x, before)


def test_pixels_become_floats_from_zero_to_one():
    result = to_float(np.array([0, 51, 255], np.uint8))

    assert result.dtype == torch.float32
    assert result.tolist() == pytest.approx([0, 0.2, 1])


def test_prediction_does_not_depend_on_the_batch(few):
    """Protects against batch statistics in evaluation."""
    module, _ = fit(few.head(64), epochs=1)
    module.train()

    classes = predict(module, few.x)

    assert classes.shape == (256,)
    assert np.array_equal(classes, predict(module, few.x, batch=7))
    assert accuracy(module, few) == (classes == few.y).mean()


def test_recipe_trains_tests_and_saves(tmp_path):
    out = tmp_path / "net.safetensors"
    ticks = []

    result = train_network(
        "lenet5", kernel="mult", source="digits", recipe=TrainingRecipe(epochs=1, seed=3),
        files=Files(out=out, progress=ticks.append),
    )  # fmt: skip

    module, recipe = load_checkpoint(out)
    test = data.load("digits", "test")
    assert result == {
        "accuracy": accuracy(module, test), "images": 360, "epochs": 1, "seed": 3, "checkpoint": str(out),
    }  # fmt: skip
    assert (recipe.kernel, recipe.data, recipe.seed, recipe.epochs) == ("mult", "digits", 3, 1)
    assert recipe.accuracy == result["accuracy"] > 0.3
    assert [(tick.step, tick.steps) for tick in ticks] == [(k, 23) for k in range(23)]
    assert recipe.training == TrainingRecipe(epochs=1, seed=3).values()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.csv", "net.safetensors", "net.svg"]


def test_recipe_takes_shape_and_classes_from_the_data(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"{split}_x": rng.integers(0, 256, (8, 12, 16, 3), dtype=np.uint8) for split in data.SPLITS}
    arrays |= {f"{split}_y": np.arange(8) % 4 for split in data.SPLITS}
    np.savez(tmp_path / "set.npz", **arrays)

    train_network(
        "lenet5", kernel="adder", source=str(tmp_path / "set.npz"), recipe=TrainingRecipe(epochs=1, batch=8),
        files=Files(out=tmp_path / "net.safetensors"),
    )  # fmt: skip

    _, recipe = load_checkpoint(tmp_path / "net.safetensors")
    assert (recipe.shape, recipe.classes, recipe.data) == ((3, 12, 16), 4, "set.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "vgg"}, "unknown network 'vgg'; known: lenet5"),
        ({"kernel": "nand"}, "unknown kernel 'nand'; known: adder, mult, xnor, shift"),
        ({"source": "gone"}, "no data at 'gone'"),
    ],
)
def test_recipe_refuses_what_it_does_not_know(tmp_path, change, message):
    arguments = {"name": "lenet5", "kernel": "adder", "source": "digits", **change}

    with pytest.raises(UserError, match=message):
        train_network(
            arguments.pop("name"), **arguments, recipe=TrainingRecipe(epochs=1),
            files=Files(out=tmp_path / "net.safetensors"),
        )  # fmt: skip

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 16, 20), (1, 28, 28)])
@pytest.mark.parametrize("kernel", KERNELS)
def test_lenet5_gives_one_score_per_class(kernel, shape):
    module = LeNet5(kernel=kernel, shape=shape, classes=7)

    assert module(torch.rand(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("kernel", KERNELS)
def test_classic_lenet5_has_the_classic_weights(kernel):
    """61,470 weights: the 61,706 parameters of the literature less its 236 biases, which batch norm replaces."""
    module = LeNet5(kernel=kernel, shape=(1, 28, 28))

    weights = {name: value.numel() for name, value in module.named_parameters() if not name.startswith("bn")}
    assert list(weights.values()) == [150, 2400, 48000, 10080, 840]
    assert sum(weights.values()) == 61_706 - (6 + 16 + 120 + 84 + 10)


@pytest.mark.parametrize("shape", [(1, 15, 16), (1, 16, 14), (1, 8, 8), (1, 12, 13)])
def test_lenet5_names_the_sizes_that_it_takes(shape):
    with pytest.raises(UserError, match=f"12, 16, 20, .., not {shape[1]}x{shape[2]}"):
        zoo.build("lenet5", kernel="adder", shape=shape)


def test_default_shape_of_the_zoo_is_that_of_its_data():
    assert zoo.build("lenet5", kernel="adder").shape == zoo.NETWORKS["lenet5"].shape == (1, 16, 16)
