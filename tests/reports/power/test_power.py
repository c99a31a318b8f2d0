"""The power model: sums by hand, bands and sensitivities, savings that keep their sign."""

import itertools
import math
from dataclasses import replace

import pytest
from addax.common.errors import UserError
from addax.reports.devices.devices import device, device_names
from addax.reports.devices.resources import Resources
from addax.reports.power.model import ENDS, STATIC, UNITS, VOLTAGE, Coefficient, PowerModel, has_power, power_model
from addax.reports.power.power import CATEGORIES, Contribution, Power, estimate_power, saving
from addax.reports.synth.synth import INTERCONNECT
from addax.sim.activity import Activity, Toggles

MODEL = power_model(device("ecp5-85k"))
SQUARE = MODEL.value("voltage") ** 2


def activity(images=2):
    """1,000 cycles, in which two images of 250 cycles were computed."""
    return Activity(
        parts={
            "stage_conv1": {"lanes": Toggles(toggles=400, nets=4), "trees": Toggles(toggles=100, nets=2)},
            "packet": {"": Toggles(toggles=30, nets=3)},
            "split_conv1": {"": Toggles(toggles=20, nets=1)},
            "": {"": Toggles(toggles=0, nets=0)},
        },
        cycles=1000, images=images,
    )  # fmt: skip


BLOCKS = {
    "conv1": {"lanes": Resources(lut=100, ff=50, carry=10, dsp=3), "weights": Resources(bram=2)},
    "packet": {"": Resources(lut=10)},
    INTERCONNECT: {"": Resources(ff=20)},
}
TERMS = {
    "instances": {"conv1": "stage_conv1", "packet": "packet"}, "family": "ecp5", "clock_mhz": 100.0, "interval": 250,
    "operations": 5000,
}  # fmt: skip


def power(**changes):
    return estimate_power(activity(), BLOCKS, MODEL, **TERMS | changes)


def test_power_is_events_times_energy():
    """By hand, from the definition: joules of an event times events in a second."""
    found = power()

    rate = 400 / 4 / 500  # toggles of a lane's net in a cycle, of the two images' 500 cycles
    half, hertz, mw = 0.5 * SQUARE * 1e-12, 100e6, 1e3
    assert found.of(lambda c: c.coefficient == "logic_pf" and c.stage == "conv1")[0] == pytest.approx(
        100 * rate * half * MODEL.value("logic_pf") * hertz * mw
    )
    assert found.of(lambda c: c.coefficient == "carry_pf")[0] == pytest.approx(
        10 * 2 * rate * half * MODEL.value("carry_pf") * hertz * mw
    )
    clocked = (50 + 20) * 2 * half * MODEL.value("clock_pf_per_ff") * hertz * mw
    toggling = (50 * rate + 20 * 20 / 500) * half * MODEL.value("register_pf") * hertz * mw
    tree = 2 * half * MODEL.value("clock_tree_pf") * math.sqrt(device("ecp5-85k").lut) * hertz * mw
    assert found.of(lambda c: c.category == "registers and clock")[0] == pytest.approx(clocked + toggling + tree)
    assert found.of(lambda c: c.category == "registers and clock" and c.stage == "")[0] == pytest.approx(tree)
    memories = 2 * MODEL.value("bram_pj") * 1e-12 * hertz * mw
    assert found.of(lambda c: c.category == "weights")[0] == pytest.approx(memories)
    assert found.of(lambda c: c.coefficient == "dsp_pj")[0] == pytest.approx(
        3 * rate / 0.5 * MODEL.value("dsp_pj") * 1e-12 * hertz * mw
    )
    assert found.static_mw == MODEL.value(STATIC)
    assert found.total_mw == pytest.approx(found.static_mw + found.dynamic_mw)
    assert found.energy_per_image_uj == pytest.approx(found.total_mw * 1e-3 * 250 / hertz * 1e6)


def test_an_activity_file_without_a_number_of_images_counts_all_its_cycles():
    known = power()
    unknown = estimate_power(replace(activity(), images=None), BLOCKS, MODEL, **TERMS)

    logic = [p.of(lambda c: c.coefficient == "logic_pf")[0] for p in (known, unknown)]
    assert logic[0] == pytest.approx(2 * logic[1])


