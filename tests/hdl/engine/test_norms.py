"""Layer norms and softmaxes of a Program as layers of an engine: their images, waits and refusals."""

from dataclasses import replace

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.plan import EnginePlan
from addax.hdl.engine.vector.widths import NormTiming
from addax.quant.formats import signed, unsigned
from addax.quant.program import Divide, Input, Norm, Program, Reduce, Softmax
from engine_executor import assert_golden, executed
from engine_networks import small_plan
from engine_norms import normed_tokens, scored_tokens

PLAN = small_plan(bits=8, pin=8, pout=8, norms=4, feature_bytes=4096)


def alone(channels=12, size=(1, 6), **fields):
    """A layer norm of the input."""
    values = {
        "multiplier": np.full(channels, 300), "offset": np.full(channels, 1 << 11), "shift": 12, "format": signed(8),
        "lo": -128, "hi": 127, "fraction": 4, "reciprocal": 30, "cut": 16, **fields,
    }  # fmt: skip
    pixels = Input(name="pixels", shape=(channels, *size), format=unsigned(8))
    return Program(ops=(pixels, Norm(name="norm", source="pixels", **values)))


@pytest.mark.parametrize("plan", [PLAN, small_plan(norms=2, feature_bytes=4096)], ids=["8 bit", "16 bit"])
@pytest.mark.parametrize("seed", range(1, 7))
def test_images_of_layer_norms_make_the_tensors_of_the_golden_model(plan, seed):
    """By the second executor, which reads the image alone: bands, powers of channels, reciprocals that are moved up,
    results of more bits than an element."""
    program = normed_tokens(seed, bits=plan.bits, lanes=plan.pin)
    image = compiled(program, plan)
    assert any(layer.norm is not None for layer in image.network.layers)
    pixels = np.random.default_rng(seed).integers(0, 256, program.input.shape)
    assert_golden(image, pixels, executed(image, pixels))


@pytest.mark.parametrize("norms", [2, 16])
def test_tokens_go_by_twice_and_wait_for_their_roots_between(norms):
    """The cycles at work are two for each word of tokens; those between are what `NormTiming` says, and one more, for
    the issuer looks a cycle later."""
    plan = replace(PLAN, norms=norms)
    image = compiled(alone(channels=20, size=(2, 9)), plan)
    (layer,) = predicted(image).layers
    words = 18 * 3
    assert layer.busy == 2 * words
    longest = image.descriptors[0]["longest"]
    starved = layer.works[3][0] - layer.works[2][1] - 1
    assert starved == NormTiming.of(plan, 2).rooted(plan, 18, longest) + 1


def test_more_roots_side_by_side_take_fewer_cycles():
    """A token of 192 channels goes by in 24 cycles of 16 lanes; its root and its reciprocal take 43 beside others."""
    program = alone(channels=192, size=(1, 197), fraction=8, reciprocal=35, cut=17)
    plans = [EnginePlan(device="xczu7ev", norms=norms) for norms in (2, 4, 8, 16)]
    cycles = [predicted(compiled(program, plan)).total for plan in plans]
    starved = [NormTiming.of(plan, 2).rooted(plan, 197, 43) for plan in plans]
    assert [total - cycles[0] for total in cycles] == [wait - starved[0] for wait in starved]
    assert cycles == sorted(cycles, reverse=True)


def test_an_engine_without_layer_norms_says_with_what_it_has_them():
    with pytest.raises(UserError, match="no layer norms, which 'norm' is: build it with --norms 4"):
        compiled(alone(), replace(PLAN, norms=0))


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"cut": 25, "reciprocal": 40}, "needs 25 bits that a product with a reciprocal loses; the engine has 24"),
        ({"cut": 2}, "the layer norm 'norm' needs 29 bits of a normalised value; the engine has 20"),
        ({"fraction": 0, "reciprocal": 35, "cut": 20}, None),
    ],
)
def test_what_the_engine_has_no_bits_for_is_refused_in_one_line(fields, message):
    """Fields that a folding does not choose for 8 bits, and ones that it might."""
    if message is None:
        assert compiled(alone(**fields), PLAN).network.layers
        return
    with pytest.raises(UserError) as caught:
        compiled(alone(**fields), PLAN)
    assert message in str(caught.value)


def scores(mask=None, heads=1, entries=(255, 90, 30, 0), divided=False):
    """Exponentials of a picture's 8 channels, perhaps divided by their sum."""
    pixels = Input(name="pixels", shape=(8, 1, 4), format=unsigned(8))
    exp = Softmax(
        name="exp", source="pixels", entries=np.array(entries), format=unsigned(8), heads=heads, mask=mask
    )  # fmt: skip
    scaled = {"multiplier": np.full(8, 255), "offset": np.full(8, 1), "shift": 1, "format": unsigned(8)}
    quotients = [
        Reduce(name="total", source="exp", how="sum"),
        Divide(name="divided", source="exp", denominator="total", lo=0, hi=255, **scaled),
    ]
    return Program(ops=(pixels, exp, *(quotients if divided else [])))


@pytest.mark.parametrize("tables", [3, 6])
@pytest.mark.parametrize("seed", range(1, 7))
def test_images_of_softmaxes_make_the_tensors_of_the_golden_model(tables, seed):
    """By the second executor: heads as groups, blocks that scores do not fill, tables with no entry of 0."""
    plan = replace(PLAN, softmax=True, tables=tables, depthwise=2)
    program = scored_tokens(seed, tables=tables, lanes=plan.pin)
    image = compiled(program, plan)
    pixels = np.random.default_rng(seed).integers(0, 256, program.input.shape)
    assert_golden(image, pixels, executed(image, pixels))


@pytest.mark.parametrize(
    "program, changes, message",
    [
        (scores(), {"softmax": False}, "no softmax, which 'exp' is: build it with --softmax --tables 8"),
        (scores(mask=np.tril(np.ones((4, 8), np.int64))), {}, "no masks so far, which the softmax 'exp' has"),
        (scores(heads=2), {}, "the softmax 'exp' has 2 heads; the engine has heads with --depthwise 1 or more, with"),
        (scores(entries=range(32, 0, -1)), {}, "'exp' looks up 32 values: build it with --tables 5"),
        (
            scores(divided=True),
            {},
            "the engine has no divisions, which 'divided' is: build it with --divide",
        ),
    ],
    ids=["option", "mask", "heads", "table", "division"],
)
def test_softmaxes_that_the_engine_has_not_are_refused_in_one_line(program, changes, message):
    with pytest.raises(UserError) as caught:
        compiled(program, replace(PLAN, **{"softmax": True, "tables": 2, **changes}))
    assert message in str(caught.value)


def test_a_softmax_needs_tables():
    with pytest.raises(ValueError, match="a softmax looks up its exponentials, which an engine without tables has not"):
        replace(PLAN, softmax=True)


@pytest.mark.parametrize("value", [1, 3, 32, True])
def test_roots_side_by_side_are_a_power_of_two(value):
    with pytest.raises(ValueError, match="norms of an engine must be 0 or 2 or 4 or 8 or 16"):
        replace(PLAN, norms=value)
