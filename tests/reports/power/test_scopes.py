"""Parts of a comparison: what is counted in each, and that the widest is everything."""

import pytest
from addax.reports.devices.devices import device
from addax.reports.devices.resources import Resources
from addax.reports.power.model import power_model
from addax.reports.power.power import Contribution, Power
from addax.reports.power.scopes import SCOPES, CountedDesign, differing_layers, scopes
from addax.reports.synth.synth import INTERCONNECT


def design(kernel, lanes, scale=1):
    blocks = {
        "conv1": {"lanes": Resources(lut=100), "trees": Resources(lut=10), "window": Resources(lut=1)},
        "conv2": {
            "lanes": Resources(lut=lanes, dsp=3), "trees": Resources(lut=20), "requantise": Resources(lut=5),
            "queues": Resources(lut=3), "weights": Resources(lut=2),
        },
        INTERCONNECT: {"": Resources(lut=7)},
    }  # fmt: skip
    contributions = tuple(
        Contribution(stage=stage, block=block, category=block, coefficient="logic_pf", mw=scale * cells.lut / 10)
        for stage, own in blocks.items() for block, cells in own.items()
    )  # fmt: skip
    whole = [
        Contribution(stage="", block="", category=category, coefficient=name, mw=mw)
        for category, name, mw in (("static", "static_mw", 1000), ("registers and clock", "clock_tree_pf", 2))
    ]
    power = Power(
        contributions=(*contributions, *whole), model=power_model(device("ecp5-85k")), clock_mhz=50, interval=9,
        operations=1, images=1, cycles=10,
    )  # fmt: skip
    return CountedDesign(kinds={"conv1": "mult", "conv2": kernel}, blocks=blocks, power=power)


def test_scopes_hold_what_they_say():
    """By hand, from the narrowest to everything; what both have alike dilutes the difference."""
    one, base = design("adder", 50), design("mult", 200)
    layers = differing_layers([one, base])
    found = {row["scope"]: row for row in scopes(one, base, layers)}

    assert {name: row["lut"] for name, row in found.items()} == {
        "lanes of the layers that differ": 50,
        "lanes and trees of the layers that differ": 70,
        "the layers that differ, whole": 80,
        "lanes and trees of all layers": 180,
        "and requantise": 185,
        "and windows, queues, control": 189,
        "whole accelerator, with weights": 198,
    }
    assert layers == {"conv2"}
    assert scopes(base, base, layers)[0]["lut"] == 200
    changes = [row["lut_change"] for row in found.values()]
    assert changes[0] == -0.75 and changes[-1] == 198 / 348 - 1
    assert found["lanes of the layers that differ"]["power_mw"] == 5
    assert found["and windows, queues, control"]["power_mw"] == pytest.approx(18.9)
    assert found["whole accelerator, with weights"]["power_mw"] == pytest.approx(
        19.8 + 2
    )  # the clock's tree, alike in both
    assert found["whole accelerator, with weights"]["power_mw_change"] == pytest.approx(218 / 368 - 1)


def test_nothing_is_compared_with_nothing():
    """Where no layers differ there are no shares of them; without power there is no power."""
    one = design("mult", 200)
    rows = scopes(CountedDesign(kinds=one.kinds, blocks=one.blocks), one, differing_layers([one, one]))

    assert [row["scope"] for row in rows] == [scope.name for scope in SCOPES]
    assert rows[0]["lut"] == 0 and rows[0]["lut_change"] is None
    assert rows[-1]["lut_change"] == 0
    assert all(row["power_mw"] is None and row["power_mw_change"] is None for row in rows)
