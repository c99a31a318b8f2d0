"""Executors of operations on tokens."""

from math import isqrt
from typing import Any, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from onnx import NodeProto, helper

from .operation import DTYPE, Attributes, Ints, QonnxOperation

__all__ = [
    "AdderContext", "AdderScores", "DeferredSoftmax", "IntegerDivide", "IntegerNorm", "IntegerRearrange",
    "IntegerUnfold", "MultContext", "MultScores",
]  # fmt: skip


class _Shaped(QonnxOperation):
    def make_shape_compatible_op(self, model: Any) -> NodeProto:
        """A standard node whose result has the shape of ours, which is our last input."""
        x, *_, shape = self.onnx_node.input
        return helper.make_node("Reshape", [x, shape], list(self.onnx_node.output))


class MultScores(_Shaped):
    """``sum_d a * b`` of every token of ``a`` and every token of ``b``, head by head."""

    attributes: ClassVar[Attributes] = {"heads": ("i", True, 1), **DTYPE}

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


_FORMAT: Attributes = {"bits": ("i", True, 1), "signed": ("i", True, 0), **DTYPE}


class _Formatted(QonnxOperation):
    def _datatype(self, model: Any) -> str:
        return f"{'INT' if self.get_nodeattr('signed') else 'UINT'}{self.get_nodeattr('bits')}"


class DeferredSoftmax(_Formatted):
    """What stands for the distance of a score to the largest of its head that the token sees; 0 for what it does not
    see."""

    attributes: ClassVar[Attributes] = {"heads": ("i", True, 1), **_FORMAT}

    def _compute(self, *inputs: Ints) -> Ints:
        scores, entries, mask = inputs
        apart = scores.reshape(len(scores), self.get_nodeattr("heads"), -1, *scores.shape[2:])
        hidden = np.broadcast_to(mask.T[:, None] == 0, apart.shape)
        most = np.ma.masked_array(apart, hidden).max(2, keepdims=True).filled()
        return np.where(hidden, 0, entries[np.clip(most - apart, 0, len(entries) - 1)]).reshape(scores.shape)


class _Scaled(_Formatted):
    def _rounded(self, value: Ints) -> Ints:
        return np.asarray(value.clip(self.get_nodeattr("lo"), self.get_nodeattr("hi")))


_SCALED: Attributes = {**{name: ("i", True, 0) for name in ("shift", "lo", "hi")}, **_FORMAT}


class IntegerDivide(_Scaled):
    """``clamp((num * M + den * B) // (den << S), lo, hi)``, a denominator for each of equal parts of the channels."""

    attributes: ClassVar[Attributes] = _SCALED

    def _compute(self, *inputs: Ints) -> Ints:
        num, den, factor, offset = inputs
        divisor = np.maximum(den, 1).repeat(num.shape[1] // den.shape[1], axis=1)
        total = num * factor[:, None, None] + divisor * offset[:, None, None]
        return self._rounded(np.divmod(total, divisor << self.get_nodeattr("shift"))[0])


class IntegerNorm(_Scaled):
    """Channels of a token less their mean, over their deviation, times a factor and with an offset for each."""

    attributes: ClassVar[Attributes] = {
        **{name: ("i", True, 0) for name in ("fraction", "reciprocal", "cut", "eps")}, **_SCALED
    }  # fmt: skip

    def _compute(self, *inputs: Ints) -> Ints:
        x, factor, offset, power = (v if v.ndim > 1 else v[:, None, None] for v in inputs)
        x = x << power
        centred = x.shape[1] * x - x.sum(1, keepdims=True)
        # The sum of squares around the mean is C times smaller than that of what is C times as far from it.
        variance = (centred.astype(object) ** 2).sum(1, keepdims=True) // x.shape[1]
        wide = (variance << 2 * self.get_nodeattr("fraction")) + self.get_nodeattr("eps")
        root = np.maximum(np.vectorize(isqrt, otypes=[np.int64])(wide), 1)
        inverse = (1 << self.get_nodeattr("reciprocal")) // root
        normalised = centred * inverse >> self.get_nodeattr("cut")
        return self._rounded(normalised * factor + offset >> self.get_nodeattr("shift"))


class _Moved(_Shaped):
    def _datatype(self, model: Any) -> str:
        return str(model.get_tensor_datatype(self.onnx_node.input[0]).name)


class IntegerRearrange(_Moved):
    """Read as an array of other sizes, its axes in another order, and read once more."""

    attributes: ClassVar[Attributes] = {"perm": ("ints", True, []), **DTYPE}

    def _compute(self, *inputs: Ints) -> Ints:
        x, split, shape = inputs
        apart = x.reshape(len(x), *split[1:]).transpose(self.get_nodeattr("perm"))
        return apart.reshape(len(x), *shape[1:])


class IntegerUnfold(_Moved):
    """The windows of every block, each a token; outside of the block a number for each channel."""

    attributes: ClassVar[Attributes] = {
        **{name: ("ints", True, []) for name in ("block", "kernel_shape", "strides", "pads")}, **DTYPE
    }  # fmt: skip

    def _compute(self, *inputs: Ints) -> Ints:
        x, pad, shape = inputs
        (down, right), (top, left, bottom, last) = self.get_nodeattr("block"), self.get_nodeattr("pads")
        (kh, kw), (sy, sx) = self.get_nodeattr("kernel_shape"), self.get_nodeattr("strides")
        frame, tokens = ((0, 0), (0, 0), (top, bottom), (left, last)), []
        for row in range(0, x.shape[2], down):
            for column in range(0, x.shape[3], right):
                block = x[:, :, row : row + down, column : column + right] - pad[:, None, None]
                framed = np.pad(block, frame) + pad[:, None, None]
                windows = sliding_window_view(framed, (kh, kw), axis=(2, 3))[:, :, ::sy, ::sx]
                tokens.append(windows.transpose(0, 1, 4, 5, 2, 3).reshape(len(x), shape[1], -1))
        return np.stack(tokens, 2)
