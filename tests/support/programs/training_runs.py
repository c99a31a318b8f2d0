"""Small runs of training, and what they are compared by."""

import torch
from addax.models import data
from addax.models.data.examples import HeldExamples
from addax.models.nets import zoo
from addax.models.training.loop import Watch, train_by
from addax.models.training.recipe import TrainingRecipe
from torch import nn

FEW = TrainingRecipe(epochs=4, batch=32)


def few():
    return HeldExamples(images=data.load("digits", "train").head(100))


def small(channels=4, dropout=0.0):
    """A small network without batch norms, so that an image's result does not depend on its batch."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 5, stride=3), nn.Dropout(dropout), nn.ReLU(), nn.Flatten(), nn.Linear(16 * channels, 10)
    )


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


class StoppedError(Exception):
    pass


def stop_after(epochs):
    def epoch(rows):
        if len(rows) == epochs:
            raise StoppedError

    return Watch(epoch=epoch)


def make(kernel="mult"):
    return zoo.build("lenet5", kernel=kernel)


def trained(found, recipe, module=None, **how):
    torch.manual_seed(0)
    module = small() if module is None else module
    rows = train_by(recipe, module, found, **how)
    return weights(module), rows


def close(left, right):
    return all(torch.allclose(left[name], right[name], atol=1e-5) for name in left)
