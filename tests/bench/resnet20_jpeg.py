"""Turn the ResNet-20 pair of ``shared/data/resnet20_jpeg`` into checkpoints: ``python -m tests.bench.resnet20_jpeg
SOURCE OUT``.

The pair was trained outside of addax on the JPEG CIFAR-10, adder and mult by one recipe. Its images were standardised
by other deviations than those of `ResNet20`; the ratio goes into the weights of the first convolution, which is an
ordinary one, so that both compute the same.
"""

import sys
from pathlib import Path

import torch
from addax.common.tensors import read_safetensors
from addax.models.data.augment import Crop, Flip
from addax.models.files.checkpoint import Recipe, fit, save_checkpoint
from addax.models.nets.resnet import CIFAR10_DEVIATION, ResNet20
from addax.models.training.objective import CrossEntropy
from addax.models.training.recipe import TrainingRecipe

DEVIATION = (0.2470, 0.2435, 0.2616)
ACCURACY = {"adder": 0.8512, "mult": 0.8683}
RECIPE = TrainingRecipe(epochs=43, batch=256, loss=CrossEntropy(label_smoothing=0), augment=(Crop(padding=4), Flip()))
"""The nearest that a recipe can say: that run cut one window per batch, and what it smoothed is not recorded."""
PLACES = {"c": "conv1", "b": "bn1", "fc": "fc", "bn": "bn2"}
PARTS = {"c1": "conv1", "b1": "bn1", "c2": "conv2", "b2": "bn2", "d": "downsample"}


def renamed(name: str) -> str:
    """The name in `ResNet20` of a tensor of the pair: ``l.3.d.1.weight`` is ``layer2.0.downsample.1.weight``."""
    first, _, rest = name.partition(".")
    if first != "l":
        return f"{PLACES[first]}.{rest}"
    block, part, rest = rest.split(".", 2)
    return f"layer{int(block) // 3 + 1}.{int(block) % 3}.{PARTS[part]}.{rest}"


def convert(source: Path, out: Path, kernel: str) -> None:
    """One network of the pair as a checkpoint."""
    path = source / f"resnet20-{kernel}.safetensors"
    tensors = {renamed(name): value for name, value in read_safetensors(path, "pt")[0].items()}
    ratio = torch.tensor(CIFAR10_DEVIATION) / torch.tensor(DEVIATION)
    tensors["conv1.weight"] = tensors["conv1.weight"] * ratio.view(1, -1, 1, 1)
    module = fit(ResNet20(kernel=kernel), tensors, str(path), "resnet20")
    recipe = Recipe(
        network="resnet20", kernel=kernel, shape=(3, 32, 32), classes=10, data="cifar10_jpeg_q75", seed=0,
        epochs=RECIPE.epochs, accuracy=ACCURACY[kernel], training=RECIPE.values(),
    )  # fmt: skip
    save_checkpoint(out / f"resnet20-{kernel}.safetensors", module, recipe)


if __name__ == "__main__":
    for one in ACCURACY:
        convert(Path(sys.argv[1]), Path(sys.argv[2]), one)