def test_what_is_told_adds_up():
    told = power().to_json()

    assert sum(c["mw"] for c in told["categories"]) == pytest.approx(told["total"]["mw"])
    assert sum(c["low_mw"] for c in told["categories"]) == pytest.approx(told["total"]["low_mw"])
    names = [c["name"] for c in told["categories"]]
    assert names == [name for name in CATEGORIES if name in names] and len(set(names)) == len(names)
    for stage in told["stages"]:
        assert sum(stage["categories"].values()) == pytest.approx(stage["mw"])
    static = next(c["mw"] for c in told["categories"] if c["name"] == "static")
    tree = MODEL.clock_tree_pj * 100.0 / 1000
    assert sum(stage["mw"] for stage in told["stages"]) + tree + static == pytest.approx(told["total"]["mw"])
    assert told["dynamic"]["mw"] == pytest.approx(told["total"]["mw"] - static)
    assert told["total"]["low_mw"] < told["total"]["mw"] < told["total"]["high_mw"]
    assert told["energy_per_operation_pj"]["value"] == pytest.approx(told["energy_per_image_uj"]["value"] * 1e6 / 5000)


def at_its_end(end, *names):
    """The model with the coefficients called ``names`` at an end of their bands."""
    moved = {name: replace(own, value=getattr(own, end)) for name, own in MODEL.coefficients.items() if name in names}
    return PowerModel(coefficients={**MODEL.coefficients, **moved}, tables=MODEL.tables)


def test_the_band_is_the_model_at_the_ends_of_its_coefficients():
    """Not by weights but by models whose every coefficient is at its end."""
    found = power()
    for end, k in (("low", 1), ("high", 2)):
        again = estimate_power(activity(), BLOCKS, at_its_end(end, *MODEL.coefficients), **TERMS)
        assert found.of(lambda c: True)[k] == pytest.approx(again.total_mw)


@pytest.mark.parametrize("name", ["logic_pf", "bram_pj", "clock_tree_pf", VOLTAGE, STATIC])
def test_sensitivity_is_the_model_with_one_coefficient_at_an_end_of_its_band(name):
    told = power().to_json()["sensitivity"]
    row = next(row for row in told if row["coefficient"] == name)
    for end in ENDS:
        again = estimate_power(activity(), BLOCKS, at_its_end(end, name), **TERMS)
        assert row[f"total_{end}_mw"] == pytest.approx(again.total_mw)
    assert [row["coefficient"] for row in told][-1] == VOLTAGE and len(told) == len(UNITS)


def test_the_clock_tree_is_what_was_measured():
    """An iCE40UP5K at 1.219 V: 53.0 pJ a cycle for the tree and a counter of 28 bits, of which each takes 14.4 fJ."""
    model = power_model(device("ice40-up5k"))
    at_the_board = model.clock_tree_pj * (1.219 / model.value(VOLTAGE)) ** 2
    measured = (613.5 - 92.1) / 12 * 1.219 - 28 * (641.3 - 613.5) / 196 / 12 * 1.219

    assert at_the_board == pytest.approx(measured, rel=0.01)


def test_a_design_without_registers_has_a_clock_tree_all_the_same():
    found = estimate_power(activity(), {"conv1": {"lanes": Resources(lut=1)}}, MODEL, **TERMS)

    assert found.by_coefficient()["clock_tree_pf"] == pytest.approx(MODEL.clock_tree_pj * 100.0 / 1000)


def made(**mw):
    common = {"stage": "s", "block": "lanes", "category": "lanes"}
    contributions = tuple(Contribution(**common, coefficient=name, mw=value) for name, value in mw.items())
    return Power(
        contributions=contributions, model=MODEL, clock_mhz=50.0, interval=10, operations=1, images=1, cycles=10
    )  # fmt: skip


def test_a_saving_in_every_coefficient_keeps_its_sign():
    found = saving(made(logic_pf=40, bram_pj=10, static_mw=100), made(logic_pf=80, bram_pj=11, static_mw=100))

    assert found.dynamic == pytest.approx(1 - 50 / 91) and found.total == pytest.approx(1 - 150 / 191)
    assert found.keeps_sign and not found.flips
    assert 0 < found.worst < found.dynamic < found.best


