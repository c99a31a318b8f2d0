"""Executors of convolutions, moves, requantise and whatever else looks at pixels."""

from typing import Any, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from onnx import NodeProto, TensorProto, helper

from .operation import DTYPE, Attributes, Ints, QonnxOperation

__all__ = [
    "AdderConv", "Choose", "DilatedAdderConv", "DilatedIntegerConv", "ImageConstant", "IntegerConv", "IntegerMaxPool",
    "IntegerPixelShuffle", "IntegerProduct", "IntegerUpsample", "MaxChannels", "PadChannels", "Requantise",
    "RequantiseAdd", "RequantiseChannels", "RequantiseChannelsAdd", "RequantiseSlopes", "RequantiseSlopesAdd",
    "SpatialShift", "SumChannels", "SumPool", "Table", "Threshold",
]  # fmt: skip

_WINDOW: Attributes = {"strides": ("ints", True, []), "pads": ("ints", True, []), **DTYPE}


class _Windows(QonnxOperation):
    """Of a map with a frame around it."""

    def _geometry(self) -> dict[str, Any]:
        return {name: self.get_nodeattr(name) for name in self.attributes if name != "dtype"}

    def _framed(self, x: Ints, pad: Ints) -> Ints:
        top, left, bottom, right = self.get_nodeattr("pads")
        images, channels, height, width = x.shape
        framed = np.empty((images, channels, top + height + bottom, left + width + right), np.int64)
        framed[:] = pad[:, None, None]
        framed[:, :, top : top + height, left : left + width] = x
        return framed

    def _windows(self, x: Ints, pad: Ints, kernel: tuple[int, ...]) -> Ints:
        """(N, C, rows, columns, kh, kw)."""
        (down, right), (dh, dw) = self.get_nodeattr("strides"), self._dilations()
        extent = [(taps - 1) * dilation + 1 for taps, dilation in zip(kernel, (dh, dw), strict=True)]
        found = sliding_window_view(self._framed(x, pad), extent, axis=(2, 3))
        return found[:, :, ::down, ::right, ::dh, ::dw]

    def _dilations(self) -> tuple[int, int]:
        return 1, 1


class _Convolution(_Windows):
    attributes: ClassVar[Attributes] = {**_WINDOW, "group": ("i", True, 1)}

    def make_shape_compatible_op(self, model: Any) -> NodeProto:
        """A standard node whose result has the shape of ours."""
        return self._like("Conv", 2, **self._geometry())

    def _compute(self, *inputs: Ints) -> Ints:
        x, weight, pad = inputs
        windows = self._windows(x, pad, weight.shape[2:])
        width, sums = weight.shape[1], np.empty((len(x), len(weight), *windows.shape[2:4]), np.int64)
        per_group = len(weight) // self.get_nodeattr("group")
        for o, row in enumerate(weight):
            part = o // per_group * width
            sums[:, o] = self._sum(windows[:, part : part + width], row[:, None, None])
        return sums

    def _sum(self, windows: Ints, row: Ints) -> Ints:
        raise NotImplementedError


class AdderConv(_Convolution):
    """``-sum |x - w|``."""

    def _sum(self, windows: Ints, row: Ints) -> Ints:
        return -np.abs(windows - row).sum((1, 4, 5))


class IntegerConv(_Convolution):
    """``sum x * w`` in 64 bits."""

    def _sum(self, windows: Ints, row: Ints) -> Ints:
        return np.asarray((windows * row).sum((1, 4, 5)))


class _Dilated(_Convolution):
    attributes: ClassVar[Attributes] = {**_Convolution.attributes, "dilations": ("ints", True, [])}

    def _dilations(self) -> tuple[int, int]:
        down, right = self.get_nodeattr("dilations")
        return int(down), int(right)


class DilatedAdderConv(_Dilated, AdderConv):
    """``-sum |x - w|`` of taps that do not touch."""


class DilatedIntegerConv(_Dilated, IntegerConv):
    """``sum x * w`` in 64 bits, of taps that do not touch."""


class _Pool(_Windows):
    attributes: ClassVar[Attributes] = {**_WINDOW, "kernel_shape": ("ints", True, [])}

    def make_shape_compatible_op(self, model: Any) -> NodeProto:
        """A standard node whose result has the shape of ours."""
        return self._like("MaxPool", **self._geometry())

    def _over(self, x: Ints, fill: int) -> Ints:
        return self._windows(x, np.full(x.shape[1], fill), tuple(self.get_nodeattr("kernel_shape")))


class SumPool(_Pool):
    """The sum of a window."""

    def _compute(self, *inputs: Ints) -> Ints:
        return np.asarray(self._over(inputs[0], 0).sum((4, 5)))


class IntegerMaxPool(_Pool):
    """The largest of a window of integers that no float holds."""

    def _compute(self, *inputs: Ints) -> Ints:
        return np.asarray(self._over(inputs[0], np.iinfo(np.int64).min).max((4, 5)))


