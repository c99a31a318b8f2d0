"""The sizes of a convolution, whatever its product is."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

__all__ = ["ConvolutionShape", "pair_of"]

Pair = tuple[int, int]


def pair_of(value: int | Sequence[int]) -> Pair:
    """One number for rows and columns, or one for each, as (vertical, horizontal)."""
    down, right = (value, value) if isinstance(value, int) else value
    return down, right


@dataclass(frozen=True, kw_only=True)
class ConvolutionShape:
    """Sizes of a convolution's features, filters and result.

    Attributes
    ----------
    images, channels, height, width : of the features
    outputs : filters
    kernel, stride, padding, dilation : (vertical, horizontal); padding on either side
    groups : parts of channels and filters; a filter reads the channels of its own part

    Raises
    ------
    ValueError
        for sizes that make no convolution.
    """

    images: int
    channels: int
    height: int
    width: int
    outputs: int
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    def __post_init__(self) -> None:
        for name in ("stride", "dilation"):
            if min(getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if min(self.padding) < 0:
            raise ValueError(f"padding must not be negative: {self.padding}")
        if min(self.kernel) < 1 or min(self.channels, self.outputs) < 1:
            raise ValueError(f"a convolution needs channels, filters and taps, not {self}")
        if self.rows < 1 or self.columns < 1:
            raise ValueError(
                f"a kernel of {self.kernel} at dilation {self.dilation} does not fit a map of "
                f"{self.height} x {self.width} with padding {self.padding}"
            )

    @classmethod
    def of(
        cls, features: Tensor, filters: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
        groups: int,
    ) -> "ConvolutionShape":  # fmt: skip
        """The sizes of ``filters`` (O, C / groups, Kh, Kw) over ``features`` (B, C, H, W)."""
        if features.ndim != 4 or filters.ndim != 4:
            raise ValueError(
                f"expected (B, C, H, W) and (O, C / groups, Kh, Kw), not {features.shape}, {filters.shape}"
            )
        images, channels, height, width = features.shape
        outputs, inputs, *kernel = filters.shape
        if groups < 1 or inputs * groups != channels or outputs % groups:
            raise ValueError(
                f"{outputs} filters of {inputs} channels do not fit {channels} channels in {groups} groups"
            )
        return cls(
            images=images, channels=channels, height=height, width=width, outputs=outputs, kernel=pair_of(kernel),
            stride=pair_of(stride), padding=pair_of(padding), dilation=pair_of(dilation), groups=groups,
        )  # fmt: skip

    @property
    def rows(self) -> int:
        """Of the result."""
        return (self.height + 2 * self.padding[0] - self.dilation[0] * (self.kernel[0] - 1) - 1) // self.stride[0] + 1

    @property
    def columns(self) -> int:
        """Of the result."""
        return (self.width + 2 * self.padding[1] - self.dilation[1] * (self.kernel[1] - 1) - 1) // self.stride[1] + 1

    @property
    def result(self) -> tuple[int, int, int, int]:
        """(B, O, rows, columns)."""
        return self.images, self.outputs, self.rows, self.columns

    @property
    def filters(self) -> tuple[int, int, int, int]:
        """(O, C / groups, Kh, Kw)."""
        return self.outputs, self.channels // self.groups, *self.kernel
