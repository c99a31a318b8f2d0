"""GhostSR from a dense network: which filters stand for all, where they go, that nothing else changes."""

import itertools

import pytest
import torch
from addax.models.layers.ghost import GhostConv2d
from addax.models.nets.clustering import cluster_from_dense, intrinsic_filters
from addax.models.nets.edsr import EDSR
from hypothesis import given, settings
from hypothesis import strategies as st


def spread(points, of, count):
    """The sum of squared distances from the means of clusters, by loops."""
    total = 0.0
    for k in range(count):
        own = [points[i] for i in range(len(points)) if of[i] == k]
        for axis in range(len(points[0])):
            mean = sum(p[axis] for p in own) / max(len(own), 1)
            total += sum((p[axis] - mean) ** 2 for p in own)
    return total


def nearest_of_each(points, of, count):
    """By cluster the number of the filter nearest to the mean of its cluster, by loops."""
    chosen = []
    for k in range(count):
        own = [i for i in range(len(points)) if of[i] == k]
        mean = [sum(points[i][axis] for i in own) / len(own) for axis in range(len(points[0]))]
        chosen.append(min(own, key=lambda i: sum((a - m) ** 2 for a, m in zip(points[i], mean, strict=True))))
    return chosen


@pytest.mark.parametrize("seed", range(8))
def test_clusters_that_stand_apart_are_found(seed):
    """Of all ways to part seven filters the one with the least spread, and the filter in its midst; by trying them."""
    random = torch.Generator().manual_seed(seed)
    places = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])[torch.tensor([0, 1, 2, 0, 1, 2, 0])]
    filters = (places + 0.3 * torch.randn(7, 2, generator=random)).view(7, 2, 1, 1)

    chosen, of = intrinsic_filters(filters, 3, seed=seed)

    points = filters.flatten(1).tolist()
    best = min(itertools.product(range(3), repeat=7), key=lambda parts: spread(points, parts, 3))
    assert spread(points, of, 3) == pytest.approx(spread(points, best, 3))
    assert chosen == nearest_of_each(points, of, 3)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(0, 1000), st.booleans(), st.data())
def test_it_is_a_resting_point_of_k_means(count, seed, coarse, data):
    """Every filter lies in the cluster whose mean is nearest, and as many are chosen as wanted, whatever is equal."""
    total = data.draw(st.integers(count, 10))
    filters = torch.randn(total, 3, generator=torch.Generator().manual_seed(seed))
    filters = filters.round() if coarse else filters

    chosen, of = intrinsic_filters(filters, count, seed=seed)

    assert len(set(chosen)) == count and set(chosen) <= set(range(total))
    assert (chosen, of) == intrinsic_filters(filters.clone(), count, seed=seed)
    points = filters.double()
    means = {k: points[torch.tensor(of) == k].mean(0) for k in set(of)}
    for number, k in enumerate(of):
        far = {other: float((points[number] - mean).square().sum()) for other, mean in means.items()}
        assert far[k] <= min(far.values()) + 1e-9
    if len(means) == count and not coarse:
        assert chosen == nearest_of_each(points.tolist(), of, count)


def networks(share=0.5, **options):
    torch.manual_seed(0)
    options = {"shape": (1, 6, 6), "blocks": 2, "features": 6, **options}
    return EDSR(share=share, **options), EDSR(**options)


@pytest.mark.parametrize("kernel", ["mult", "adder"])
def test_chosen_filters_go_into_the_ghost_and_the_rest_is_copied(kernel):
    """Row by row, biases and batch norms too; the moves stay."""
    ghost, dense = networks(kernel=kernel)
    for p in dense.state_dict().values():
        if p.is_floating_point():
            p.uniform_(0.5, 1.5)
    moves = {name: p.clone() for name, p in ghost.named_parameters() if name.endswith("choice")}

    cluster_from_dense(ghost, dense, seed=3)

    now, was = ghost.state_dict(), dense.state_dict()
    assert all(torch.equal(now[name], move) for name, move in moves.items()) and len(moves) == 4
    assert all(torch.equal(now[name], was[name]) for name in was if "body.0.body" not in name and name in now)
    middle = ".0" if kernel == "adder" else ""
    for block in ("body.0", "body.1"):
        first, second = (was[f"{block}.body.{k}{middle}.weight"] for k in (0, 2))
        chosen = intrinsic_filters(first, 3, seed=3)[0]
        made = now[f"{block}.body.0.primary{middle}.weight"]
        rows = [next(i for i in range(6) if torch.equal(first[i], row)) for row in made]
        assert sorted(rows) == sorted(chosen) and all(rows[i] == i for i in chosen if i < 3)
        for name in ("weight", "bias", *(("running_mean", "running_var") if kernel == "adder" else ())):
            inner = f".{int(kernel == 'adder')}." if kernel == "adder" else "."
            assert torch.equal(now[f"{block}.body.0.primary{inner}{name}"], was[f"{block}.body.0{inner}{name}"][rows])
        columns = now[f"{block}.body.2.primary{middle}.weight"]
        for row in columns:
            filters = [f for f in second if torch.equal(f[rows], row[:3])]
            assert len(filters) == 1  # a filter of the second layer, whose columns are where the first one's rows went
            assert sorted(map(str, filters[0].tolist())) == sorted(map(str, row.tolist()))


def test_pairs_of_equal_filters_lose_nothing():
    """Where each filter stands twice and no copy moves, the ghost computes what the dense network did, in its order."""
    ghost, dense = networks(blocks=1, features=4)
    with torch.no_grad():
        for layer in (dense.body[0].body[0], dense.body[0].body[2]):
            for tensor in (layer.weight, layer.bias):
                tensor[2:] = tensor[:2]
        cluster_from_dense(ghost, dense)
        for layer in ghost.modules():
            if isinstance(layer, GhostConv2d):
                layer.shift.choice.zero_()[1, 1] = 1
        x = torch.rand(2, 1, 6, 6)

        torch.testing.assert_close(ghost.eval()(x), dense.eval()(x))


def test_what_does_not_fit_is_refused_and_nothing_changes():
    ghost, _ = networks()
    before = {name: value.clone() for name, value in ghost.state_dict().items()}
    for options, message in (
        ({"features": 8}, "at 'body.0.body.0' a convolution of 6 filters is wanted, not 8"),
        ({"blocks": 1}, "at 'body.1.body.0' a convolution of 6 filters is wanted, not none"),
        ({"blocks": 3}, "it has other layers: 'body.2.bias' stands in one network only"),
        ({"scale": 3}, r"'tail.0.0.weight' is \(54, 6, 3, 3\), and \(24, 6, 3, 3\) is wanted"),
        ({"share": 0.5}, "a convolution of 6 filters is wanted, not 3"),
    ):
        with pytest.raises(ValueError, match=message):
            cluster_from_dense(ghost, EDSR(**{"shape": (1, 6, 6), "blocks": 2, "features": 6, **options}))
    with pytest.raises(ValueError, match="only a network with ghost convolutions"):
        cluster_from_dense(networks(None)[0], networks(None)[1])
    with pytest.raises(ValueError, match=r"of 4 filters 1..4 can be chosen, not 5"):
        intrinsic_filters(torch.rand(4, 2), 5)
    assert all(torch.equal(value, before[name]) for name, value in ghost.state_dict().items())
