"""What computes the adder convolution on each kind of device: one table, so that another device is one entry.

Every back end computes the same three things. X are features (B, C, H, W), W filters (O, C / groups, Kh, Kw), G the
gradient of the result (B, O, rows, columns); p are pixels of the result, k taps and channels of a filter:

- forward: ``Y[o, p] = bias[o] - sum_k |X[k, p] - W[o, k]|``; what lies outside of a map is 0;
- features: ``dX[k, p] = sum_o G[o, p] * clip(W[o, k] - X[k, p], -1, 1)``, summed over the windows that see a pixel;
- filters: ``dW[o, k] = sum_p G[o, p] * (X[k, p] - W[o, k])``, as the filter gradient of the ordinary convolution and a
  term of rank one: ``sum_p G[o, p] * X[k, p] - W[o, k] * sum_p G[o, p]``.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from .gpu import gpu_back_end
from .native import native_back_end
from .plain import PlainBackEnd
from .shape import ConvolutionShape

__all__ = ["BACK_ENDS", "BackEnd", "back_end_of"]


class BackEnd(Protocol):
    """The three sums of an adder convolution. Results are written into tensors that are given, in any layout; inputs
    are float32, bfloat16 or float16, and are summed in float32."""

    name: str

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, shape: ConvolutionShape, out: Tensor) -> None:
        """The Y into ``out`` (B, O, rows, columns)."""

    def features(self, x: Tensor, weight: Tensor, upstream: Tensor, shape: ConvolutionShape, out: Tensor) -> None:
        """The dX into ``out`` (B, C, H, W)."""

    def filters(self, x: Tensor, weight: Tensor, upstream: Tensor, shape: ConvolutionShape) -> Tensor:
        """The dW, (O, C / groups, Kh, Kw), float32 (float64 for float64)."""


def _of_cpu() -> BackEnd:
    return native_back_end() or PlainBackEnd()


def _of_gpu() -> BackEnd:
    return gpu_back_end() or PlainBackEnd()


BACK_ENDS: dict[str, Callable[[], BackEnd]] = {"cpu": _of_cpu, "cuda": _of_gpu}
"""What makes the back end of a device type of torch; on others operations of torch serve."""


def back_end_of(device: torch.device, kind: torch.dtype) -> BackEnd:
    """The back end for operands on ``device`` that are promoted to ``kind``; torch's operations for other types than
    `BackEnd` says."""
    if kind not in (torch.float32, torch.bfloat16, torch.float16):
        return PlainBackEnd()
    return BACK_ENDS.get(device.type, PlainBackEnd)()
