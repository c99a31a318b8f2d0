"""What ``addax quantize`` and ``addax evaluate`` do: find a network, calibrate it, lower it; run it on a data set."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..common.errors import UserError
from ..models import data
from ..models.data.pairs import PHOTOGRAPHS
from ..models.data.picture_tasks import picture_task
from ..models.data.tiles import crops
from ..models.nets import zoo
from ..models.training.loop import accuracy, scores
from . import golden
from .fold.scheme import Scheme, chosen_scheme
from .lower.calibration import Calibration, calibrate
from .lower.lowering import ORIGINS, lower
from .lower.mixed import Sensitivity, choose, layers, mean_bits, sensitivities
from .lower.trace import Comparison, compare
from .program import TASK_NAME, Program, Shape
from .published import PUBLISHED
from .sources import FLOAT_WEIGHTS, WEIGHTS_NAME, Source, in_task, published_file, recalled, resolve, sha256_of_file

__all__ = [
    "CALIBRATION_IMAGES",
    "Evaluation",
    "Quantized",
    "evaluate",
    "float_of",
    "quantize",
    "quantize_float",
    "quantize_network",
    "trace_program",
]

CALIBRATION_IMAGES = 300
SENSITIVITY_IMAGES = 200
SENSITIVITY_BITS = (8, 6, 5, 4, 3)


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """A Program, and what was found out on the way.

    Attributes
    ----------
    sensitivities : one row per layer and width, when they were asked for
    """

    program: Program
    sensitivities: tuple[Sensitivity, ...] = ()


def quantize(
    source: str | Path, *, kernel: str | None, weights: str | Path | None, bits: int, data_source: str
) -> Program:
    """`quantize_network` with nothing but a number of bits to choose."""
    scheme = chosen_scheme(bits=bits)
    return quantize_network(source, kernel=kernel, weights=weights, data_source=data_source, scheme=scheme).program


def quantize_network(
    source: str | Path,
    *,
    kernel: str | None,
    weights: str | Path | None,
    data_source: Any,
    scheme: Scheme | None = None,
    images: int = CALIBRATION_IMAGES,
    mean: float | None = None,
    sensitivity: bool = False,
    bits_given: bool = True,
    size: tuple[int, int] | None = None,
    input_scale: float | None = None,
    input_offset: float | None = None,
    task: str | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> Quantized:
    """Quantise ``source`` after training, calibrated on images of ``data_source``.

    Parameters
    ----------
    source : a network of the zoo, ``addernet-resnet20``, ``lfc-w1a1``, ``cnv-w1a1``, a ``.safetensors`` checkpoint, a
        ``.onnx`` file, or ``package.module:factory``, which is imported and called
    kernel : for a network of the zoo; ``adder`` when None
    weights : of a published network; for a network of the zoo or a factory a ``.safetensors``, ``.pt`` or ``.pth``
        file; a network of the zoo brings its own
    data_source : whatever `data.samples` takes; of a path, its train split. For a network that makes images larger what
        `load_pairs` takes, too, of which crops calibrate. None: the embedded data set
    images : that calibrate
    mean : budget of bits per weight: the width of every layer is chosen by its sensitivity
    sensitivity : make the table of sensitivities
    bits_given : False: a checkpoint that was trained at few bits may set those of ``scheme``
    size : rows and columns of the images that the Program takes; those that calibrate unless given
    input_scale, input_offset : of a ``.onnx`` file: what its network reads is ``scale * pixel + offset``; None: what
        the file says, else 1/255 and 0
    task : of a network that has several; the first that it was trained for when None
    progress : called with what happens next

    Raises
    ------
    UserError
        for anything of it that is missing, foreign or does not fit.
    """
    source, weights = str(source), None if weights is None else Path(weights)
    said = input_scale is not None or input_offset is not None
    if said and not source.endswith(".onnx"):
        raise UserError(f"{source} reads pixels as it was trained; --input-scale and --input-offset are for ONNX files")
    if (ready := _integers(source, kernel, weights, input_scale, input_offset)) is not None:
        if mean is not None or sensitivity:
            raise UserError(f"{source} is a network of integers already; its widths cannot be chosen")
        if task is not None:
            raise UserError(f"{source} is a network of integers already; leave --task out")
        return Quantized(program=ready if size is None else ready.resized(*size))
    network = in_task(resolve(source, kernel, weights, shape=_shape_of(data_source, source, weights)), task)
    return quantize_float(
        network, data_source, scheme=scheme, images=images, mean=mean, sensitivity=sensitivity, bits_given=bits_given,
        size=size, weights=weights, progress=progress,
    )  # fmt: skip


def quantize_float(
    network: Source,
    data_source: Any,
    *,
    scheme: Scheme | None = None,
    images: int = CALIBRATION_IMAGES,
    mean: float | None = None,
    sensitivity: bool = False,
    bits_given: bool = True,
    size: tuple[int, int] | None = None,
    weights: Path | None = None,
    image_mean: Sequence[float] | None = None,
    image_std: Sequence[float] | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> Quantized:
    """Quantise a float network; the rest as `quantize_network`.

    Parameters
    ----------
    weights : the file of them, for metadata
    image_mean, image_std : of the standardisation that images of ``data_source`` have had
    """
    if images < 1:
        raise UserError(f"calibration needs a positive number of images, not {images}")
    chooses = mean is not None or sensitivity
    scheme = _settled(scheme or Scheme(), network, bits_given=bits_given, chooses=chooses)
    if network.scale is None:
        source = data.DIGITS if data_source is None else data_source
        chosen = data.samples(source, "train", shape=network.shape, limit=images, mean=image_mean, std=image_std)
    else:
        if chooses:
            raise UserError(f"{network.said} makes images; widths of layers are chosen by what classes lose")
        scheme = replace(scheme, result="pixels")
        chosen = _small_images(network, PHOTOGRAPHS if data_source is None else data_source, images)
    metadata = _origin(network, weights, scheme, f"{len(chosen)} images of {chosen.said}")
    found = _calibrated(
        network.module, chosen.x, scheme, metadata, mean=mean, sensitivity=sensitivity, progress=progress
    )  # fmt: skip
    return found if size is None else replace(found, program=found.program.resized(*size))


def _small_images(network: Source, given: Any, count: int) -> data.Samples:
    """Images for a network that makes them larger: crops of a set of pictures, made small; arrays as they are."""
    if not isinstance(given, str | Path) or Path(given).suffix == ".npz":
        return data.samples(given, "train", limit=count)
    assert network.scale is not None and network.shape is not None
    found = picture_task(network.task, scale=network.scale)
    pairs = found.fixed_pairs(given, "train", channels=network.shape[0])
    return data.Samples(x=crops(pairs, network.shape, count), y=None, said=pairs.said)


def _settled(scheme: Scheme, network: Source, *, bits_given: bool, chooses: bool) -> Scheme:
    """``scheme`` with the bits at which the network was trained, if it was; ``chooses``: widths are to be chosen."""
    if network.bits is None:
        return scheme
    if bits_given and network.bits != scheme.bits:
        raise UserError(f"{network.said} was trained at {network.bits} bits, not {scheme.bits}; leave --bits out")
    if chooses or scheme.layer_bits:
        raise UserError(f"{network.said} was trained at {network.bits} bits; its widths cannot be chosen any more")
    return replace(scheme, bits=network.bits)


def _calibrated(
    module: nn.Module, images: NDArray[np.uint8], scheme: Scheme, metadata: Mapping[str, str], *, mean: float | None,
    sensitivity: bool, progress: Callable[[str], None],
) -> Quantized:  # fmt: skip
    """The Program of ``module``, calibrated on ``images`` (N, C, H, W); the rest as `quantize_network`."""
    progress("calibrating")
    calibration = calibrate(module, images, scheme=scheme)
    rows: list[Sensitivity] = []
    chosen: dict[str, str] = {}
    if mean is not None or sensitivity:
        rows = _sensitivities(module, calibration, images[:SENSITIVITY_IMAGES], scheme, progress)
    if mean is not None:
        widths = choose(rows, budget=mean)
        scheme = replace(scheme, layer_bits=widths)
        chosen["mean_bits"] = f"{mean_bits(rows, widths):.3f}"
        chosen["layer_bits"] = " ".join(f"{layer}:{bits}" for layer, bits in widths.items())
    progress("lowering")
    return Quantized(
        program=lower(module, calibration, scheme=scheme, metadata={**metadata, **chosen}), sensitivities=tuple(rows)
    )


def _origin(network: Source, weights: Path | None, scheme: Scheme, images: str) -> dict[str, str]:
    """Metadata of the Program: of which network it is made, and how; ``images`` says what calibrates."""
    metadata = {
        "network": network.name,
        "kernel": network.kernel,
        "bits": str(scheme.bits),
        "calibration": images,
        "source": network.said,
    }
    if weights is not None:
        metadata[WEIGHTS_NAME] = weights.name
    if network.file is not None:
        metadata[FLOAT_WEIGHTS] = sha256_of_file(network.file)
    if network.task is not None:
        metadata[TASK_NAME] = network.task
    if network.accuracy is not None:
        metadata["float_accuracy"] = f"{network.accuracy:.6f}"
    if network.psnr is not None:
        metadata["float_psnr"] = f"{network.psnr:.4f}"
    return metadata


def _sensitivities(
    module: nn.Module, calibration: Calibration, images: NDArray[np.uint8], scheme: Scheme,
    progress: Callable[[str], None],
) -> list[Sensitivity]:  # fmt: skip
    """What each layer loses at each of `SENSITIVITY_BITS`, measured on ``images`` (N, C, H, W)."""
    total, done = len(layers(calibration)) * len(SENSITIVITY_BITS), count(1)
    return sensitivities(
        calibration, images, scores(module, images), scheme=scheme, bits=SENSITIVITY_BITS,
        progress=lambda: progress(f"sensitivity, {next(done)} of {total}"),
    )  # fmt: skip


def _integers(
    source: str, kernel: str | None, weights: Path | None, input_scale: float | None, input_offset: float | None
) -> Program | None:
    """The Program of a source that brings integers."""
    if source.endswith(".onnx"):
        if weights is not None or kernel is not None:
            raise UserError("an ONNX file holds its own kernel and weights; leave --kernel and --weights out")
        from .onnx.read import import_onnx

        return import_onnx(Path(source), input_scale=input_scale, input_offset=input_offset)
    if source in PUBLISHED:
        return PUBLISHED[source](published_file(source, kernel, weights))
    return None


def _shape_of(data_source: Any, source: str, weights: Path | None) -> Shape | None:
    """Shape of the images, where bare weights do not say for which they were trained."""
    embedded = data_source is None or (isinstance(data_source, str) and data_source == data.DIGITS)
    if source not in zoo.NETWORKS or weights is None or embedded or zoo.NETWORKS[source].scale is not None:
        return None
    _, channels, height, width = data.samples(data_source, "train").x.shape
    return channels, height, width


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


def evaluate(program: Program, images: data.Images | data.Samples) -> Evaluation:
    """Run the golden model over ``images``; raises `UserError` without labels, and for a Program without classes."""
    labels = images.known() if isinstance(images, data.Samples) else images.y
    _ = program.classes  # before the minutes that images may take
    begin = time.perf_counter()
    classes = golden.run(program, images.x).classes
    return Evaluation(images=len(images), correct=int(np.sum(classes == labels)), seconds=time.perf_counter() - begin)


def trace_program(
    program: Program,
    images: data.Images | data.Samples,
    *,
    source: str | Path | None,
    weights: str | Path | None,
    folder: str | Path | None = None,
) -> Comparison:
    """Compare ``program`` with its float network, layer by layer.

    Parameters
    ----------
    source, weights : of the float network, as a person typed them. When there is no ``source``, what the Program says
        it was made of is looked for: by name in the zoo, or by name and SHA-256 among the files of ``folder`` and of
        the current folder. A Program that says it was made by a factory is refused: a file never chooses what is run.
    folder : in which the Program lies

    Raises
    ------
    UserError
        when the float network cannot be found or is another one.
    """
    if ORIGINS not in program.metadata:
        raise UserError("the program does not come from a float network; there is nothing to compare it with")
    return compare(program, float_of(program, source=source, weights=weights, folder=folder), images.x)


def float_of(
    program: Program, *, source: str | Path | None, weights: str | Path | None, folder: str | Path | None = None
) -> nn.Module:  # fmt: skip
    """The float network that ``program`` was made of, in evaluation mode; arguments and errors as `trace_program`."""
    weights = None if weights is None else Path(weights)
    if source is None:
        if "source" not in program.metadata:
            raise UserError("the program does not come from a float network; there is nothing to compare it with")
        folders = (Path.cwd(),) if folder is None else (Path(folder), Path.cwd())
        found = recalled(program.metadata, weights, folders)
    else:
        found = resolve(str(source), program.metadata.get("kernel") if source in zoo.NETWORKS else None, weights)
    return in_task(found, program.metadata.get(TASK_NAME)).module


def float_accuracy(source: str, kernel: str, data_source: str) -> float:
    """Accuracy of a network of the zoo before quantisation, on the test split."""
    network = resolve(source, kernel, None)
    return accuracy(network.module, data.load(data_source, "test", shape=network.shape))
