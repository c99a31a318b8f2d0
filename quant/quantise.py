"""What ``addax quantize`` and ``addax evaluate`` do: find a network, calibrate it, lower it; run it on a data set."""

import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..common.errors import UserError
from ..models import data, zoo
from ..models.checkpoint import fit, load_checkpoint, read_checkpoint
from ..models.layers import KERNELS
from ..models.published import addernet_resnet20
from ..models.train import accuracy, scores
from . import golden
from .lower import calibrate, lower
from .mixed import Sensitivity, choose, layers, mean_bits, sensitivities
from .program import Program
from .published import PUBLISHED
from .scheme import Scheme
from .trace import Comparison, compare

__all__ = [
    "CALIBRATION_IMAGES",
    "Evaluation",
    "Quantised",
    "evaluate",
    "float_network",
    "quantise",
    "quantise_network",
    "trace_program",
]

CALIBRATION_IMAGES = 300
SENSITIVITY_IMAGES = 200
SENSITIVITY_BITS = (8, 6, 5, 4, 3)
_ADDERNET = "addernet-resnet20"


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A float network ready to be quantised."""

    module: nn.Module
    name: str
    kernel: str
    shape: tuple[int, int, int] | None
    accuracy: float | None
    bits: int | None = None


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """A Program, and what was found out on the way.

    Attributes
    ----------
    sensitivities : one row per layer and width, when they were asked for
    """

    program: Program
    sensitivities: tuple[Sensitivity, ...] = ()


def quantise(source: str, *, kernel: str | None, weights: Path | None, bits: int, data_source: str) -> Program:
    """`quantise_network` with nothing but a number of bits to choose."""
    try:
        scheme = Scheme(bits=bits)
    except ValueError as error:
        raise UserError(str(error)) from error
    return quantise_network(source, kernel=kernel, weights=weights, data_source=data_source, scheme=scheme).program


def quantise_network(
    source: str,
    *,
    kernel: str | None,
    weights: Path | None,
    data_source: str,
    scheme: Scheme | None = None,
    images: int = CALIBRATION_IMAGES,
    mean: float | None = None,
    sensitivity: bool = False,
    bits_given: bool = True,
    input_scale: float | None = None,
    input_offset: float | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> Quantised:
    """Quantise ``source`` after training, calibrated on the train split of ``data_source``.

    Parameters
    ----------
    source : a network of the zoo, ``addernet-resnet20``, ``lfc-w1a1``, ``cnv-w1a1``, a ``.safetensors`` checkpoint, a
        ``.onnx`` file, or ``package.module:factory``
    kernel : for a network of the zoo; ``adder`` when None
    weights : of a published network; safetensors file for a network of the zoo or a factory; a network of the zoo
        brings its own
    images : of the train split that calibrate
    mean : budget of bits per weight: the width of every layer is chosen by its sensitivity
    sensitivity : make the table of sensitivities
    bits_given : False: a checkpoint that was trained at few bits may set those of ``scheme``
    input_scale, input_offset : of a ``.onnx`` file: what its network reads is ``scale * pixel + offset``; None: what
        the file says, else 1/255 and 0
    progress : called with what happens next

    Raises
    ------
    UserError
        for anything of it that is missing, foreign or does not fit.
    """
    scheme = scheme or Scheme()
    if images < 1:
        raise UserError(f"calibration needs a positive number of images, not {images}")
    said = input_scale is not None or input_offset is not None
    if said and not source.endswith(".onnx"):
        raise UserError(f"{source} reads pixels as it was trained; --input-scale and --input-offset are for ONNX files")
    if (ready := _integers(source, kernel, weights, input_scale, input_offset)) is not None:
        if mean is not None or sensitivity:
            raise UserError(f"{source} is a network of integers already; its widths cannot be chosen")
        return Quantised(program=ready)
    network = _resolve(source, kernel, weights)
    if network.bits is not None:
        if bits_given and network.bits != scheme.bits:
            raise UserError(f"{source} was trained at {network.bits} bits, not {scheme.bits}; leave --bits out")
        if mean is not None or sensitivity or scheme.layer_bits:
            raise UserError(f"{source} was trained at {network.bits} bits; its widths cannot be chosen any more")
        scheme = replace(scheme, bits=network.bits)
    chosen = data.load(data_source, "train", shape=network.shape).head(images)
    metadata = {
        "network": network.name,
        "kernel": network.kernel,
        "bits": str(scheme.bits),
        "calibration": f"{len(chosen)} images of the train split of {Path(data_source).name}",
        "source": source,
    }
    if weights is not None:
        metadata["weights"] = str(weights)
    if network.accuracy is not None:
        metadata["float_accuracy"] = f"{network.accuracy:.6f}"
    progress("calibrating")
    calibration = calibrate(network.module, chosen.x, scheme=scheme)
    rows: list[Sensitivity] = []
    if mean is not None or sensitivity:
        few = chosen.x[:SENSITIVITY_IMAGES]
        count = len(layers(calibration)) * len(SENSITIVITY_BITS)
        rows = sensitivities(
            calibration, few, scores(network.module, few), scheme=scheme, bits=SENSITIVITY_BITS,
            progress=lambda: progress(f"sensitivity, {len(rows)} of {count}"),
        )  # fmt: skip
    if mean is not None:
        widths = choose(rows, budget=mean)
        scheme = replace(scheme, layer_bits=widths)
        metadata["mean_bits"] = f"{mean_bits(rows, widths):.3f}"
        metadata["layer_bits"] = " ".join(f"{layer}:{bits}" for layer, bits in widths.items())
    progress("lowering")
    return Quantised(
        program=lower(network.module, calibration, scheme=scheme, metadata=metadata), sensitivities=tuple(rows)
    )


def _integers(
    source: str, kernel: str | None, weights: Path | None, input_scale: float | None, input_offset: float | None
) -> Program | None:
    """The Program of a source that brings integers."""
    if source.endswith(".onnx"):
        if weights is not None or kernel is not None:
            raise UserError("an ONNX file holds its own kernel and weights; leave --kernel and --weights out")
        from .onnx_import import import_onnx

        return import_onnx(Path(source), input_scale=input_scale, input_offset=input_offset)
    if source in PUBLISHED:
        return PUBLISHED[source](_published_file(source, kernel, weights))
    return None


def _published_file(source: str, kernel: str | None, weights: Path | None) -> Path:
    """The file of a published network."""
    if kernel is not None:
        raise UserError(f"{source} has a kernel of its own; leave --kernel out")
    if weights is None:
        raise UserError(f"{source} needs its published weights: name the file with --weights")
    return weights


def float_network(source: str, *, kernel: str | None, weights: Path | None) -> nn.Module:
    """The float network of ``source``, in evaluation mode; raises `UserError` as `quantise` does."""
    return _resolve(source, kernel, weights).module


def _resolve(source: str, kernel: str | None, weights: Path | None) -> _Source:
    if source == _ADDERNET:
        module = addernet_resnet20(_published_file(source, kernel, weights))
        return _Source(module=module, name=source, kernel="adder", shape=(3, 32, 32), accuracy=None)
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
    _, recipe = read_checkpoint(path)
    if recipe.bits is None:
        module, recipe = load_checkpoint(path)
    else:
        from .qat import load_trained  # Brevitas takes seconds to import

        module, recipe = load_trained(path)
    return _Source(
        module=module, name=recipe.network, kernel=recipe.kernel, shape=recipe.shape, accuracy=recipe.accuracy,
        bits=recipe.bits,
    )  # fmt: skip


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
        fit(module, tensors, str(weights), source)
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
    """Run the golden model over ``images``; raises `UserError` for a Program that is no classifier."""
    _ = program.classes  # before the minutes that images may take
    begin = time.perf_counter()
    classes = golden.run(program, images.x).classes
    return Evaluation(images=len(images), correct=int(np.sum(classes == images.y)), seconds=time.perf_counter() - begin)


def trace_program(program: Program, images: data.Images, *, source: str | None, weights: Path | None) -> Comparison:
    """Compare ``program`` with its float network, layer by layer.

    Parameters
    ----------
    source, weights : of the float network; what the Program was made of when None

    Raises
    ------
    UserError
        when the float network cannot be found or is another one.
    """
    if source is None and weights is None and "weights" in program.metadata:
        weights = Path(program.metadata["weights"])
    source = source or program.metadata.get("source")
    if source is None or "origins" not in program.metadata:
        raise UserError("the program does not come from a float network; there is nothing to compare it with")
    own_kernel = source.endswith(".safetensors") or source == _ADDERNET or ":" in source
    kernel = None if own_kernel else program.metadata.get("kernel")
    return compare(program, float_network(source, kernel=kernel, weights=weights), images.x)


def float_accuracy(source: str, kernel: str, data_source: str) -> float:
    """Accuracy of a network of the zoo before quantisation, on the test split."""
    network = _resolve(source, kernel, None)
    return accuracy(network.module, data.load(data_source, "test", shape=network.shape))
