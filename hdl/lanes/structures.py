"""The structures of each kernel: which there are, which is the default, and what is particular about some.

`addax.hdl.lanes.kernels` says how they compute.
"""

__all__ = ["MASKING", "OFFSET", "STRUCTURES", "default_structure"]

STRUCTURES: dict[str, tuple[str, ...]] = {
    "adder": ("2a", "1c1a", "carry", "max"),
    "mult": ("booth", "rows", "star"),
    "xnor": ("count",),
    "shift": ("barrel",),
}
"""Structures of each kernel."""

MASKING = ("max",)
"""Structures whose lanes hand on `Masked` signals."""

OFFSET = ("max",)
"""Structures whose sums hold a constant besides, the sum of a row's weights, which a stage's requantise would have to
take away and does not."""

_BEST = {
    "ice40": {"adder": "max", "mult": "booth", "xnor": "count", "shift": "barrel"},
    "gowin": {"adder": "carry", "mult": "booth", "xnor": "count", "shift": "barrel"},
    "ecp5": {"adder": "carry", "mult": "rows", "xnor": "count", "shift": "barrel"},
    "xc7": {"adder": "max", "mult": "booth", "xnor": "count", "shift": "barrel"},
    "xcup": {"adder": "max", "mult": "booth", "xnor": "count", "shift": "barrel"},
    "osu018": {"adder": "carry", "mult": "star", "xnor": "count", "shift": "barrel"},
}
"""The cheapest structure on a family of devices without DSP blocks: what ``addax kernels --all-structures`` shows."""

_PLAIN = {"adder": "carry", "mult": "star", "xnor": "count", "shift": "barrel"}
"""Products are left to synthesis, which has DSP blocks for them; sums are free of constants."""


def default_structure(kernel: str, family: str | None = None) -> str:
    """The structure of ``kernel`` where none is chosen.

    Parameters
    ----------
    family : of devices, for the cheapest structure of lanes that stand alone, without DSP blocks; None for those of a
        stage
    """
    return _PLAIN[kernel] if family is None else _BEST[family][kernel]
