"""Energies at 45 nm: published figures times operations, and nothing where there is no figure."""

import pytest
from addax.hdl.family import Layer
from addax.reports.power.asic45 import lanes_energy


def layer(name, kind, macs, bits=8):
    return Layer(name=name, kind=kind, result=(1, 1, 1), lanes=1, macs=macs, operand_bits=bits)


POOL = Layer(name="pool", kind="max", result=(1, 1, 1))


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
