"""What ``addax quantize`` and ``addax evaluate`` do: find a network, calibrate it, lower it; run it on a data set."""

import importlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..common.errors import UserError
from ..models import data, zoo
from ..models.checkpoint import check_finite, load_checkpoint
from ..models.layers import KERNELS
from ..models.train import accuracy
from . import golden
from .lower import lower
from .program import Program

__all__ = ["CALIBRATION_IMAGES", "Evaluation", "evaluate", "quantise"]

CALIBRATION_IMAGES = 1000


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A float network ready to be quantised."""

    module: nn.Module
    name: str
    kernel: str
    shape: tuple[int, int, int] | None
    accuracy: float | None


def quantise(source: str, *, kernel: str | None, weights: Path | None, bits: int, data_source: str) -> Program:
    """Quantise ``source`` after training, calibrated on the train split of ``data_source``.

    Parameters
    ----------
    source : a network of the zoo, a ``.safetensors`` checkpoint, or ``package.module:factory``
    kernel : for a network of the zoo; ``adder`` when None
    weights : safetensors file for a network of the zoo or a factory; a network of the zoo brings its own

    Raises
    ------
    UserError
        for anything of it that is missing, foreign or does not fit.
    """
    if not 2 <= bits <= 16:
        raise UserError(f"bits must be in 2..16, not {bits}")
    network = _resolve(source, kernel, weights)
    images = data.load(data_source, "train", shape=network.shape).head(CALIBRATION_IMAGES)
    metadata = {
        "network": network.name,
        "kernel": network.kernel,
        "bits": str(bits),
        "calibration": f"{len(images)} images of the train split of {Path(data_source).name}",
    }
    if network.accuracy is not None:
        metadata["float_accuracy"] = f"{network.accuracy:.6f}"
    return lower(network.module, images.x, bits=bits, metadata=metadata)


def _resolve(source: str, kernel: str | None, weights: Path | None) -> _Source:
    if source.endswith(".onnx"):
        raise UserError("ONNX files cannot be read by this version; give a network, a checkpoint or a factory")
    if source.endswith(".safetensors"):
        if weights is not None or kernel is not None:
            raise UserError("a checkpoint holds its own kernel and weights; leave --kernel and --weights out")
        return _from_checkpoint(Path(source))
    if ":" in source:
        return _from_factory(source, kernel, weights)
    kernel = kernel or KERNELS[0]
    zoo.build(source, kernel=kernel)  # names what is wrong with either
    checkpoint = weights or zoo.shipped_checkpoint(source, kernel)
    if checkpoint is None:
        raise UserError(f"no checkpoint comes with {source}, kernel {kernel}; train one and name it with --weights")
    found = _from_checkpoint(checkpoint)
    if (found.name, found.kernel) != (source, kernel):
        raise UserError(f"{checkpoint} holds {found.name} with kernel {found.kernel}, not {source} with {kernel}")
    return found


def _from_checkpoint(path: Path) -> _Source:
    module, recipe = load_checkpoint(path)
    return _Source(
        module=module, name=recipe.network, kernel=recipe.kernel, shape=recipe.shape, accuracy=recipe.accuracy
    )


def _from_factory(source: str, kernel: str | None, weights: Path | None) -> _Source:
    module_name, _, attribute = source.partition(":")
    sys.path.insert(0, str(Path.cwd()))  # a module beside the user, as `python -m` finds it
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except AttributeError as error:
        raise UserError(f"module {module_name!r} has no {attribute!r}: {error}") from error
    except Exception as error:  # importing runs the user's code, which may raise anything
        raise UserError(f"cannot import {module_name!r}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    try:
        module = factory()
    except Exception as error:  # the user's code, too
        raise UserError(f"{source} raised {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise UserError(f"{source} must return a torch.nn.Module, not {type(module).__name__}")
    if weights is not None:
        try:
            tensors = load_file(weights)
        except (OSError, SafetensorError) as error:
            raise UserError(f"cannot read weights {weights}: {error}") from error
        check_finite(tensors, str(weights))
        try:
            module.load_state_dict(tensors)
        except RuntimeError as error:
            raise UserError(f"{weights} does not fit {source}: {str(error).splitlines()[-1].strip()}") from error
    return _Source(module=module.eval(), name=attribute, kernel=kernel or "own", shape=None, accuracy=None)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Accuracy of a Program by its golden model."""

    images: int
    correct: int
    seconds: float

    @property
    def accuracy(self) -> float:
        """Share of images classified correctly."""
        return self.correct / self.images

    def keys(self) -> dict[str, float]:
        """The values that scripts read."""
        return {
            "images": self.images,
            "correct": self.correct,
            "accuracy": self.accuracy,
            "images_per_second": self.images / max(self.seconds, 1e-9),
        }


def evaluate(program: Program, images: data.Images) -> Evaluation:
    """Run the golden model over ``images``."""
    begin = time.perf_counter()
    classes = golden.run(program, images.x).classes
    return Evaluation(images=len(images), correct=int(np.sum(classes == images.y)), seconds=time.perf_counter() - begin)


def float_accuracy(source: str, kernel: str, data_source: str) -> float:
    """Accuracy of a network of the zoo before quantisation, on the test split."""
    network = _resolve(source, kernel, None)
    return accuracy(network.module, data.load(data_source, "test", shape=network.shape))
