"""Adder against multiplier: what is saved, in numbers and in words, next to what has been published."""

from collections.abc import Sequence

from .price import ArrayCost
from .published import abstract

__all__ = ["AUTHORS_RTL", "comparison", "savings"]

AUTHORS_RTL = {
    "adder_lut": 7065,
    "mult_lut": 20493,
    "lanes": 256,
    "bits": 8,
}
"""The AdderNet authors' RTL: LUTs of 256 lanes of 8 bit with either kernel."""


def _cheapest(costs: Sequence[ArrayCost], kernel: str) -> ArrayCost | None:
    """The row of ``kernel`` with the fewest LUTs and without DSP blocks."""
    rows = [c for c in costs if c.request.shape.kernel == kernel and not c.request.dsp and c.resources is not None]
    return min(rows, key=lambda cost: cost.resources.lut if cost.resources else 0, default=None)


def savings(costs: Sequence[ArrayCost]) -> dict[str, float]:
    """The cheapest adder against the cheapest multiplier, in percent: LUTs saved, and clock gained."""
    adder, mult = _cheapest(costs, "adder"), _cheapest(costs, "mult")
    if adder is None or mult is None:
        return {}
    assert adder.resources is not None and mult.resources is not None
    result = {"lut": 100 * (1 - adder.resources.lut / mult.resources.lut)}
    if adder.paired is not None and mult.paired is not None:
        result["lut_paired"] = 100 * (1 - adder.paired / mult.paired)
    if adder.fmax_mhz and mult.fmax_mhz:
        result["fmax"] = 100 * (adder.fmax_mhz / mult.fmax_mhz - 1)
    return result


def comparison(costs: Sequence[ArrayCost]) -> list[str]:
    """Adder against multiplier in words, next to what has been published."""
    ours = savings(costs)
    if not ours:
        return []
    most, least = (-change for change in abstract("logic"))
    lines = [
        f"adder against mult: {ours['lut']:.1f} % of the LUTs saved"
        + (f" ({ours['lut_paired']:.1f} % once small LUTs are paired)" if "lut_paired" in ours else "")
        + f"; published {least} to {most} %, in theory {-abstract('kernel')[0]:.0f} %"
    ]
    adder, mult = _cheapest(costs, "adder"), _cheapest(costs, "mult")
    assert adder is not None and mult is not None
    if "fmax" in ours:
        stages = adder.request.shape.register_stages, mult.request.shape.register_stages
        lines.append(
            f"clock: {ours['fmax']:+.1f} % with {stages[0]} register stages against {stages[1]}; "
            f"published {abstract('speed')[0]:+.0f} %"
        )
    if adder.paired is not None and adder.request.shape.x.bits == AUTHORS_RTL["bits"]:
        per_lane = adder.to_json()["lut_per_lane"]
        published = AUTHORS_RTL["mult_lut"] / AUTHORS_RTL["lanes"]
        lines.append(
            f"adder against the published multiplier of {published:.1f} LUT per lane: "
            f"{100 * (1 - per_lane / published):.1f} % saved"
        )
    lines.append(
        f"published, {AUTHORS_RTL['lanes']} lanes of 8 bit on a Zynq UltraScale+: "
        f"adder {AUTHORS_RTL['adder_lut']:,} LUT, mult {AUTHORS_RTL['mult_lut']:,} LUT"
    )
    return lines
