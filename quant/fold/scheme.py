"""How a network is quantised, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ...common.errors import UserError

__all__ = ["RANGES", "RESULTS", "SHARINGS", "SHIFTS", "Scheme", "chosen_scheme"]

RANGES = ("quantile", "max", "mse", "sums")
SHARINGS = ("lossless", "saturate", "union")
SHIFTS = ("auto", "shared")
RESULTS = ("range", "pixels")
_BITS = (2, 16)


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """The choices of post-training quantisation.

    Attributes
    ----------
    bits : of features, and of the weights of adder and multiplying layers; 2..16
    layer_bits : bits of single layers, by their path in the network; these hold at its edges, too
    ranges : what part of its values a tensor's grid covers: ``quantile`` of their magnitudes, ``max``, or what gives
        the smallest mean squared error of the tensor (``mse``) or, in front of an adder layer, of that layer's sums
        (``sums``)
    quantile : share of values that ``quantile`` covers
    sharing : how an adder layer's weights come onto the grid of its features. ``lossless`` clamps them and gives back
        what that takes away; ``saturate`` does not give it back; ``union`` widens the grid to both ranges. The last two
        are what a shared scale means at first reading, kept to be compared with.
    correct : take the mean error of an adder layer's sums over the calibration images out of its batch norm
    groups : an adder layer's filters are cut into up to so many groups, in order, each with a step of its own
    residual_bits : features that join an addition as they are have at least so many
    shortcut_bits : a shortcut that is itself a convolution has at least so many before it joins
    edge_bits : the first layer's weights, the last layer's weights and features have at least so many: there are few of
        them, and accuracy hangs on them
    most_bits : no feature that is read again has more: shortcuts, sums of tokens, scores in front of a softmax; for
        hardware that reads so many
    pow2_steps : steps are powers of two
    terms : the factors of a requantise are sums of at most so many signed powers of two; 0: 16-bit multipliers
    shifts : ``auto``: the channels of a requantise have shifts of their own where results would show what one for all
        costs; ``shared``: never, so that networks trained anew fit one piece of hardware
    result : the grid of a map that the network ends in: ``range``, as of any tensor; ``pixels``, unsigned bytes, 0..255
        for 0..1: it is an image

    Raises
    ------
    ValueError
        for a value out of range, by name.
    """

    bits: int = 8
    layer_bits: Mapping[str, int] = field(default_factory=dict)
    ranges: str = "mse"
    quantile: float = 0.9997
    sharing: str = "lossless"
    correct: bool = True
    groups: int = 1
    residual_bits: int = 8
    shortcut_bits: int = 12
    edge_bits: int = 8
    most_bits: int = 16
    pow2_steps: bool = False
    terms: int = 0
    shifts: str = "auto"
    result: str = "range"

    def __post_init__(self) -> None:
        named = {"bits": self.bits, **{f"bits of layer {path!r}": bits for path, bits in self.layer_bits.items()}}
        named |= {name: getattr(self, name) for name in ("residual_bits", "shortcut_bits", "edge_bits", "most_bits")}
        for name, bits in named.items():
            if not isinstance(bits, int) or not _BITS[0] <= bits <= _BITS[1]:
                raise ValueError(f"{name} must be in {_BITS[0]}..{_BITS[1]}, not {bits}")
        if self.most_bits < (least := max(*self.layer_bits.values(), self.bits, self.residual_bits, self.edge_bits)):
            raise ValueError(f"most_bits must be at least {least}, what features have, not {self.most_bits}")
        if self.ranges not in RANGES:
            raise ValueError(f"ranges must be one of {', '.join(RANGES)}, not {self.ranges!r}")
        if self.sharing not in SHARINGS:
            raise ValueError(f"sharing must be one of {', '.join(SHARINGS)}, not {self.sharing!r}")
        if self.shifts not in SHIFTS:
            raise ValueError(f"shifts must be one of {', '.join(SHIFTS)}, not {self.shifts!r}")
        if self.result not in RESULTS:
            raise ValueError(f"result must be one of {', '.join(RESULTS)}, not {self.result!r}")
        if not 0.5 <= self.quantile <= 1:
            raise ValueError(f"quantile must be in 0.5..1, not {self.quantile}")
        if not isinstance(self.groups, int) or self.groups < 1:
            raise ValueError(f"groups must be a positive integer, not {self.groups}")
        if not isinstance(self.terms, int) or not 0 <= self.terms <= 8:
            raise ValueError(f"terms must be in 0..8, not {self.terms}")
        object.__setattr__(self, "layer_bits", MappingProxyType(dict(self.layer_bits)))

    @property
    def joining_bits(self) -> int:
        """Bits of a convolution, or of what lies behind it, that joins an addition."""
        return min(max(self.bits, self.shortcut_bits), self.most_bits)

    def of(self, path: str, *, edge: bool = False) -> int:
        """Bits of the layer at ``path``, which may be at the edge of the network."""
        return self.layer_bits.get(path, max(self.bits, self.edge_bits) if edge else self.bits)


def chosen_scheme(**choices: Any) -> Scheme:
    """The `Scheme` of what a person chose; raises `UserError`, in the same words, for a value out of range."""
    try:
        return Scheme(**choices)
    except ValueError as error:
        raise UserError(str(error)) from error
