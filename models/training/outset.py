"""What a training begins with in the place of fresh weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import nn

from ...common.errors import UserError
from ..files.checkpoint import load_checkpoint
from ..nets.clustering import cluster_from_dense

__all__ = ["Clustered"]


@dataclass(frozen=True, kw_only=True)
class Clustered:
    """A GhostSR begins with filters of a trained network of the same sizes, chosen by `cluster_from_dense`.

    Attributes
    ----------
    checkpoint : path of that network's checkpoint, of floats
    """

    kind: ClassVar[str] = "clustered"
    checkpoint: str

    def __post_init__(self) -> None:
        if not isinstance(self.checkpoint, str):
            raise UserError(f"checkpoint must be the path of one, not {self.checkpoint!r}")

    def begin(self, module: nn.Module, *, seed: int) -> None:
        """Give ``module`` its weights, in place; raises `UserError` where the checkpoint cannot be read or is one of
        another network."""
        dense, made = load_checkpoint(Path(self.checkpoint))
        try:
            cluster_from_dense(module, dense, seed=seed)
        except ValueError as error:
            raise UserError(f"{self.checkpoint} holds {made.network} ({made.kernel}): {error}") from error
