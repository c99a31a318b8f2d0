"""Float networks by what a person types: a name of the zoo, a published network, a checkpoint, or a factory.

A factory, ``package.module:name``, is code that is imported and called. Only what a person typed reaches `resolve`;
what a file says of its own origin goes through `recalled`, which knows names and checksums and imports nothing.
"""

import copy
import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from ..common.errors import UserError
from ..common.files import sha256_of
from ..common.reading import read_regular
from ..common.tensors import HEADER, read_safetensors
from ..models.files.checkpoint import Recipe, build_for, fit, load_checkpoint, read_checkpoint
from ..models.files.published import addernet_resnet20
from ..models.files.weights import TORCH, read_weights
from ..models.layers.kernels import KERNELS
from ..models.layers.normalize import standardised
from ..models.nets import zoo
from ..models.nets.transformers.ipt import IPT
from .program import Shape
from .published import PUBLISHED

__all__ = [
    "FILES", "FLOAT_WEIGHTS", "WEIGHTS_NAME", "Source", "in_task", "own_module", "published_file", "recalled",
    "resolve", "sha256_of_file",
]  # fmt: skip

FILES = (".safetensors", *TORCH)
"""Suffixes of files of float weights."""
WEIGHTS_NAME = "weights"
FLOAT_WEIGHTS = "weights_sha256"
"""Keys of a Program's metadata: name and SHA-256 of the file of float weights that it was made of."""
_ADDERNET = "addernet-resnet20"
CROP = 48
"""Rows and columns of the images that a network which takes any size is calibrated with, unless it says others."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A float network ready to be quantised.

    Attributes
    ----------
    name, kernel : of the network
    said : what it was made of, for metadata: a name, the name of a file without its folder, or a factory
    shape : (C, H, W) of its images; None for a factory, which takes what it gets
    accuracy, psnr : that its checkpoint claims, a share or decibels
    scale : how many times it makes images as large, of any size; None where it is not known to
    task : which of several things it does to pictures; None where it has no tasks
    bits : that it was trained at; None for a float network
    file : of its weights; None where they come with addax or from the factory
    """

    module: nn.Module
    name: str
    kernel: str
    said: str
    shape: Shape | None = None
    accuracy: float | None = None
    psnr: float | None = None
    scale: int | None = None
    task: str | None = None
    bits: int | None = None
    file: Path | None = None


def resolve(source: str, kernel: str | None, weights: Path | None, *, shape: Shape | None = None) -> Source:
    """The float network that a person typed. A factory is imported and called.

    Parameters
    ----------
    source : a network of the zoo, ``addernet-resnet20``, a ``.safetensors`` checkpoint, or ``package.module:factory``
    kernel : for a network of the zoo; ``adder`` when None
    weights : of ``addernet-resnet20``; for a network of the zoo or a factory a checkpoint, or a file of bare weights
    shape : of the images, for bare weights of a network of the zoo; its own when None

    Raises
    ------
    UserError
        for anything of it that is missing, foreign or does not fit.
    """
    if source == _ADDERNET:
        file = published_file(source, kernel, weights)
        module = addernet_resnet20(file)
        return Source(module=module, name=source, kernel="adder", said=source, shape=(3, 32, 32), file=file)
    if source.endswith(TORCH):
        raise UserError(
            f"{source} holds weights, but not which network they are of; name that and give them with --weights "
            f"{source}"
        )
    if source.endswith(".safetensors"):
        if weights is not None or kernel is not None:
            raise UserError("a checkpoint holds its own kernel and weights; leave --kernel and --weights out")
        return _from_checkpoint(Path(source), Path(source).name)
    if ":" in source:
        return _from_factory(source, kernel, weights)
    if source not in zoo.NETWORKS:
        raise UserError(
            f"unknown network {source!r}; known: {', '.join(zoo.NETWORKS)} (with --kernel), {_ADDERNET}, "
            f"{', '.join(PUBLISHED)} (with --weights); or a .safetensors checkpoint, a .onnx file, "
            "package.module:factory"
        )
    return _from_zoo(source, kernel or KERNELS[0], weights, shape)


