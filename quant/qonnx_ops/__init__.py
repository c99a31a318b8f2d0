"""Executors of our ONNX operations for the qonnx package, which finds them by the name of this module: our domain.

They need none of the functions that a file brings along. ``import qonnx`` is only needed here.
"""

from .operations import (
    AdderConv,
    Choose,
    DilatedAdderConv,
    DilatedIntegerConv,
    ImageConstant,
    IntegerConv,
    IntegerMaxPool,
    IntegerPixelShuffle,
    IntegerProduct,
    IntegerUpsample,
    MaxChannels,
    PadChannels,
    Requantise,
    RequantiseAdd,
    RequantiseChannels,
    RequantiseChannelsAdd,
    RequantiseSlopes,
    RequantiseSlopesAdd,
    SpatialShift,
    SumChannels,
    SumPool,
    Table,
    Threshold,
)  # fmt: skip
from .tokens import (
    AdderContext,
    AdderScores,
    DeferredSoftmax,
    IntegerDivide,
    IntegerNorm,
    IntegerRearrange,
    IntegerUnfold,
    MultContext,
    MultScores,
)  # fmt: skip

__all__ = [
    "AdderContext", "AdderConv", "AdderScores", "Choose", "DeferredSoftmax", "DilatedAdderConv", "DilatedIntegerConv",
    "ImageConstant", "IntegerConv", "IntegerDivide", "IntegerMaxPool", "IntegerNorm", "IntegerPixelShuffle",
    "IntegerProduct", "IntegerRearrange", "IntegerUnfold", "IntegerUpsample", "MaxChannels", "MultContext",
    "MultScores", "PadChannels", "Requantise", "RequantiseAdd", "RequantiseChannels", "RequantiseChannelsAdd",
    "RequantiseSlopes", "RequantiseSlopesAdd", "SpatialShift", "SumChannels", "SumPool", "Table", "Threshold",
]  # fmt: skip
