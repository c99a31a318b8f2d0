"""From a torch network to the graph of its operations, by `torch.export`."""

import contextlib
import inspect
import io
import logging
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram

from ....common.errors import UserError
from ...program import Shape
from .adders import as_adder_layers
from .attention import as_products
from .leaves import leaves
from .order import pools_behind_relus
from .plain import as_plain_graph

__all__ = ["trace"]

_TORCH = Path(torch.__file__).parent
_OURS = Path(__file__).parents[3]


def trace(module: nn.Module, shape: Shape) -> fx.GraphModule:
    """The graph of ``module`` in evaluation mode, for batches of images (C, H, W).

    Its nodes are operations of ATen, all without side effects, and our own layers. Each has the path of the user's
    layer in ``meta["path"]``, and the line of the user's source in ``meta["where"]``.

    Raises
    ------
    UserError
        when there is none: the network takes other images, or more than one tensor, or what it computes depends on
        their values.
    """
    module.eval()
    _check_inputs(module)
    with leaves(module) as paths:
        exported = _exported(module, shape)
    traced = as_plain_graph(exported, [(path, module.get_submodule(path)) for path in paths])
    images = next(node for node in traced.graph.nodes if node.op == "placeholder")
    if str(images.meta["val"].shape[0]).isdigit():
        raise UserError(
            f"{type(module).__name__} fixes how many images it takes at once; write -1 or x.shape[0] for the batch"
        )
    return as_products(pools_behind_relus(as_adder_layers(traced)))


def _check_inputs(module: nn.Module) -> None:
    if isinstance(module, fx.GraphModule | nn.Sequential):
        return
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [name for name, entry in inspect.signature(module.forward).parameters.items()
              if entry.kind in kinds and entry.default is entry.empty]  # fmt: skip
    if len(needed) > 1:
        raise UserError(f"the network must take one tensor, the images; it also takes {needed[1]!r}")


def _exported(module: nn.Module, shape: Shape) -> ExportedProgram:
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(
                module, (torch.zeros(2, *shape),), dynamic_shapes=({0: Dim.AUTO},), strict=False
            )  # fmt: skip
    except Exception as error:  # exporting runs the user's code, which may raise anything
        raise _reason(module, shape, error) from error


def _reason(module: nn.Module, shape: Shape, error: Exception) -> UserError:
    """What the user has to know of ``error``, in one line."""
    lines = str(error).strip().splitlines()
    text, where = lines[0] if lines else "", _where(error)
    name = type(module).__name__
    if "data-dependent" in text or "DataDependent" in type(error).__name__:
        return UserError(
            f"{name} cannot be traced: what it computes depends on values of a tensor{where}; compute both ways for "
            "all images, or leave the condition out"
        )
    if isinstance(error, RuntimeError | IndexError):
        return UserError(f"the network cannot take images of {'x'.join(map(str, shape))}: {text}{where}")
    return UserError(f"{name} cannot be traced: {type(error).__name__}: {text}{where}")


def _where(error: Exception) -> str:
    """The innermost line of the user's source on the way to ``error``, in brackets."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__)
        if not Path(frame.filename).is_relative_to(_TORCH) and not Path(frame.filename).is_relative_to(_OURS / "quant")
        and not frame.filename.startswith("<")
    ]  # fmt: skip
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno}: {frames[-1].line})" if frames else ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the user's code prints goes to standard error; what torch says of a failure of its own goes nowhere."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
    sys.stderr.write(printed.getvalue())