class PadChannels(_Windows):
    """A frame of a number per channel."""

    attributes: ClassVar[Attributes] = {"pads": ("ints", True, [])}

    def _compute(self, *inputs: Ints) -> Ints:
        return self._framed(*inputs)

    def make_shape_compatible_op(self, model: Any) -> NodeProto:
        """A standard node whose result has the shape of ours: windows of one pixel over a padded image."""
        return self._like("AveragePool", kernel_shape=[1, 1], **self._geometry())

    def _dtype(self) -> int:
        return int(TensorProto.FLOAT)

    def _datatype(self, model: Any) -> str:
        return str(model.get_tensor_datatype(self.onnx_node.input[0]).name)


class _Move(QonnxOperation):
    def _datatype(self, model: Any) -> str:
        return str(model.get_tensor_datatype(self.onnx_node.input[0]).name)


class SpatialShift(_Move):
    """Every channel moved by its own rows and columns, a number per channel behind it."""

    attributes: ClassVar[Attributes] = DTYPE

    def _compute(self, *inputs: Ints) -> Ints:
        x, offsets, pad = inputs
        reach = int(np.abs(offsets).max())
        height, width = x.shape[2:]
        framed = np.pad(x - pad[:, None, None], ((0, 0), (0, 0), (reach, reach), (reach, reach)))
        moved = [
            framed[:, c, reach - down : reach - down + height, reach - right : reach - right + width]
            for c, (down, right) in enumerate(offsets.tolist())
        ]
        return np.stack(moved, 1) + pad[:, None, None]


