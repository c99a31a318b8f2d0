"""Training at few bits: on the trainer of float networks, to integers that are what was trained."""

import numpy as np
import pytest
import torch
from addax.models import data
from addax.models.files.checkpoint import read_checkpoint
from addax.models.training.loop import predict
from addax.models.training.recipe import TrainingRecipe
from addax.models.training.run import Files
from addax.quant import golden
from addax.quant.fold.scheme import chosen_scheme
from addax.quant.qat.train import float_start, load_trained, qat_recipe, train_quantized
from addax.quant.quantize import quantize_network
from image_files import refused
from marks import GUARD

RECIPE = qat_recipe().changed(epochs=1)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """320 digits to train on, which is enough for a checkpoint that is trained already."""
    path = tmp_path_factory.mktemp("few") / "few.npz"
    splits = {split: data.load("digits", split) for split in data.SPLITS}
    arrays = {f"{split}_x": images.x[:320, 0] for split, images in splits.items()}
    np.savez(path, **arrays, **{f"{split}_y": images.y[:320] for split, images in splits.items()})
    return str(path)


def go_on(kernel, bits, few, out, recipe=RECIPE, **how):
    start = float_start("lenet5", kernel, None)
    return train_quantized(start, bits=bits, source=few, recipe=recipe, files=Files(out=out, **how))


@pytest.mark.parametrize(
    ("kernel", "bits"),
    [
        ("adder", 4), pytest.param("mult", 2, marks=GUARD), pytest.param("shift", 3, marks=GUARD),
        pytest.param("xnor", 4, marks=GUARD), pytest.param("mult", 8, marks=GUARD),
        pytest.param("adder", 2, marks=GUARD),
    ],
)  # fmt: skip
def test_the_integers_decide_as_the_network_that_was_trained(few, tmp_path, kernel, bits):
    """The grids are taken as they were learned: steps of features, and widths."""
    value = go_on(kernel, bits, few, tmp_path / "q.safetensors")

    module, recipe = load_trained(tmp_path / "q.safetensors")
    images = data.load("digits", "test")
    made = quantize_network(
        tmp_path / "q.safetensors", kernel=None, weights=None, data_source=few, scheme=chosen_scheme(),
        bits_given=False,
    )  # fmt: skip
    agreed = golden.run(made.program, images.x).classes == predict(module, images.x)
    assert value["bits"] == recipe.bits == bits and value["accuracy"] > 0.5
    assert agreed.mean() > 0.985
    assert recipe.training == RECIPE.values()


def test_it_goes_on_after_an_interruption_to_the_same_file(few, tmp_path, monkeypatch):
    from addax.models.training import loop
    from training_runs import StoppedError

    recipe = RECIPE.changed(epochs=2)
    go_on("mult", 4, few, tmp_path / "whole.safetensors", recipe)
    save = loop.save_state

    def stopping(keeping, moving, rows):
        save(keeping, moving, rows)
        raise StoppedError

    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr(loop, "save_state", stopping)
        go_on("mult", 4, few, tmp_path / "broken.safetensors", recipe)
    torch.rand(3)
    go_on("mult", 4, few, tmp_path / "broken.safetensors", recipe, resume=True)

    assert (tmp_path / "broken.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert read_checkpoint(tmp_path / "whole.safetensors")[1].epochs == 2


def test_a_network_trained_at_few_bits_is_no_start(few, tmp_path):
    go_on("mult", 4, few, tmp_path / "q.safetensors")

    with refused("is trained at 4 bits already; start from a float checkpoint"):
        train_quantized(
            tmp_path / "q.safetensors", bits=3, source=few, recipe=TrainingRecipe(epochs=1),
            files=Files(out=tmp_path / "r.safetensors"),
        )  # fmt: skip
