"""The frequency-aware network: its costs to the last term, pixels that are computed alone, training, integers."""

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.models.layers.adder import AdderConv2d
from addax.models.layers.bands import BRANCHES
from addax.models.nets import zoo
from addax.models.nets.counting import count
from addax.models.nets.edsr import EDSR
from addax.models.nets.fadn import FADN, FADNBlock, routed
from addax.quant import golden
from addax.quant.lower.lowering import lower
from addax.quant.program import ArgMax, Select
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn


def network(kernel="mult", *, features=6, factor=0.5, seed=0, **options):
    """Untrained, with scores that tell pixels apart and settled statistics of batch norms."""
    torch.manual_seed(seed)
    net = FADN(kernel=kernel, shape=(3, 9, 11), blocks=2, features=features, factor=factor, **options)
    with torch.no_grad():
        net.train()(torch.rand(8, 3, 9, 11))
        for block in net.body[:-1]:
            block.router.scores.weight.mul_(20)
    return net.eval()


def choices(net, image):
    """By block, the branch of every pixel in a pass that computes all of them."""
    found = []
    hooks = [
        block.router.scores.register_forward_hook(lambda layer, x, out: found.append(out[0].argmax(0).tolist()))
        for block in net.body[:-1]
    ]
    with torch.no_grad():
        result = net(image[None])[0]
    for hook in hooks:
        hook.remove()
    return found, result


def naive_terms(net, image):
    """Pixel by pixel: the first 3x3 of the high branch wherever a neighbour is high; and as is published."""
    (_, height, width), c = image.shape, net.head[0].out_channels
    macs = nominal = 0
    for mask in choices(net, image)[0]:
        for i in range(height):
            for j in range(width):
                near = [
                    mask[a][b] for a in range(max(i - 1, 0), min(i + 2, height))
                    for b in range(max(j - 1, 0), min(j + 2, width))
                ]  # fmt: skip
                macs += 3 * c + 9 * c * c * (0 in near)
                macs += {0: 9 * c * c, 1: 10 * c * c, 2: 9 * c + c * c}[mask[i][j]]
                nominal += 3 * c + {0: 18 * c * c, 1: 10 * c * c, 2: 9 * c + c * c}[mask[i][j]]
    around = height * width * (27 * c + 9 * c * c + 9 * c * c * net.scale**2 + 27 * c * net.scale**2)
    return macs + around, nominal + around


@pytest.mark.parametrize(("features", "published"), [(64, (1, 0.5556, 0.0634)), (256, (1, 0.5556, 0.0575))])
def test_branches_cost_what_is_derived(features, published):
    """Terms of the layers themselves; the predictor is 0.26 % of the most expensive branch at 64 features."""
    with torch.device("meta"):
        block = FADN(blocks=1, features=features).body[0]
        terms = [count(block.branches[name], (features, 5, 7)).macs for name in BRANCHES]
        predictor = count(block.router.scores, (features, 5, 7)).macs

    assert [n / terms[0] for n in terms] == pytest.approx(published, abs=5e-5)
    assert terms == [35 * n for n in (18 * features**2, 10 * features**2, 9 * features + features**2)]
    assert predictor == 35 * 3 * features and (
        features != 64 or predictor / terms[0] == pytest.approx(0.0026, abs=5e-5)
    )


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 1000))
def test_pixels_alone_give_what_all_of_them_give(height, width, seed):
    """And take exactly the terms that are counted pixel by pixel."""
    net = network(seed=seed % 7)
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))

    found = routed(net, image)

    masks, wanted = choices(net, image)
    torch.testing.assert_close(found.image, wanted, atol=1e-5, rtol=1e-5)
    assert (found.macs, found.nominal_macs) == naive_terms(net, image)
    assert found.pixels == tuple(tuple(sum(row.count(k) for row in mask) for k in range(3)) for mask in masks)


def test_of_adders_too():
    """Whose padded taps count, and which have batch norms."""
    net, image = network("adder"), torch.rand(3, 9, 11)

    found = routed(net, image)

    assert sum(isinstance(m, AdderConv2d) for m in net.modules()) == 2 * 6 + 2
    torch.testing.assert_close(found.image, choices(net, image)[1], atol=1e-4, rtol=1e-4)
    assert (found.macs, found.nominal_macs) == naive_terms(net, image)


def test_masks_may_be_computed_densely():
    """One-hot masks times all branches, as published: the same sums as the choice that a Program makes."""
    net, x = network(), torch.randn(1, 6, 9, 11)
    block = net.body[0]

    with torch.no_grad():
        masks = nn.functional.one_hot(block.router.choice(x)[:, 0], 3).permute(0, 3, 1, 2)
        wanted = x + 0.5 * sum(masks[:, k : k + 1] * block.branches[name](x) for k, name in enumerate(BRANCHES))

        torch.testing.assert_close(block(x), wanted)
    assert masks.sum((0, 2, 3)).min() > 0


