"""Energies at 45 nm: published figures times operations, and nothing where there is no figure."""

from types import SimpleNamespace

import pytest
from addax.reports.power.asic45 import lanes_energy


def layer(name, kind, macs, bits=8):
    stage = SimpleNamespace(name=name, kind=kind, macs=macs, weight=object(), x=SimpleNamespace(bits=bits))
    return SimpleNamespace(stage=stage)


POOL = SimpleNamespace(stage=SimpleNamespace(name="pool", kind="max", macs=0, weight=None))


def test_operations_times_energies():
    """An adder lane of two additions 0.06 pJ, a product with its sum 0.23 pJ, as the source's readers add them up."""
    found = lanes_energy(
        [layer("a", "adder", 1_000_000), POOL, layer("m", "mult", 2_000_000), layer("s", "shift", 500_000)]
    )

    assert found["lanes"] == pytest.approx(0.06 + 2 * 0.23 + 0.5 * 0.054)
    assert found["without_figure"] == []


@pytest.mark.parametrize("bits, energy", [(4, 0.06), (9, 0.2), (16, 0.2)])
def test_operands_take_the_next_width_of_the_table(bits, energy):
    assert lanes_energy([layer("a", "adder", 1_000_000, bits)])["lanes"] == pytest.approx(energy)


def test_no_figure_is_no_zero():
    found = lanes_energy([layer("a", "adder", 1_000_000), layer("b", "xnor", 1_000_000)])

    assert found["lanes"] is None and found["without_figure"] == ["b"] and found["note"].endswith("none for b")
