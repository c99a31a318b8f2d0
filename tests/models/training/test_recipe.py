"""Recipes: a value and a TOML file say the same, and what is wrong with either is said in one line."""

import math
import re
import tomllib
from itertools import pairwise
from pathlib import Path

import addax
import pytest
from addax.models.data.augment import Crop, Flip, Jitter
from addax.models.layers.contrast import Contrast
from addax.models.layers.routing import Routing
from addax.models.training.distil import Logits, Pkkd
from addax.models.training.objective import CrossEntropy
from addax.models.training.outset import Clustered
from addax.models.training.recipe import TrainingRecipe, read_recipe, recipe_of, recipe_toml
from addax.models.training.schedule import AdamW, Cosine, Sgd
from image_files import refused

FULL = TrainingRecipe(
    epochs=5, batch=100, accumulate=2, seed=7, precision="bfloat16", ema=0.999, cuda_graph=True, held_out=10,
    optimiser=AdamW(learning_rate=1e-4), schedule=Cosine(warmup=2, final=0.01, by="step"),
    loss=CrossEntropy(label_smoothing=0.1), augment=(Crop(padding=4), Flip(), Jitter(shift=1)),
    distil=Logits(teacher='a "b"\\\n.safetensors', layers=("bn1", "bn2")), routing=Routing(guide=0.5, budget=0.25),
    contrast=Contrast(weight=0.2),
    start=Clustered(checkpoint="dense.safetensors"),
)  # fmt: skip


@pytest.mark.parametrize("recipe", [TrainingRecipe(), FULL, TrainingRecipe(augment=(), distil=Pkkd())])
def test_a_recipe_comes_back_from_its_toml(tmp_path, recipe):
    (tmp_path / "r.toml").write_text(recipe_toml(recipe))

    assert read_recipe(tmp_path / "r.toml") == recipe
    assert recipe_of(recipe.values(), "here") == recipe
    assert tomllib.loads(recipe_toml(recipe)) == recipe.values()


def test_the_recipe_in_the_documentation_is_the_default():
    """docs/training.md shows every value."""
    text = (Path(addax.__file__).parent / "docs" / "training.md").read_text()
    default, distil = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)

    assert recipe_of(tomllib.loads(default), "docs") == TrainingRecipe()
    assert recipe_of(tomllib.loads(distil), "docs").distil == Logits(
        teacher="teacher.safetensors", layers=("bn2", "bn4")
    )  # fmt: skip


def test_what_a_recipe_leaves_out_is_the_default():
    """The default is that of the shipped checkpoints."""
    assert recipe_of({"epochs": 3}, "r") == TrainingRecipe(epochs=3)
    default = TrainingRecipe()
    assert default.optimiser == Sgd(learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    assert (default.batch, default.loss, default.augment) == (64, CrossEntropy(label_smoothing=0.05), (Jitter(),))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs =", "r.toml is no TOML"),
        ("epoch = 3", "r.toml has no 'epoch'; known: epochs, batch"),
        ("epochs = 0", "r.toml: epochs must be a positive integer, not 0"),
        ("epochs = 2.5", "epochs must be a positive integer, not 2.5"),
        ("batch = 1", "batch must be an integer in 2..1048576, not 1"),
        ("batch = true", "batch must be an integer in 2..1048576, not True"),
        ("batch = 8\naccumulate = 5", "accumulate must be an integer in 1..4, not 5"),
        ('precision = "float16"', "precision must be one of float32, bfloat16, not 'float16'"),
        ("ema = 2", "ema must be a number in 0..1, not 2"),
        ("cuda_graph = 1", "cuda_graph must be true or false, not 1"),
        ("optimiser = 3", "r.toml: optimiser must be a table, not 3"),
        ('[optimiser]\nkind = "lion"', "the kind of r.toml: optimiser must be one of sgd, adamw, not 'lion'"),
        ('[optimiser]\nkind = "sgd"\nbeta1 = 0.9', "r.toml: optimiser (sgd) has no 'beta1'; known: learning_rate"),
        ('[optimiser]\nkind = "sgd"\nlearning_rate = inf', "learning_rate must be a number in 0..1000.0, not inf"),
        ("[schedule]\nwarmup = 60", "a warm-up of 60 epochs leaves none of 60"),
        ('[schedule]\nby = "year"', "by must be one of epoch, step, not 'year'"),
        ("augment = 1", "augment must be an array of tables"),
        ('[[augment]]\nkind = "blur"', "must be one of crop, flip, jitter, patch, turn, not 'blur'"),
        ('[distil]\nkind = "logits"', "r.toml: distil (logits)"),
        ('[distil]\nkind = "pkkd"\ntemperature = 0', "temperature must be a number in 0.1..100, not 0"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    Path("r.toml").write_text(text)

    with refused(message):
        read_recipe(Path("r.toml"))


def test_a_missing_recipe_is_named(tmp_path):
    with refused("cannot read recipe", "gone.toml"):
        read_recipe(tmp_path / "gone.toml")


def test_the_learning_rate_falls_along_half_a_cosine():
    rates = [Cosine().factor(epoch, 10, step, 7) for epoch in range(10) for step in (0, 6)]

    assert rates[::2] == rates[1::2] == [0.5 * (1 + math.cos(math.pi * k / 10)) for k in range(10)]


def test_a_warm_up_rises_in_equal_steps_and_the_cosine_ends_at_its_final_share():
    rule = Cosine(warmup=2, final=0.1, by="step")

    rates = [rule.factor(epoch, 6, step, 4) for epoch in range(6) for step in range(4)]

    assert rates[:8] == [k / 8 for k in range(1, 9)]
    assert rates[8] == 1 and all(a > b for a, b in pairwise(rates[8:]))
    assert 0.1 < rates[-1] < 0.12
