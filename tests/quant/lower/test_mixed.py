"""Sensitivities are what a lowered network shows, and widths chosen from them keep their budget."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.models.layers.adder import AdderConv2d
from addax.models.training.loop import scores
from addax.quant import golden
from addax.quant.fold.scheme import Scheme
from addax.quant.lower.calibration import calibrate
from addax.quant.lower.lowering import lower
from addax.quant.lower.mixed import Sensitivity, choose, layers, mean_bits, sensitivities
from addax.quant.program import Convolution
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchnets import Net, pictures, settle


def row(layer, weights, bits, divergence):
    return Sensitivity(layer=layer, weights=weights, bits=bits, agreement=1.0, divergence=divergence)


# Choosing


TABLE = [
    row("cheap", 100, 8, 0.0), row("cheap", 100, 4, 0.001), row("cheap", 100, 2, 0.5),
    row("dear", 100, 8, 0.0), row("dear", 100, 4, 0.1), row("dear", 100, 2, 2.0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("budget", "expected"),
    [(8, (8, 8)), (7.9, (4, 8)), (6, (4, 8)), (5.9, (4, 4)), (4, (4, 4)), (3.5, (2, 4)), (2, (2, 2)), (99, (8, 8))],
)
def test_layer_that_loses_least_is_narrowed_first(budget, expected):
    assert choose(TABLE, budget=budget) == dict(zip(("cheap", "dear"), expected, strict=True))


def test_loss_counts_per_bit_saved():
    """A large layer may lose more than a small one, for it saves more; either would do here."""
    rows = [
        row("large", 100, 8, 0.0), row("large", 100, 4, 0.03), row("small", 60, 8, 0.0), row("small", 60, 4, 0.02),
    ]  # fmt: skip

    assert choose(rows, budget=6.75) == {"large": 4, "small": 8}


def test_narrower_layer_that_is_better_by_chance_is_free():
    """Divergences are measured on few images: less of it with fewer bits must not turn a choice round."""
    rows = [
        row("a", 10, 8, 0.1),
        row("a", 10, 6, 0.05),
        row("a", 10, 4, 0.3),
        row("b", 10, 8, 0.1),
        row("b", 10, 4, 0.2),
    ]

    assert choose(rows, budget=7) == {"a": 6, "b": 8}


def test_what_the_last_step_saved_too_much_goes_back():
    """Narrowing the large layer in the end leaves room for the small one to be wide again."""
    rows = [
        row("small", 10, 8, 0.0), row("small", 10, 4, 0.001), row("large", 100, 8, 0.0), row("large", 100, 4, 0.5),
    ]  # fmt: skip

    found = choose(rows, budget=5)

    assert found == {"small": 8, "large": 4} and mean_bits(rows, found) == pytest.approx((80 + 400) / 110)


def test_budget_that_cannot_be_reached_is_refused():
    for budget in (1.5, 0, -1, math.nan):
        with pytest.raises(
            UserError, match=rf"mean of {budget:g} bits cannot be reached; the narrowest width tried is 2"
        ):
            choose(TABLE, budget=budget)


WIDTHS = st.lists(st.sampled_from([8, 6, 5, 4, 3, 2]), min_size=1, max_size=5, unique=True)
TABLES = st.dictionaries(
    st.sampled_from("abcd"), st.tuples(st.integers(1, 1000), WIDTHS, st.randoms(use_true_random=False)), min_size=1
).map(
    lambda table: [
        row(layer, weights, bits, random.random() * 2.0 ** (-bits))
        for layer, (weights, widths, random) in table.items()
        for bits in widths
    ]
)


@given(rows=TABLES, share=st.floats(0, 1))
def test_choice_keeps_its_budget_and_uses_it(rows, share):
    """Widths of the table, at most the budget, and no single layer could still be widened to advantage."""
    table = {}
    for entry in rows:
        table.setdefault(entry.layer, {})[entry.bits] = entry
    weights = {layer: next(iter(entries.values())).weights for layer, entries in table.items()}

    def mean(widths):
        return sum(widths[layer] * weights[layer] for layer in widths) / sum(weights.values())

    least, most = (mean({layer: end(entries) for layer, entries in table.items()}) for end in (min, max))
    budget = least + share * (most - least) + 1e-9

    found = choose(rows, budget=budget)

    assert found.keys() == table.keys() and mean(found) <= budget
    assert mean_bits(rows, found) == pytest.approx(mean(found))
    for layer, bits in found.items():
        for wider in (b for b in table[layer] if b > bits):
            better = table[layer][wider].divergence < table[layer][bits].divergence
            assert not better or mean({**found, layer: wider}) > budget
    with pytest.raises(UserError, match="cannot be reached"):
        choose(rows, budget=least - 0.01)


# Measuring

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    made = Net(
        lambda n, x: n.fc(n.flat(n.r2(n.b2(n.a(n.r1(n.b1(n.c(x)))))))),
        c=nn.Conv2d(1, 4, 3, bias=False), b1=nn.BatchNorm2d(4), r1=nn.ReLU(), a=AdderConv2d(4, 6, 3),
        b2=nn.BatchNorm2d(6), r2=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(96, 5),
    )  # fmt: skip
    return settle(made, pictures(60, SHAPE))


@pytest.fixture(scope="module")
def calibration(net):
    return calibrate(net, pictures(60, SHAPE))


def softmax(values):
    powers = [math.exp(v - max(values)) for v in values]
    return [p / sum(powers) for p in powers]


def test_rows_are_what_single_layers_lose(net, calibration):
    """Against a network lowered with that one layer narrower, and the divergence summed up by hand."""
    images, calls = pictures(40, SHAPE, seed=1), []
    reference = scores(net, images)
    scheme = Scheme(bits=7)

    rows = sensitivities(
        calibration, images, reference, scheme=scheme, bits=(8, 3), progress=lambda: calls.append(1)
    )  # fmt: skip

    assert [(r.layer, r.weights, r.bits) for r in rows] == [
        ("c", 36, 8), ("c", 36, 3), ("a", 216, 8), ("a", 216, 3), ("fc", 480, 8), ("fc", 480, 3),
    ]  # fmt: skip
    assert len(calls) == 6
    for found in rows:
        program = lower(net, calibration, scheme=replace(scheme, layer_bits={found.layer: found.bits}))
        result = golden.run(program, images)
        assert found.agreement == (result.classes == reference.argmax(1)).mean()
        total = 0.0
        for ours, theirs in zip(result.scores * program.steps["scores"], reference.astype(float), strict=True):
            total += sum(p * math.log(p / q) for p, q in zip(softmax(theirs), softmax(ours), strict=True))
        assert found.divergence == pytest.approx(total / 40, rel=1e-6, abs=1e-10)
    assert set(rows[0].keys()) == {"layer", "weights", "bits", "agreement", "divergence"}


def test_fewer_bits_lose_more(net, calibration):
    """Every layer, at the edges, too, costs more at two bits than at eight."""
    images = pictures(60, SHAPE, seed=1)

    rows = sensitivities(calibration, images, scores(net, images), scheme=Scheme(bits=8), bits=(8, 2))

    for wide, narrow in zip(rows[::2], rows[1::2], strict=True):
        assert narrow.divergence > 3 * wide.divergence > 0


def test_chosen_widths_are_those_of_the_weights(net, calibration):
    """The budget is one of the Program that comes out, not only of the table."""
    images = pictures(60, SHAPE, seed=1)
    rows = sensitivities(calibration, images, scores(net, images), scheme=Scheme(), bits=(8, 6, 4, 3))

    widths = choose(rows, budget=5)

    program = lower(net, calibration, scheme=Scheme(layer_bits=widths))
    convolutions = [op for op in program.ops if isinstance(op, Convolution)]
    assert {op.name: op.weight_format.bits for op in convolutions} == widths
    bits = sum(op.weight.size * op.weight_format.bits for op in convolutions)
    assert bits <= 5 * program.parameters() and bits == pytest.approx(mean_bits(rows, widths) * program.parameters())


def test_layers_of_other_widths_stay_as_they_were_chosen(net, calibration):
    images = pictures(20, SHAPE, seed=1)
    scheme = Scheme(layer_bits={"a": 3})

    rows = sensitivities(calibration, images, scores(net, images), scheme=scheme, bits=(8,))

    program = lower(net, calibration, scheme=Scheme(layer_bits={"a": 3, "fc": 8}))
    assert rows[-1].agreement == (golden.run(program, images).classes == scores(net, images).argmax(1)).mean()
    assert layers(calibration) == {"c": 36, "a": 216, "fc": 480}


def test_images_of_no_classes_apart_do_not_divide_by_zero(calibration):
    """A reference so sure of itself that all other probabilities are 0 has a finite divergence."""
    images = pictures(4, SHAPE, seed=1)
    sure = np.where(np.arange(5) == 2, 500.0, -500.0) + np.zeros((4, 1))

    (found, *_) = sensitivities(calibration, images, sure, scheme=Scheme(), bits=(8,))

    assert math.isfinite(found.divergence) and found.divergence > 0
