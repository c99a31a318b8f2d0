"""The golden model's L1 distances on a GPU that torch sees: unsigned bytes, four differences by one instruction."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ops.base import Ints
from .loops import Array, Loops, native_loops

if TYPE_CHECKING:
    import torch

__all__ = ["GpuLoops", "fastest_loops"]

_DEVICES = ("/dev/nvidiactl", "/dev/dxg")
"""Without one there is no GPU, and torch, which takes seconds to import, need not be asked."""
_FEW_TERMS = 1 << 26
"""As many a processor has done before they are on the GPU and back."""
_MOST_TAPS = (1 << 31) // 255
"""Sums have 32 bits."""


class GpuLoops:
    """The loops of ``others`` but for distances of bytes, which are computed on ``device``; see `loops.Loops`.

    Parameters
    ----------
    kernels : the module `models.compute.gpu_kernels`
    asm : whether the device has `vabsdiff4`
    few : terms of a call up to which ``others`` do them
    """

    name = "gpu"

    def __init__(self, others: Loops, kernels: Any, device: "torch.device", *, asm: bool, few: int = _FEW_TERMS):
        self._others, self._kernels, self._device, self._asm, self._few = others, kernels, device, asm, few
        self.patches, self.mult, self.differing = others.patches, others.mult, others.differing
        self.threshold, self.requantise = others.threshold, others.requantise

    def adder(self, patches: Array, filters: Array, bound: int) -> Ints:
        """As `Loops` says."""
        terms = patches.size * len(filters)
        bytes_only = patches.dtype == filters.dtype == np.uint8
        if not bytes_only or patches.shape[1] >= _MOST_TAPS or terms <= self._few:
            return self._others.adder(patches, filters, bound)
        return self._distances(patches, filters)

    def _distances(self, patches: Array, filters: Array) -> Ints:
        import torch

        from ...models.compute.gpu import on_device_of, tile_for

        tile = tile_for(len(patches), len(filters), 1)
        x, w = self._words(patches, tile.down), self._words(filters, tile.right)
        (words, pitch), width = x.shape, w.shape[1]
        found = torch.empty(len(patches), len(filters), dtype=torch.int32, device=self._device)
        with on_device_of(x):
            self._kernels.byte_distances[pitch // tile.down, width // tile.right](
                x, w, found, pitch, *found.shape, WORDS=words, FILTERS=width, ASM=self._asm, **tile.options(words)
            )
        return found.cpu().numpy().astype(np.int64)

    def _words(self, rows: Array, whole: int) -> "torch.Tensor":
        """Rows of bytes as [word][row] on the device, four bytes in a word, filled up with zeros to ``whole`` rows."""
        import torch
        from torch.nn import functional as F

        count, taps = rows.shape
        held = torch.from_numpy(np.ascontiguousarray(rows)).to(self._device)
        return F.pad(held, (0, -taps % 4, 0, -count % whole)).view(torch.int32).t().contiguous()


def fastest_loops() -> Loops:
    """What `native_loops` gives, with distances of bytes on a GPU where torch sees one and has Triton."""
    kernels = _kernels()
    if kernels is None:
        return native_loops()
    import torch

    from ...models.compute.gpu import has_instructions

    return GpuLoops(native_loops(), kernels, torch.device("cuda"), asm=has_instructions())


@functools.cache
def _kernels() -> Any:
    """The module of the kernels, None where there is no GPU for them."""
    if not any(Path(device).exists() for device in _DEVICES):
        return None
    import torch

    from ...models.compute.gpu import gpu_back_end

    found = gpu_back_end() if torch.cuda.is_available() else None
    return None if found is None else found.kernels
