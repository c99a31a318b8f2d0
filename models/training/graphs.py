"""Passes through a network as one CUDA graph: its kernels are recorded once and started together from then on."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

__all__ = ["Capture", "Replayed", "captured_on_gpu"]

Capture = Callable[[Callable[[], Tensor]], tuple[Tensor, Callable[[], None]]]
"""Records what a function without arguments does, and gives its result and what does it again, into the same result."""
_EAGER = 3
"""Passes before the recording, as torch asks for: libraries choose their kernels, and ours are compiled."""


def captured_on_gpu(work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
    """`Capture` by torch; nothing is computed until the first replay."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()
    return result, graph.replay


class Replayed:
    """A pass over inputs and targets that leaves gradients: computed as written until inputs of one shape have come
    `_EAGER` times, then recorded, and replayed from there.

    What Python decides within a pass is recorded with it, so whoever changes that calls `forget`.

    Parameters
    ----------
    work : the pass; gradients are None when it begins
    parameters : whose gradients it leaves
    check : called before a replay with what ``work`` would get: errors that a recorded pass cannot raise
    capture : how a pass is recorded
    """

    def __init__(
        self, work: Callable[[Tensor, Tensor], Tensor], parameters: Iterable[nn.Parameter],
        check: Callable[[Tensor, Tensor], None], capture: Capture = captured_on_gpu,
    ):  # fmt: skip
        self._work, self._parameters, self._check, self._capture = work, list(parameters), check, capture
        self.forget()

    def forget(self) -> None:
        """Let the next passes be computed as written, and recorded anew."""
        self._passes: dict[object, int] = {}
        self._held: dict[object, _Recorded] = {}

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The result of the pass, which the next one may overwrite."""
        key = (x.shape, x.dtype, y.shape, y.dtype)
        if key not in self._held:
            self._passes[key] = self._passes.get(key, 0) + 1
            if self._passes[key] <= _EAGER:
                return _beside(lambda: self._work(x, y), x.device)
            self._held[key] = _Recorded(self._work, self._parameters, self._capture, x, y)
        self._check(x, y)
        return self._held[key].replay(x, y)


class _Recorded:
    """One recorded pass, with the memory that it reads and writes."""

    def __init__(
        self, work: Callable[[Tensor, Tensor], Tensor], parameters: list[nn.Parameter], capture: Capture, x: Tensor,
        y: Tensor,
    ):  # fmt: skip
        self._x, self._y = x.clone(), y.clone()
        for parameter in parameters:
            parameter.grad = None
        self._result, self._again = capture(lambda: work(self._x, self._y))
        self._gradients = [(parameter, parameter.grad) for parameter in parameters]

    def replay(self, x: Tensor, y: Tensor) -> Tensor:
        self._x.copy_(x)
        self._y.copy_(y)
        self._again()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        return self._result


def _beside(work: Callable[[], Tensor], device: torch.device) -> Tensor:
    """The result of ``work`` on a stream of its own, where a recording will be made, too."""
    if device.type != "cuda":
        return work()
    own = torch.cuda.Stream(device)
    own.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(own):
        result = work()
    torch.cuda.current_stream(device).wait_stream(own)
    return result
