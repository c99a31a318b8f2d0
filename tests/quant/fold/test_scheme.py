"""Every choice of a scheme changes what it says and nothing else, and every value that cannot be is named."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.models.layers.adder import AdderConv2d
from addax.quant import golden
from addax.quant.fold.scheme import RANGES, SHARINGS, Scheme
from addax.quant.formats import signed, unsigned
from addax.quant.lower.calibration import calibrate
from addax.quant.lower.lowering import lower
from addax.quant.program import Concat, Convolution, Requantise, powers_of_two
from torch import nn
from torchnets import Net, pictures, run, settle

SHAPE = (1, 8, 8)
LAYERS = ("first", "a1", "a2", "m1", "side", "fc")


def network():
    """First layer, adder layer, adder layer with a shortcut, layer with a shortcut of its own, classifier.

    Half of the adder layers' weights are negative and so beyond the range of the features that they meet.
    """
    torch.manual_seed(0)
    net = Net(
        lambda n, x: classify(n, blocks(n, n.r0(n.b0(n.first(x))))),
        first=nn.Conv2d(1, 6, 3, padding=1, bias=False), b0=nn.BatchNorm2d(6), r0=nn.ReLU(),
        a1=AdderConv2d(6, 12, 3, padding=1), b1=nn.BatchNorm2d(12), r1=nn.ReLU(),
        a2=AdderConv2d(12, 12, 3, padding=1), b2=nn.BatchNorm2d(12), r2=nn.ReLU(),
        m1=nn.Conv2d(12, 12, 3, padding=1, bias=False), b3=nn.BatchNorm2d(12), side=nn.Conv2d(12, 12, 1, bias=False),
        b4=nn.BatchNorm2d(12), r3=nn.ReLU(), mean=nn.AvgPool2d(2), flat=nn.Flatten(), fc=nn.Linear(192, 10),
    )  # fmt: skip
    return settle(net, pictures(100, SHAPE))


def blocks(n, x):
    x = n.r1(n.b1(n.a1(x)))
    x = n.r2(n.b2(n.a2(x)) + x)
    return n.r3(n.b3(n.m1(x)) + n.b4(n.side(x)))


def classify(n, x):
    return n.fc(n.flat(n.mean(x)))


@pytest.fixture(scope="module")
def net():
    return network()


@pytest.fixture(scope="module")
def calibration(net):
    return calibrate(net, pictures(100, SHAPE))


@pytest.fixture(scope="module")
def make(net, calibration):
    return lambda **choices: lower(net, calibration, scheme=Scheme(**choices))


def widths(program):
    """Bits of features and of weights by the name of the layer."""
    return {
        op.name: (program.format(op.source).bits, op.weight_format.bits)
        for op in program.ops
        if isinstance(op, Convolution)
    }


def error(program, net, operation, module, images):
    """Root mean squared error of a stored tensor over the root mean square of its float value."""
    tensors, exact = golden.run(program, images, trace=True).tensors, run(net, images)[module]
    difference = tensors[operation] * program.steps[operation] - exact
    return float(np.sqrt(np.square(difference).mean() / np.square(exact).mean()))


# What each choice changes


def test_bits_are_those_of_features_and_weights_between_the_edges(make):
    assert widths(make(bits=5)) == {
        "first": (8, 8), "a1": (5, 5), "a2": (5, 5), "m1": (5, 5), "side": (5, 5), "fc": (8, 8),
    }  # fmt: skip
    assert widths(make()) == dict.fromkeys(LAYERS, (8, 8))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [("a1", {"a1": (3, 3)}), ("m1", {"m1": (3, 3)}), ("first", {"first": (8, 3)}), ("fc", {"fc": (3, 3)})],
)
def test_bits_of_one_layer_change_that_layer_alone(make, layer, expected):
    """Its weights, and the features as it reads them; at the edges of the network, too."""
    before, after = widths(make(bits=6)), widths(make(bits=6, layer_bits={layer: 3}))

    assert {name: value for name, value in after.items() if value != before[name]} == expected


def test_layer_that_does_not_exist_is_named(make):
    with pytest.raises(UserError, match=r"the network has no convolution 'a9'; it has first, a1, a2, m1, side, fc"):
        make(layer_bits={"a9": 4})


def test_edges_have_bits_of_their_own(make):
    narrow, wide = (widths(make(bits=4, edge_bits=bits)) for bits in (2, 12))

    assert (narrow["first"], narrow["fc"]) == ((8, 4), (4, 4)), "at least those of all"
    assert (wide["first"], wide["fc"]) == ((8, 12), (12, 12))
    assert {name: value for name, value in narrow.items() if value != wide[name]}.keys() == {"first", "fc"}


@pytest.mark.parametrize(("residual", "shortcut"), [(8, 12), (4, 6), (10, 5), (2, 2)])
def test_shortcuts_have_bits_of_their_own(make, residual, shortcut):
    """What joins as it is stored, and what is a convolution first: at least the bits of all."""
    program = make(bits=4, residual_bits=residual, shortcut_bits=shortcut)

    joins = {op.source: program.format(op.residual) for op in program.ops if getattr(op, "residual", None)}
    assert joins == {"a2": unsigned(max(4, residual)), "m1": signed(max(4, shortcut))}
    assert widths(program)["a2"] == widths(program)["side"] == (4, 4), "layers read their own bits all the same"


@pytest.mark.parametrize("most", [8, 10, 12])
def test_no_feature_has_more_bits_than_the_most(make, most):
    """A shortcut that is a convolution would have 12."""
    program = make(bits=4, most_bits=most)

    assert {program.format(op.residual) for op in program.ops if getattr(op, "residual", None)} == {
        unsigned(8), signed(most)
    }  # fmt: skip


def behind(program, layer):
    """The requantise that reads the sums of ``layer``: the finest, where they are wanted on several grids."""
    (found,) = (op for op in program.ops if isinstance(op, Requantise) and op.source == layer)
    return found


def tops(program, layer):
    """Largest values that the tensors stored behind ``layer`` can hold."""
    stored = (op for op in program.ops if isinstance(op, Requantise) and op.source == layer)
    return {op.hi * program.steps[op.name] for op in stored}


@pytest.mark.parametrize("quantile", [0.9, 1.0])
def test_ranges_by_their_largest_value_and_by_a_quantile(net, make, quantile):
    """The quantile is that of the batch where it is largest, and belongs to the calibration."""
    batches = np.split(np.abs(run(net, pictures(100, SHAPE))["r1"]), [64])
    expected = max(float(np.quantile(values, quantile, method="higher")) for values in batches)
    found = calibrate(net, pictures(100, SHAPE), scheme=Scheme(quantile=quantile))

    program = lower(net, found, scheme=Scheme(bits=5, ranges="quantile", quantile=quantile))

    assert all(top == pytest.approx(expected, rel=1e-3) for top in tops(program, "a1"))
    if quantile == 1.0:
        largest = make(bits=5, ranges="max")
        assert tops(largest, "a1") == tops(program, "a1")
        assert all(max(tops(make(bits=5), name)) <= max(tops(largest, name)) for name in ("first", "a1", "a2"))


def test_range_of_least_error_is_nearer_than_the_others(net, make):
    """What the choice promises, on the images that were looked at: the smallest mean squared error of the tensor."""
    images = pictures(100, SHAPE)

    errors = {name: error(make(bits=3, ranges=name), net, "first_out", "r0", images) for name in RANGES}

    assert errors["mse"] == errors["sums"], "in front of an adder layer, sums start from there"
    assert errors["mse"] < 0.8 * errors["max"] and errors["mse"] < 0.8 * errors["quantile"]


@pytest.mark.parametrize("bits", [4, 8])
def test_only_the_lossless_clamp_keeps_weights_beyond_the_features(net, calibration, bits):
    """Negative weights behind a ReLU: clamped with their constant they cost nothing, without it the sums are wrong, and
    a grid that covers both ranges is coarse."""
    programs = {
        sharing: lower(net, calibration, scheme=Scheme(bits=bits, sharing=sharing, correct=False, ranges="quantile"))
        for sharing in SHARINGS
    }
    images = pictures(60, SHAPE, seed=1)

    errors = {sharing: error(program, net, "a1_out", "r1", images) for sharing, program in programs.items()}

    assert errors["lossless"] < 4 * 2.0**-bits
    assert errors["saturate"] > 1
    assert errors["union"] > 1.5 * errors["lossless"]
    formats = {sharing: programs[sharing].by_name["a1"].weight_format for sharing in SHARINGS}
    assert formats == {"lossless": unsigned(bits), "saturate": unsigned(bits), "union": signed(bits)}
    lossless, saturate = (programs[name] for name in ("lossless", "saturate"))
    assert np.array_equal(lossless.by_name["a1"].weight, saturate.by_name["a1"].weight)
    assert not np.array_equal(behind(lossless, "a1").offset, behind(saturate, "a1").offset)
    union = programs["union"]
    reach = union.steps["first_out"] * (2 ** (bits - 1) - 1)
    features = run(net, pictures(100, SHAPE))["r0"].max()
    assert reach == pytest.approx(max(features, float(net.a1.weight.detach().abs().max())), rel=1e-4)


def test_correction_takes_the_mean_error_out_of_the_batch_norm(net, make):
    """Over the calibration images the sums are right on average, per filter; nothing but offsets changes."""
    plain, corrected = make(bits=4, correct=False), make(bits=4)

    for before, after in zip(plain.ops, corrected.ops, strict=True):
        assert type(before) is type(after)
        if isinstance(before, Convolution):
            assert np.array_equal(before.weight, after.weight)
        if isinstance(before, Requantise):
            assert np.array_equal(before.multiplier, after.multiplier) and before.shift == after.shift
            assert (before.source not in ("a1", "a2")) <= np.array_equal(before.offset, after.offset)
    exact = run(net, pictures(100, SHAPE))["a1"].mean((0, 2, 3))
    means = []
    for program in (plain, corrected):
        sums = golden.run(program, pictures(100, SHAPE), trace=True).tensors["a1"].mean((0, 2, 3))
        op, step = behind(program, "a1"), program.steps["first_out"]
        # What the offset takes from the sums, in units of their step: centre * M, but for the bias.
        unit = program.steps[op.name]
        gain = (net.b1.weight / (net.b1.running_var + net.b1.eps).sqrt()).detach().double().numpy() * step / unit
        wanted = (exact - net.b1.running_mean.numpy()) * gain / step + net.b1.bias.detach().numpy() / unit
        half = 0.5 if op.shift else 0.0
        found = (sums * op.multiplier + op.offset) / 2.0**op.shift - half
        means.append(np.abs(found - wanted).mean())
    assert means[1] < 0.3 * means[0]


@pytest.mark.parametrize("groups", [4, 12])
def test_groups_of_filters_have_steps_of_their_own(net, make, groups):
    """Several convolutions on the same features, stored once per step, their sums side by side in order of filters."""
    images = pictures(60, SHAPE, seed=1)
    program = make(bits=4, groups=groups)

    joined = program.by_name["a1_sums"]
    assert isinstance(joined, Concat)
    parts = [program.by_name[name] for name in (joined.source, *joined.others)]
    steps = [program.steps[part.source] for part in parts]
    assert [part.name for part in parts] == ["a1", *(f"a1_{k}" for k in range(2, len(parts) + 1))]
    assert sum(len(part.weight) for part in parts) == 12 and 1 < len(parts) <= groups
    assert {part.weight_format for part in parts} == {unsigned(4)}
    assert len(set(steps)) > 1
    assert len({part.source for part in parts}) == len(set(steps)), "one tensor per step"
    # Filter by filter: the rounded weights are those of the network, so no filter has changed its place.
    weight = np.concatenate([part.weight * step for part, step in zip(parts, steps, strict=True)])
    wanted = net.a1.weight.detach().numpy()
    top = 15 * min(steps)
    assert np.abs(weight.clip(0, top) - wanted.clip(0, top)).max() <= 0.51 * max(steps)
    assert error(program, net, "a1_sums_out", "r1", images) < 1.15 * error(make(bits=4), net, "a1_out", "r1", images)
    assert not any(isinstance(op, Concat) for op in make(bits=4, groups=1).ops)


def test_steps_are_powers_of_two(net, make):
    program = make(bits=6, pow2_steps=True)

    stored = [op.name for op in program.ops if isinstance(op, Requantise) and op.name != "scores"]
    assert len(stored) == 7
    assert all(math.frexp(program.steps[name])[0] == 0.5 for name in stored), "all but pixels and scores"
    images = pictures(60, SHAPE, seed=1)
    ratio = error(program, net, "a2_out", "r2", images) / error(make(bits=6), net, "a2_out", "r2", images)
    assert ratio < 1.6, "a step moves by half an octave at most"


def test_factors_have_so_many_terms(net, make):
    """Fewer powers of two are a coarser batch norm; two and three are near, one is not."""
    images, errors = pictures(60, SHAPE, seed=1), {}
    for terms in (0, 1, 2, 3):
        program = make(terms=terms)
        scalings = [op for op in program.ops if isinstance(op, Requantise)]
        assert {op.terms for op in scalings} == {terms}
        used = max(len(powers_of_two(m)) for op in scalings for m in (*op.multiplier.tolist(), op.residual_multiplier))
        assert used <= terms if terms else used > 4
        errors[terms] = error(program, net, "a1_out", "r1", images)

    assert errors[1] > 2 * errors[2] > 4 * errors[3] > 4 * errors[0]
    assert errors[3] < 0.03


# What cannot be


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"bits": 1}, "bits must be in 2..16, not 1"),
        ({"bits": 17}, "bits must be in 2..16, not 17"),
        ({"bits": 8.0}, "bits must be in 2..16, not 8.0"),
        ({"bits": "8"}, "bits must be in 2..16, not 8"),
        ({"layer_bits": {"conv1": 4, "fc": 1}}, "bits of layer 'fc' must be in 2..16, not 1"),
        ({"layer_bits": {"conv1": 99}}, "bits of layer 'conv1' must be in 2..16, not 99"),
        ({"residual_bits": 1}, "residual_bits must be in 2..16, not 1"),
        ({"shortcut_bits": 17}, "shortcut_bits must be in 2..16, not 17"),
        ({"edge_bits": 0}, "edge_bits must be in 2..16, not 0"),
        ({"most_bits": 17}, "most_bits must be in 2..16, not 17"),
        ({"most_bits": 7}, "most_bits must be at least 8, what features have, not 7"),
        ({"layer_bits": {"conv1": 10}, "most_bits": 8}, "most_bits must be at least 10, what features have, not 8"),
        ({"ranges": "median"}, "ranges must be one of quantile, max, mse, sums, not 'median'"),
        ({"sharing": "both"}, "sharing must be one of lossless, saturate, union, not 'both'"),
        ({"quantile": 0.4}, "quantile must be in 0.5..1, not 0.4"),
        ({"quantile": 1.01}, "quantile must be in 0.5..1, not 1.01"),
        ({"quantile": math.nan}, "quantile must be in 0.5..1, not nan"),
        ({"groups": 0}, "groups must be a positive integer, not 0"),
        ({"groups": 1.5}, "groups must be a positive integer, not 1.5"),
        ({"terms": -1}, "terms must be in 0..8, not -1"),
        ({"terms": 9}, "terms must be in 0..8, not 9"),
    ],
    ids=str,
)
def test_value_that_cannot_be_is_named(choice, message):
    with pytest.raises(ValueError) as caught:
        Scheme(**choice)

    assert str(caught.value) == message


def test_scheme_is_a_value():
    """Nobody changes a scheme behind another's back, neither by its fields nor by what it was made of."""
    own = {"fc": 4}
    scheme = Scheme(bits=5, layer_bits=own)
    own["fc"] = 16

    assert (scheme.of("fc"), scheme.of("conv1"), scheme.of("conv1", edge=True), scheme.of("fc", edge=True)) == (
        4,
        5,
        8,
        4,
    )
    assert Scheme(bits=12).of("conv1", edge=True) == 12
    with pytest.raises(TypeError):
        scheme.layer_bits["fc"] = 8
    with pytest.raises(dataclasses.FrozenInstanceError):
        scheme.bits = 8
    assert dataclasses.replace(scheme, bits=6).of("fc") == 4


def test_bits_alone_are_short_for_a_scheme(net, calibration):
    short, long = (lower(net, calibration, **given) for given in ({"bits": 5}, {"scheme": Scheme(bits=5)}))

    images = pictures(10, SHAPE)
    assert np.array_equal(golden.run(short, images).scores, golden.run(long, images).scores)
    with pytest.raises(UserError, match=r"bits must be in 2\.\.16, not 1"):
        lower(net, calibration, bits=1)
