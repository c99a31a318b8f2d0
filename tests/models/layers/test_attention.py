"""Attention as a layer: both kernels of its scores against naive loops, the gradient of adders, stochastic depth."""

import math

import pytest
import torch
from addax.models.compute import adder_scores as module
from addax.models.compute.adder_scores import adder_scores
from addax.models.layers.attention import Attention, AttentionScores, StochasticDepth
from hypothesis import given, settings
from hypothesis import strategies as st


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_adder_scores_are_minus_distances(queries, keys, width, seed):
    """Against the sum of their definition, with batch and heads in front."""
    random = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(2, 3, n, width, generator=random) for n in (queries, keys))

    expected = -(q.unsqueeze(-2) - k.unsqueeze(-3)).abs().sum(-1)
    torch.testing.assert_close(adder_scores(q, k), expected)


@pytest.mark.parametrize("elements", [1 << 24, 1])
def test_the_gradient_is_that_of_features_of_adder_convolutions(elements, monkeypatch):
    """Differences clipped to -1..1, all at once and one query after the other."""
    monkeypatch.setattr(module, "_ELEMENTS", elements)
    torch.manual_seed(0)
    q, k = (torch.randn(2, 2, n, 5, dtype=torch.float64, requires_grad=True) for n in (3, 4))
    upstream = torch.randn(2, 2, 3, 4, dtype=torch.float64)

    adder_scores(q, k).backward(upstream)

    clipped = (k.detach().unsqueeze(-3) - q.detach().unsqueeze(-2)).clamp(-1, 1)
    torch.testing.assert_close(q.grad, torch.einsum("bhqk,bhqkd->bhqd", upstream, clipped))
    torch.testing.assert_close(k.grad, -torch.einsum("bhqk,bhqkd->bhkd", upstream, clipped))


def test_the_operator_keeps_its_promises_to_torch():
    """Shapes and types without data; half precision is summed in single."""
    q, k = torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 5, 4, requires_grad=True)

    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.addax.adder_scores.default, (q, k), test_utils=checks)
    assert adder_scores(q.bfloat16(), k.bfloat16()).dtype is torch.float32
    assert adder_scores(q.to("meta"), k.to("meta")).shape == (2, 3, 5)


@pytest.mark.parametrize("kernel", ["mult", "adder"])
def test_attention_against_loops(kernel):
    """Head by head and token by token; adder attention adds the token's own value."""
    torch.manual_seed(1)
    q, k, v = (torch.randn(2, 4, 6) for _ in range(3))
    expected = torch.zeros(2, 4, 6)
    for b in range(2):
        for i in range(4):
            for part in (slice(0, 3), slice(3, 6)):
                if kernel == "mult":
                    scores = [float(q[b, i, part] @ k[b, j, part]) / math.sqrt(3) for j in range(4)]
                else:
                    spread = math.sqrt(3 * (2 - 4 / math.pi))
                    scores = [-float((q[b, i, part] - k[b, j, part]).abs().sum()) / spread for j in range(4)]
                total = sum(math.exp(score) for score in scores)
                for j in range(4):
                    expected[b, i, part] += math.exp(scores[j]) / total * v[b, j, part]
                if kernel == "adder":
                    expected[b, i, part] += v[b, i, part]

    torch.testing.assert_close(Attention(kernel, 6, 2)(q, k, v), expected)
    without = Attention("adder", 6, 2, identity=False)(q, k, v)
    torch.testing.assert_close(Attention("adder", 6, 2)(q, k, v), without + v)


@pytest.mark.parametrize("kernel", ["mult", "adder"])
def test_scores_of_what_has_nothing_to_do_with_each_other_vary_by_one(kernel):
    """Protects the scale: a softmax of wider scores picks one token, one of narrower scores none."""
    torch.manual_seed(2)
    q, k = torch.randn(300, 64), torch.randn(300, 64)

    assert float(AttentionScores(kernel, 64)(q, k).var()) == pytest.approx(1, abs=0.1)


def test_stochastic_depth_leaves_out_whole_examples_and_keeps_the_mean():
    torch.manual_seed(3)
    layer, x = StochasticDepth(0.25), torch.ones(4000, 2, 3)

    assert torch.equal(layer.eval()(x), x)
    found = layer.train()(x).flatten(1)
    assert torch.equal(found, found[:, :1].expand_as(found))
    assert found.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert float(found.mean()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Attention("mult", 6, 4), "heads must divide the width 6, not be 4"),
        (lambda: Attention("shift", 6, 2), "scores of attention have the kernel mult or adder, not shift"),
        (lambda: StochasticDepth(1), "a rate of stochastic depth is 0 or more and below 1, not 1"),
    ],
)
def test_what_cannot_be_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