def own_module(module: nn.Module, *, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> Source:
    """A network that somebody holds in Python. It is copied, to the CPU and in evaluation mode, and stays as it is.

    Parameters
    ----------
    mean, std : of the standardisation ``(x - mean) / std`` that its images, pixels / 255, have had; it becomes the
        first layer. None: the network reads pixels / 255.

    Raises
    ------
    UserError
        when the module cannot be copied, or for means and deviations that are no standardisation.
    """
    name = type(module).__name__
    try:
        own = copy.deepcopy(module).cpu().eval()
    except Exception as error:  # copying runs the user's code, which may raise anything
        raise UserError(f"{name} cannot be copied: {type(error).__name__}: {error}") from error
    if mean is not None or std is not None:
        try:
            own = standardised(own, mean or (), std or ())
        except ValueError as error:
            raise UserError(f"mean and std must be as many positive deviations as means: {error}") from error
    return Source(module=own, name=name, kernel="own", said=name)


def in_task(source: Source, task: str | None) -> Source:
    """``source``, whose network does ``task`` from now on; None: the first that it was trained for. What has no tasks
    stays as it is; a `UserError` for a task that it does not have."""
    module = source.module
    if not isinstance(module, IPT):
        if task is not None:
            raise UserError(f"{source.said} has no tasks to choose from; leave --task out")
        return source
    name = task or source.task or module.tasks[module.task]
    try:
        module.choose(name)
    except ValueError as error:
        raise UserError(f"{source.said}: {error}") from error
    channels = 3 if source.shape is None else source.shape[0]
    return replace(source, task=name, scale=module.scale, shape=(channels, module.pixels, module.pixels))


def published_file(source: str, kernel: str | None, weights: Path | None) -> Path:
    """The file of a published network."""
    if kernel is not None:
        raise UserError(f"{source} has a kernel of its own; leave --kernel out")
    if weights is None:
        raise UserError(f"{source} needs its published weights: name the file with --weights")
    return weights


def recalled(metadata: Mapping[str, str], weights: Path | None, folders: tuple[Path, ...]) -> Source:
    """The float network that a Program says it was made of. Nothing is imported, and no path of the file is followed:
    networks are found by name, weights by name and SHA-256 in ``folders``.

    Parameters
    ----------
    weights : that a person typed; else those that ``metadata`` names

    Raises
    ------
    UserError
        when the network is code, unknown, or its weights are not found: what to type instead.
    """
    source = metadata.get("source", "")
    if ":" in source:
        extra = " --weights FILE" if WEIGHTS_NAME in metadata else ""
        raise UserError(
            f"the program says that it was made by {source!r}, which is code; to run that, type it: "
            f"--float {source}{extra}"
        )
    if source not in (*zoo.NETWORKS, _ADDERNET) and not source.endswith(".safetensors"):
        raise UserError(
            f"the program says that it was made of {source!r}, which addax does not know; name the float network with "
            "--float"
        )
    if source.endswith(".safetensors"):
        if weights is not None:
            raise UserError("the program was made of a checkpoint; name another with --float, and leave --weights out")
        return _from_checkpoint(_found(source, metadata, folders, "--float"), source)
    if weights is None and WEIGHTS_NAME in metadata:
        weights = _found(metadata[WEIGHTS_NAME], metadata, folders, "--weights")
    return resolve(source, None if source == _ADDERNET else metadata.get("kernel"), weights)


def _found(name: str, metadata: Mapping[str, str], folders: tuple[Path, ...], option: str) -> Path:
    """The file called ``name`` that has the checksum of ``metadata``."""
    expected = metadata.get(FLOAT_WEIGHTS)
    if expected is not None and name == Path(name).name:
        for path in (folder / name for folder in folders):
            if path.is_file() and sha256_of_file(path) == expected:
                return path
    made = f"the program was made of the weights {Path(name).name!r}"
    if expected is None:
        raise UserError(f"{made} and does not say their checksum; name the file with {option}")
    raise UserError(
        f"{made}, which lie neither beside it nor in the current folder, or have changed since; name the file with "
        f"{option}"
    )


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file; raises `UserError` where it cannot be read."""
    try:
        return sha256_of(read_regular(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _from_zoo(source: str, kernel: str, weights: Path | None, shape: Shape | None) -> Source:
    with torch.device("meta"):
        zoo.build(source, kernel=kernel)  # names what is wrong with either
    path = weights or zoo.shipped_checkpoint(source, kernel)
    if path is None:
        raise UserError(f"no checkpoint comes with {source}, kernel {kernel}; train one and name it with --weights")
    if weights is not None and _is_bare(weights):
        return _from_bare(source, kernel, weights, shape or _usual_shape(zoo.NETWORKS[source]))
    found = _from_checkpoint(path, source)
    if (found.name, found.kernel) != (source, kernel):
        raise UserError(f"{path} holds {found.name} with kernel {found.kernel}, not {source} with {kernel}")
    return found if weights is not None else replace(found, file=None)


def _usual_shape(network: zoo.ZooNetwork) -> Shape:
    """Of the images of a network whose weights do not say for which they were trained."""
    return network.shape if network.scale is None else (network.shape[0], CROP, CROP)


def _is_bare(path: Path) -> bool:
    """Whether a file holds weights without a recipe."""
    if path.suffix in TORCH:
        return True
    try:
        return HEADER not in read_safetensors(path, "pt")[1]
    except (OSError, ValueError):
        return False  # whoever reads it as a checkpoint says what is wrong


def _from_bare(source: str, kernel: str, path: Path, shape: Shape) -> Source:
    tensors = read_weights(path)
    recipe = Recipe(
        network=source, kernel=kernel, shape=shape, classes=_classes_of(source, kernel, tensors), data="", seed=0,
        epochs=0,
    )  # fmt: skip
    module = fit(build_for(recipe, tensors, path), tensors, str(path), source)
    return Source(
        module=module, name=source, kernel=kernel, said=source, shape=shape, file=path,
        scale=zoo.NETWORKS[source].scale,
    )  # fmt: skip


def _classes_of(source: str, kernel: str, tensors: Mapping[str, torch.Tensor]) -> int | None:
    """How many classes bare weights tell apart: the size of what changes when there is one class more. None where the
    network makes images."""
    if zoo.NETWORKS[source].scale is not None:
        return None
    with torch.device("meta"):
        ten, eleven = (zoo.build(source, kernel=kernel, classes=n).state_dict() for n in (10, 11))
    for name, value in ten.items():
        if value.shape != eleven[name].shape and name in tensors and tensors[name].ndim:
            return max(1, len(tensors[name]))
    return 10


def _from_checkpoint(path: Path, said: str) -> Source:
    _, recipe = read_checkpoint(path)
    if recipe.bits is None:
        module, recipe = load_checkpoint(path)
    else:
        from .qat.train import load_trained  # Brevitas takes seconds to import

        module, recipe = load_trained(path)
    tasks = _trained_tasks(recipe)
    return Source(
        module=module, name=recipe.network, kernel=recipe.kernel, said=said, shape=recipe.shape,
        accuracy=recipe.accuracy, psnr=recipe.psnr if len(tasks) < 2 else None, bits=recipe.bits, file=path,
        scale=zoo.NETWORKS[recipe.network].scale, task=tasks[0] if tasks else None,
    )  # fmt: skip


def _trained_tasks(recipe: Recipe) -> tuple[str, ...]:
    """The tasks that a checkpoint says it was trained for."""
    said = (recipe.training or {}).get("tasks")
    names = said.get("names") if isinstance(said, dict) else None
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    return zoo.NETWORKS[recipe.network].tasks


def _from_factory(source: str, kernel: str | None, weights: Path | None) -> Source:
    module_name, _, attribute = source.partition(":")
    sys.path.insert(0, str(Path.cwd()))  # a module beside the user, as `python -m` finds it
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except AttributeError as error:
        raise UserError(f"module {module_name!r} has no {attribute!r}: {error}") from error
    except (Exception, SystemExit) as error:  # importing runs the user's code, which may raise anything
        raise UserError(f"cannot import {module_name!r}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    try:
        module = factory()
    except (Exception, SystemExit) as error:  # the user's code, too
        raise UserError(f"{source} raised {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise UserError(f"{source} must return a torch.nn.Module, not {type(module).__name__}")
    if weights is not None:
        fit(module, read_weights(weights), str(weights), source)
    return Source(module=module.eval(), name=attribute, kernel=kernel or "own", said=source, file=weights)
