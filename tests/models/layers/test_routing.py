"""The predictor of frequency-aware networks: one branch per pixel, drawn as its scores say, and what it learns by."""

import math

import pytest
import torch
from addax.models.layers.routing import (
    Router,
    Routing,
    relative_costs,
    routing_loss,
    set_routing,
    set_routing_progress,
)
from image_files import refused
from torch import nn


@pytest.mark.parametrize(("features", "published"), [(64, (1, 0.5556, 0.0634)), (256, (1, 0.5556, 0.0575))])
def test_costs_are_the_derived_ones(features, published):
    assert relative_costs(features) == pytest.approx(published, abs=5e-5)


def test_half_the_cost_needs_so_many_high_pixels():
    """Of 64 features, where the others are low: 46.6 %."""
    high, _, low = relative_costs(64)

    assert (0.5 - low) / (high - low) == pytest.approx(0.466, abs=5e-4)


def test_one_branch_takes_each_pixel():
    """Protects the masks: they sum to 1, and the choice at inference is that of the highest score."""
    torch.manual_seed(0)
    router, x = Router(6), torch.randn(2, 6, 5, 7)

    drawn = router(x)

    torch.testing.assert_close(drawn.sort(1).values[:, 2], torch.ones(2, 5, 7))
    torch.testing.assert_close(drawn.sum(1), torch.ones(2, 5, 7))
    scores = router.scores(x).detach()
    best = [[[max(range(3), key=lambda k: float(s[k, i, j])) for j in range(7)] for i in range(5)] for s in scores]
    assert router.choice(x)[:, 0].tolist() == best


@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
def test_branches_are_drawn_as_often_as_scores_say(temperature):
    """The largest of scores with Gumbel noise has the shares of a softmax, whatever the temperature."""
    torch.manual_seed(1)
    router = Router(1)
    set_routing(router, Routing(temperature=temperature))
    with torch.no_grad():
        router.scores.weight.copy_(torch.tensor([0.0, 1.0, -1.0]).view(3, 1, 1, 1))

    shares = router(torch.ones(1, 1, 200, 200)).mean((0, 2, 3))

    whole = sum(map(math.exp, (0, 1, -1)))
    assert shares.tolist() == pytest.approx([math.exp(s) / whole for s in (0, 1, -1)], abs=0.015)


def test_the_gradient_is_that_of_the_softmax():
    """Straight through, with the noise that was drawn and divided by the temperature."""
    router, x = Router(4).double(), torch.randn(1, 4, 3, 2, dtype=torch.double)
    set_routing(router, Routing(temperature=2.0))
    weights = torch.randn(1, 3, 3, 2, dtype=torch.double)
    torch.manual_seed(5)
    (router(x).double() * weights).sum().backward()

    scores = router.scores(x).detach().float().requires_grad_()
    torch.manual_seed(5)
    noise = -torch.empty_like(scores).exponential_().log()
    (((scores + noise) / 2.0).softmax(1).double() * weights).sum().backward()
    wanted = torch.einsum("bkij,bcij->kc", scores.grad.double(), x)
    torch.testing.assert_close(router.scores.weight.grad.view(3, 4), wanted, atol=1e-6, rtol=1e-5)


def test_the_loss_is_the_cost_above_the_budget_and_a_guide_that_fades():
    """By sums over pixels; taken once, and nothing is left of it."""
    torch.manual_seed(2)
    net, routing = nn.Sequential(Router(4), Router(4)), Routing(guide=0.3, sparsity=2.0, budget=0.1)
    set_routing(net, routing)
    set_routing_progress(net, 0.25)
    x, wanted = torch.randn(2, 4, 3, 5), torch.randint(3, (2, 3, 5))
    drawn = []
    for router in net:
        router.wanted = wanted
        drawn.append(router(x).detach())

    loss = routing_loss(net).detach()

    costs, cells = relative_costs(4), [(b, i, j) for b in range(2) for i in range(3) for j in range(5)]
    spent = sum(float(one[b, k, i, j]) * costs[k] for one in drawn for b, i, j in cells for k in range(3)) / 60
    scores = [router.scores(x).detach().log_softmax(1) for router in net]
    guide = -sum(float(one[b, int(wanted[b, i, j]), i, j]) for one in scores for b, i, j in cells) / 60
    assert float(loss) == pytest.approx(2.0 * max(spent - 0.1, 0) + 0.3 * 0.75 * guide, rel=1e-5)
    assert routing_loss(net) is None and routing_loss(nn.Linear(2, 2)) is None


def test_below_the_budget_cost_is_free():
    router = Router(4)
    set_routing(router, Routing(budget=1.0))
    router(torch.randn(1, 4, 3, 3))

    assert float(routing_loss(router).detach()) == 0


def test_mistakes_are_one_line():
    with refused("routing is for frequency-aware networks; this one has no routers"):
        set_routing(nn.Linear(2, 2), Routing())
    for options, message in (
        ({"temperature": 0}, "temperature must be a number in 0.01..100, not 0"),
        ({"guide": -1}, "guide must be a number in 0..1000.0, not -1"),
        ({"sparsity": "much"}, "sparsity must be a number in 0..1000.0, not 'much'"),
        ({"budget": 2}, "budget must be a number in 0..1, not 2"),
    ):
        with refused(message):
            Routing(**options)