class IntegerPixelShuffle(_Move):
    """A pixel shuffle of integers that no float holds."""

    attributes: ClassVar[Attributes] = {"blocksize": ("i", True, 1), **DTYPE}

    def make_shape_compatible_op(self, model: Any) -> NodeProto:
        """A standard node whose result has the shape of ours."""
        return self._like("DepthToSpace", blocksize=self.get_nodeattr("blocksize"), mode="CRD")

    def _compute(self, *inputs: Ints) -> Ints:
        (x,), factor = inputs, self.get_nodeattr("blocksize")
        images, channels, height, width = x.shape
        larger = np.empty((images, channels // factor**2, height * factor, width * factor), np.int64)
        for row in range(factor):
            for column in range(factor):
                larger[:, :, row::factor, column::factor] = x[:, row * factor + column :: factor**2]
        return larger


class IntegerUpsample(_Move):
    """Pixels of integers that no float holds, repeated."""

    attributes: ClassVar[Attributes] = DTYPE

    def make_shape_compatible_op(self, model: Any) -> NodeProto:
        """A standard node whose result has the shape of ours."""
        x, scales = self.onnx_node.input
        return helper.make_node("Resize", [x, "", scales], list(self.onnx_node.output), mode="nearest")

    def _compute(self, *inputs: Ints) -> Ints:
        x, scales = inputs
        return x.repeat(scales[2], axis=2).repeat(scales[3], axis=3)


class Requantise(QonnxOperation):
    """``clamp((acc * M + B) >> S, lo, hi)``."""

    attributes: ClassVar[Attributes] = {
        **{name: ("i", True, 0) for name in ("shift", "lo", "hi", "bits", "signed")},
        "terms": ("i", False, 0),
        **DTYPE,
    }

    def _compute(self, *inputs: Ints) -> Ints:
        acc, multiplier, offset = inputs[:3]
        total = acc * multiplier[:, None, None] + offset[:, None, None] + self._joined(*inputs[3:])
        return np.asarray((total >> self.get_nodeattr("shift")).clip(self.get_nodeattr("lo"), self.get_nodeattr("hi")))

    def _joined(self, *inputs: Ints) -> Ints | int:
        return 0

    def _datatype(self, model: Any) -> str:
        return f"{'INT' if self.get_nodeattr('signed') else 'UINT'}{self.get_nodeattr('bits')}"


class RequantiseAdd(Requantise):
    """``clamp((acc * M + r * R + B) >> S, lo, hi)``."""

    attributes: ClassVar[Attributes] = {**Requantise.attributes, "residual_multiplier": ("i", True, 0)}

    def _joined(self, *inputs: Ints) -> Ints | int:
        return np.asarray(inputs[0] * self.get_nodeattr("residual_multiplier"))


class RequantiseChannels(Requantise):
    """``clamp((acc * M + B) >> S, lo, hi)``, S of each channel; ties up or, where ``even``, to the even number."""

    attributes: ClassVar[Attributes] = {
        **{name: ("i", True, 0) for name in ("even", "factor_bits", "lo", "hi", "bits", "signed")},
        "terms": ("i", False, 0),
        **DTYPE,
    }

    def _compute(self, *inputs: Ints) -> Ints:
        acc, multiplier, offset, shift = inputs[:4]
        total = acc * multiplier[:, None, None] + offset[:, None, None] + self._joined(*inputs[4:])
        return self._floored(total, shift)

    def _floored(self, total: Ints, shift: Ints) -> Ints:
        whole, part = np.divmod(total, (1 << shift)[:, None, None])
        # B holds a half: what leaves no rest was a tie.
        tied = (part == 0) & (whole % 2 == 1) & (self.get_nodeattr("even") == 1)
        return np.asarray((whole - tied).clip(self.get_nodeattr("lo"), self.get_nodeattr("hi")))


class RequantiseChannelsAdd(RequantiseChannels):
    """``clamp((acc * M + r * R + B) >> S, lo, hi)``, S and R of each channel."""

    def _joined(self, *inputs: Ints) -> Ints | int:
        residual, factor = inputs
        return np.asarray(residual * factor[:, None, None])


class RequantiseSlopes(RequantiseChannels):
    """`RequantiseChannels`, with other factors and offsets for sums below the knee of their channel."""

    def _compute(self, *inputs: Ints) -> Ints:
        acc, *constants, shift = inputs[:7]
        multiplier, offset, second, lower, knee = (values[:, None, None] for values in constants)
        scaled: Ints = np.where(acc >= knee, acc * multiplier + offset, acc * second + lower)
        return self._floored(scaled + self._joined(*inputs[7:]), shift)


class RequantiseSlopesAdd(RequantiseSlopes, RequantiseChannelsAdd):
    """`RequantiseSlopes` with a residual, as in `RequantiseChannelsAdd`."""


class ImageConstant(QonnxOperation):
    """One value for every image of a batch."""

    attributes: ClassVar[Attributes] = {"bits": ("i", True, 1), "signed": ("i", True, 0), **DTYPE}

    def _compute(self, *inputs: Ints) -> Ints:
        images, value = inputs
        return np.broadcast_to(value, (len(images), *value.shape))

    def make_shape_compatible_op(self, model: Any) -> NodeProto:
        """A standard node whose result has the shape of ours: zeros of it."""
        images, value = (self._shape(model, position) for position in (0, 1))
        return self._zeros([images[0], *value])

    def _datatype(self, model: Any) -> str:
        return f"{'INT' if self.get_nodeattr('signed') else 'UINT'}{self.get_nodeattr('bits')}"


class Threshold(QonnxOperation):
    """How many thresholds a value reaches; in falling channels, how many it does not."""

    attributes: ClassVar[Attributes] = {"bits": ("i", True, 1), **DTYPE}

    def _compute(self, *inputs: Ints) -> Ints:
        acc, thresholds, falling = inputs
        reached = np.zeros(acc.shape, np.int64)
        for level in thresholds.T:
            reached += acc >= level[:, None, None]
        return np.where(falling[:, None, None] == 1, thresholds.shape[1] - reached, reached)

    def _datatype(self, model: Any) -> str:
        return f"UINT{self.get_nodeattr('bits')}"


class Table(QonnxOperation):
    """Every value replaced by the entry that stands for it, in the row of its channel where there are several."""

    attributes: ClassVar[Attributes] = {**{name: ("i", True, 0) for name in ("lowest", "bits", "signed")}, **DTYPE}

    def _compute(self, *inputs: Ints) -> Ints:
        x, entries = inputs
        channels = np.arange(x.shape[1]) if len(entries) > 1 else np.zeros(x.shape[1], np.int64)
        return np.asarray(entries[channels[:, None, None], x - self.get_nodeattr("lowest")])

    def _datatype(self, model: Any) -> str:
        return f"{'INT' if self.get_nodeattr('signed') else 'UINT'}{self.get_nodeattr('bits')}"


class IntegerProduct(QonnxOperation):
    """A product of integers that no float holds."""

    attributes: ClassVar[Attributes] = DTYPE

    def _compute(self, *inputs: Ints) -> Ints:
        a, b = inputs
        return np.asarray(a * b)


class Choose(QonnxOperation):
    """The branch where the mask has its number, elsewhere what the others make."""

    attributes: ClassVar[Attributes] = {"number": ("i", True, 0), **DTYPE}

    def _compute(self, *inputs: Ints) -> Ints:
        mask, branch, others = inputs
        return np.where(mask == self.get_nodeattr("number"), branch, others)

    def make_shape_compatible_op(self, model: Any) -> NodeProto:
        """A standard node whose result has the shape of ours: that of the branch."""
        return helper.make_node("Cast", [self.onnx_node.input[1]], list(self.onnx_node.output), to=self._dtype())

    def _datatype(self, model: Any) -> str:
        return str(model.get_tensor_datatype(self.onnx_node.input[1]).name)


class _OverChannels(QonnxOperation):
    attributes: ClassVar[Attributes] = DTYPE

    def make_shape_compatible_op(self, model: Any) -> NodeProto:
        """A standard node whose result has the shape of ours: the first channel of each part."""
        return self._like("Gather", 2, axis=1)

    def _apart(self, x: Ints, begins: Ints) -> Ints:
        images, _, *size = x.shape
        return x.reshape(images, len(begins), -1, *size)


class SumChannels(_OverChannels):
    """The sum of each of equal parts of the channels."""

    def _compute(self, *inputs: Ints) -> Ints:
        return np.asarray(self._apart(*inputs).sum(2))


class MaxChannels(_OverChannels):
    """The largest of each of equal parts of the channels."""

    def _compute(self, *inputs: Ints) -> Ints:
        return np.asarray(self._apart(*inputs).max(2))

    def _datatype(self, model: Any) -> str:
        return str(model.get_tensor_datatype(self.onnx_node.input[0]).name)
