"""Executors of operations on tokens."""

from typing import Any, ClassVar

import numpy as np
from onnx import NodeProto, helper

from .operation import DTYPE, Attributes, Ints, QonnxOperation

__all__ = ["AdderContext", "AdderScores", "MultContext", "MultScores"]


class MultScores(QonnxOperation):
    """``sum_d a * b`` of every token of ``a`` and every token of ``b``, head by head."""

    attributes: ClassVar[Attributes] = {"heads": ("i", True, 1), **DTYPE}

    def make_shape_compatible_op(self, model: Any) -> NodeProto:
        """A standard node whose result has the shape of ours, which is our last input."""
        a, *_, shape = self.onnx_node.input
        return helper.make_node("Reshape", [a, shape], list(self.onnx_node.output))

    def _compute(self, *inputs: Ints) -> Ints:
        a, b = (x.reshape(len(x), self.get_nodeattr("heads"), -1, *x.shape[2:]) for x in inputs[:2])
        sums = self._sums(a, np.broadcast_to(b, (*b.shape[:3], a.shape[3], b.shape[4])))
        return sums.reshape(len(sums), -1, *sums.shape[3:])

    def _sums(self, a: Ints, b: Ints) -> Ints:
        """Of (N, heads, C / heads, H, W) the sums, (N, heads, channels of a head, H, Wa)."""
        return np.stack([self._sum(a, b[..., token : token + 1]) for token in range(b.shape[4])], 2)

    def _sum(self, a: Ints, b: Ints) -> Ints:
        return np.asarray((a * b).sum(2))


class AdderScores(MultScores):
    """``-sum_d |a - b|`` of every token of ``a`` and every token of ``b``, head by head."""

    def _sum(self, a: Ints, b: Ints) -> Ints:
        return -np.abs(a - b).sum(2)


class MultContext(MultScores):
    """``sum_j a * b``, the tokens of ``b`` by what every token of ``a`` has for each of them, head by head."""

    def _sums(self, a: Ints, b: Ints) -> Ints:
        # (N, heads, W of b, H, 1): one channel, whose tokens stand where those of a have theirs.
        values = [np.moveaxis(b[:, :, c], -1, 2)[..., None] for c in range(b.shape[2])]
        return np.stack([self._sum(a, value) for value in values], 2)


class AdderContext(MultContext, AdderScores):
    """``-sum_j |a - b|``, in the place of the products of `MultContext`."""