def test_a_saving_that_hangs_on_one_coefficient_says_so():
    """Half the logic but twice the memories. With logic at the low end of its band, half, 70 stand against 65, a loss;
    with memories at their high end, twice, 140 against 130, a loss too; registers are alike in both."""
    one, other = made(logic_pf=40, bram_pj=50), made(logic_pf=80, bram_pj=25)
    assert MODEL.span("bram_pj") == (0.5, 2.0) and MODEL.factor("logic_pf", {"logic_pf": "low"}) == 0.5

    found = saving(one, other)

    assert not found.keeps_sign and found.flips == ("logic_pf", "bram_pj")


def test_a_coefficient_moves_within_its_own_band():
    """The same figures, but memories may only take 1.75 times as much as they are thought to, as products do: 127.5
    against 123.75; and products of 1.1 times 95 against 107.5, so they turn nothing round by themselves."""
    one, other = made(logic_pf=40, dsp_pj=50), made(logic_pf=80, dsp_pj=25)
    narrow = replace(MODEL.coefficients["dsp_pj"], high=MODEL.value("dsp_pj") * 1.1)
    model = PowerModel(coefficients={**MODEL.coefficients, "dsp_pj": narrow}, tables=MODEL.tables)

    assert saving(one, other).flips == ("logic_pf", "dsp_pj")
    assert saving(replace(one, model=model), replace(other, model=model)).flips == ("logic_pf",)


def test_the_voltage_moves_capacitances_alone():
    """Logic against memories: at the high end of the voltage 10 mW become 11.03, more than the memories' 10.3. Where
    both sides are logic, they move together."""
    assert VOLTAGE in saving(made(logic_pf=10), made(bram_pj=10.3)).flips
    assert saving(made(logic_pf=10), made(logic_pf=10.3)).flips == ()


def test_savings_are_those_of_one_device():
    other = replace(made(logic_pf=40), model=power_model(device("ecp5-25k")))

    with pytest.raises(ValueError, match="savings are those of two designs on one device"):
        saving(made(logic_pf=40), other)


def test_worst_and_best_are_those_of_all_changes():
    """Searched over a grid that is finer than the ends that are tried, in models of their own."""
    one, other = made(logic_pf=40, bram_pj=50, dsp_pj=1), made(logic_pf=80, bram_pj=45, dsp_pj=9)
    found = saving(one, other)

    def grid(name):
        own = MODEL.coefficients[name]
        return [own.low + (own.high - own.low) * k / 4 for k in range(5)]

    names = ("logic_pf", "bram_pj", "dsp_pj")
    shares = []
    for *values, volts in itertools.product(*map(grid, names), grid(VOLTAGE)):
        factors = {name: value / MODEL.value(name) for name, value in zip(names, values, strict=True)}
        factors["logic_pf"] *= (volts / MODEL.value(VOLTAGE)) ** 2
        shares.append(1 - one.total(factors.__getitem__) / other.total(factors.__getitem__))
    assert found.worst == pytest.approx(min(shares)) and found.best == pytest.approx(max(shares))


@pytest.mark.parametrize("name", device_names())
def test_every_coefficient_has_a_band_and_a_source(name):
    target = device(name)
    if not has_power(target):
        with pytest.raises(UserError, match=f"no power coefficients for {name}, only for ecp5-25k.*without --power"):
            power_model(target)
        return
    model = power_model(target)
    assert set(model.coefficients) == set(UNITS)
    for own in model.coefficients.values():
        assert own.low <= own.value <= own.high and len(own.source) > 10 and own.unit


def test_coefficients_that_cannot_be():
    with pytest.raises(ValueError, match=r"bram_pj: not 0 < 3 <= 2"):
        Coefficient(name="bram_pj", value=2, low=3, high=4, source="a guess")
    with pytest.raises(ValueError, match="no bram_pj"):
        PowerModel(coefficients={k: v for k, v in MODEL.coefficients.items() if k != "bram_pj"}, tables=1)
    with pytest.raises(ValueError, match="tables must be a positive integer, not 0"):
        PowerModel(coefficients=MODEL.coefficients, tables=0)
