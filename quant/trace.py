"""Where an integer network leaves its float model: both run on the same images and are compared layer by layer."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from ..common.errors import UserError
from . import golden
from .lower import ORIGINS, batches, trace
from .program import Program, Requantise

__all__ = ["Divergence", "compare"]


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """How one integer tensor differs from the float value that it stands for.

    Attributes
    ----------
    operation, origin : name in the Program, and of the value in the float network
    bits : of the tensor
    error : root of the mean squared difference over that of the float value; 0 is perfect, 1 is noise as loud as signal
    bias : mean difference over the float value's root mean square
    clipped : share of values at the upper end of the grid, which may have been larger
    """

    operation: str
    origin: str
    bits: int
    error: float
    bias: float
    clipped: float

    def keys(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


class _Values(fx.Interpreter):
    """Runs a traced network and keeps the values of some nodes."""

    def __init__(self, traced: fx.GraphModule, wanted: set[str]):
        super().__init__(traced)
        self.wanted = wanted
        self.kept: dict[str, list[NDArray[np.float32]]] = {}

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if n.name in self.wanted and isinstance(result, Tensor):
            self.kept.setdefault(n.name, []).append(result.detach().numpy())
        return result


def compare(program: Program, module: nn.Module, images: NDArray[np.uint8]) -> list[Divergence]:
    """One row per stored tensor of ``program``, in order of execution.

    Parameters
    ----------
    module : the float network that ``program`` was lowered from
    images : (N, C, H, W)

    Raises
    ------
    UserError
        when ``program`` does not say what its tensors stand for, or ``module`` is another network.
    """
    try:
        origins: dict[str, str] = json.loads(program.metadata[ORIGINS])
    except (KeyError, ValueError) as error:
        raise UserError(
            "the program does not say which float values its tensors stand for; quantise it again"
        ) from error
    values = _Values(trace(module), set(origins.values()))
    with torch.no_grad():
        for batch in batches(images):
            values.run(batch)
    result = golden.run(program, images, trace=True)
    rows = []
    for op in program.ops:
        origin = origins.get(op.name)
        if origin is None:
            continue
        if origin not in values.kept:
            raise UserError(f"the float network has no value {origin!r}; is it the one that was quantised?")
        theirs = np.concatenate(values.kept[origin]).astype(np.float64)
        fmt = program.format(op.name)
        integers = result.tensors[op.name]
        step = program.steps.get(op.name)
        ours = 2.0 * integers - 1 if step is None else integers * step
        if ours.size != theirs.size:
            raise UserError(f"{op.name} and {origin!r} differ in shape; is it the network that was quantised?")
        difference = ours.reshape(theirs.shape) - theirs
        power = float(np.sqrt(np.square(theirs).mean())) or 1.0
        top = op.hi if isinstance(op, Requantise) else fmt.hi
        rows.append(
            Divergence(
                operation=op.name,
                origin=origin,
                bits=fmt.bits,
                error=float(np.sqrt(np.square(difference).mean())) / power,
                bias=float(difference.mean()) / power,
                clipped=float((integers == top).mean()) if step is not None else 0.0,
            )
        )
    return rows