def test_the_most_expensive_branch_alone_is_edsr():
    """The same image and the terms of EDSR, but for the predictors."""
    net, image = network(features=64), torch.rand(3, 9, 11)
    twin = EDSR(shape=(3, 9, 11), blocks=2, features=64, factor=0.5).eval()
    with torch.no_grad():
        for block in net.body[:-1]:
            block.router.scores.weight.zero_()
    twin.load_state_dict(
        {name.replace("branches.high", "body"): value for name, value in net.state_dict().items()
         if not any(part in name for part in ("router", "mid", "low"))}
    )  # fmt: skip

    found = routed(net, image)

    with torch.no_grad():
        torch.testing.assert_close(found.image, twin(image[None])[0], atol=1e-5, rtol=1e-5)
    assert found.pixels == ((99, 0, 0),) * 2 and found.dense_macs == count(twin, (3, 9, 11)).macs
    assert found.macs == found.nominal_macs == found.dense_macs + 2 * 99 * 3 * 64


def test_where_nobody_asks_nothing_is_computed():
    """All low: the other branches, whose weights are no numbers, are never read and cost no term."""
    net, image = network(), torch.rand(3, 9, 11)
    for block in net.body[:-1]:
        block.router.choice = lambda x: torch.full((1, 1, *x.shape[2:]), 2)
        for name in ("high", "mid"):
            nn.init.constant_(block.branches[name][0].weight, torch.nan)

    found = routed(net, image)

    assert bool(found.image.isfinite().all()) and found.pixels == ((0, 0, 99),) * 2
    around = 27 * 6 + 9 * 36 + 9 * 36 * 4 + 27 * 6 * 4
    assert found.macs == found.nominal_macs == 99 * (around + 2 * (9 * 6 + 36))


@pytest.mark.parametrize("factor", [1.0, 0.1])
def test_it_becomes_a_program_near_it(factor):
    """All branches, an arg-max and a choice for each block; 12 bits, 1 % of the range but where scores nearly tie."""
    net = network(factor=factor)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 3, 9, 11), np.uint8)

    program = lower(net, pixels, bits=12)

    kinds = [type(op) for op in program.ops]
    assert kinds.count(ArgMax) == kinds.count(Select) == 2
    with torch.no_grad():
        exact = net(torch.from_numpy(pixels / 255.0).float()).numpy()
    found = golden.run(program, pixels).output * program.steps[program.output]
    assert np.quantile(np.abs(found - exact), 0.98) < 1e-2 * np.abs(exact).max()


@pytest.mark.parametrize("training", [True, False])
def test_what_runs_leaves_the_mode_as_it_was(training):
    net = network().train(training)

    routed(net, torch.rand(3, 4, 4))

    assert net.training is training


@pytest.mark.parametrize(
    ("name", "blocks", "features", "factor"),
    [("fadn-small", 8, 32, 1), ("fadn-baseline", 16, 64, 1), ("fadn", 32, 256, 0.1)],
)
def test_the_zoo_has_twins_of_edsr(name, blocks, features, factor):
    with torch.device("meta"):
        found = zoo.build(f"{name}-x3", kernel="mult")

    assert found.scale == 3 and len(found.body) == blocks + 1 and found.head[0].out_channels == features
    assert {block.factor for block in found.body if isinstance(block, FADNBlock)} == {factor}
    pixels, c = 240 * 426, features
    blocks_terms = zoo.counts_of(f"{name}-x3").macs - zoo.counts_of(f"{name.replace('fadn', 'edsr')}-x3").macs
    assert blocks_terms == blocks * pixels * (11 * c * c + 9 * c + 3 * c)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "xnor"}, "layer 'body.0.branches.high.0' of fadn: the xnor kernel has no bias"),
        ({"kernel": "mult", "classes": 10}, "fadn makes an image, which has no classes"),
        ({"kernel": "mult", "scale": 5}, "fadn enlarges by 2, 3, 4, not by 5"),
        ({"kernel": "mult", "features": 0}, "fadn needs a block and a feature at least, not 16 and 0"),
    ],
)
def test_what_it_cannot_be_is_named(options, message):
    with torch.device("meta"), pytest.raises(UserError, match=message):
        zoo.build("fadn-baseline-x2", **options)


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 3, 4, 4), (4, 4)])
def test_one_image_of_its_channels_is_asked_for(shape):
    with pytest.raises(ValueError, match="one image of 3 channels is enlarged"):
        routed(network(), torch.rand(shape))
