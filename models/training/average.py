"""The moving average of a network's weights."""

import torch
from torch import Tensor, nn

__all__ = ["MovingAverage"]


class MovingAverage:
    """An exponential moving average of all floating-point tensors of a network, statistics included.

    Parameters
    ----------
    decay : weight of what was, 0..1, in every step

    Attributes
    ----------
    tensors : the averages by name; integers are those of the network
    """

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.tensors = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the network as it is after a step."""
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.tensors[name].lerp_(value, 1 - self.decay)
            else:
                self.tensors[name].copy_(value)

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from averages that were saved."""
        for name, value in self.tensors.items():
            value.copy_(tensors[name])
