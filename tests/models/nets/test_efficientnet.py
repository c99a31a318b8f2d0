"""EfficientNet-B0 and TinyNets: the published numbers, scaling, what their blocks compute, shapes that they refuse."""

import pytest
import torch
from addax.common.errors import UserError
from addax.models.nets import zoo
from addax.models.nets.counting import kernel_of
from addax.models.nets.efficientnet import TINYNETS, Scaling, SqueezeExcite

WIDE = [16, 24, 40, 80, 112, 192, 320]
PUBLISHED = {
    "efficientnet-b0": (224, [1, 2, 2, 3, 3, 4, 1], WIDE, 5_288_548, 385.8, 387),
    "tinynet-a": (192, [1, 2, 2, 4, 4, 5, 1], WIDE, 6_187_972, 336.9, 339),
    "tinynet-b": (188, [1, 2, 2, 3, 3, 4, 1], [16, 24, 32, 64, 88, 144, 240], 3_730_562, 200.7, 202),
    "tinynet-c": (184, [1, 2, 2, 3, 3, 3, 1], [8, 16, 24, 40, 64, 104, 176], 2_457_234, 99.5, 100),
    "tinynet-d": (152, [1, 1, 1, 2, 2, 3, 1], [8, 16, 24, 40, 64, 104, 176], 2_338_446, 51.6, 52),
    "tinynet-e": (106, [1, 1, 1, 2, 2, 2, 1], [8, 16, 24, 40, 56, 96, 160], 2_042_972, 24.4, 24),
}
"""Pixels, blocks and channels of stages, parameters, millions of terms as derived and as published (these are more)."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_numbers(name):
    """Protects the scaling rule with its roundings, and every layer: parameters to the last."""
    pixels, blocks, channels, parameters, macs, published = PUBLISHED[name]
    with torch.device("meta"):
        net = zoo.build(name, kernel="mult")
    found = zoo.counts_of(name)

    assert zoo.NETWORKS[name].shape == (3, pixels, pixels)
    assert [len(stage) for stage in net.blocks] == blocks
    assert [list(stage[-1].children())[-1].num_features for stage in net.blocks] == channels
    assert (net.conv_stem.out_channels, net.conv_head.out_channels) == (32, 1280)
    assert found.parameters == parameters
    assert found.macs / 1e6 == pytest.approx(macs, abs=0.05)
    assert found.macs / 1e6 == pytest.approx(published, rel=0.02)


def test_timms_names_of_parameters_are_kept():
    """Weights that others trained load as they are."""
    with torch.device("meta"):
        names = set(zoo.build("tinynet-e", kernel="mult").state_dict())

    assert {"conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.0.0.bn2.running_mean", "blocks.0.0.conv_pw.weight",
            "blocks.1.0.se.conv_reduce.bias", "blocks.6.0.conv_pwl.weight", "blocks.6.0.bn3.bias", "conv_head.weight",
            "bn2.weight", "classifier.bias"} <= names  # fmt: skip
    assert not any(name.startswith("normalise") for name in names)


@pytest.mark.parametrize("scaling", TINYNETS.values(), ids=TINYNETS)
def test_channels_are_a_multiple_of_eight_near_their_share(scaling):
    """Never below nine tenths of what the factor says, nor more than a block of eight above it."""
    for base in range(8, 321, 8):
        found, exact = scaling.channels(base), base * scaling.width

        assert found % 8 == 0
        assert 0.9 * exact <= found <= exact + 8


def test_squeeze_excite_scales_every_channel_by_what_all_of_them_say():
    """Against its formula."""
    torch.manual_seed(1)
    block, x = SqueezeExcite(6, 2).eval(), torch.randn(2, 6, 5, 3)

    means = x.mean((2, 3))
    few = torch.nn.functional.silu(means @ block.conv_reduce.weight[:, :, 0, 0].T + block.conv_reduce.bias)
    scale = torch.sigmoid(few @ block.conv_expand.weight[:, :, 0, 0].T + block.conv_expand.bias)
    torch.testing.assert_close(block(x), x * scale[:, :, None, None])


def test_every_convolution_of_a_block_has_the_kernel_that_is_asked_for():
    """Squeeze-excite, the first layer and the classifier stay ordinary."""
    with torch.device("meta"):
        net = zoo.build("tinynet-e", kernel="adder,blocks.0.*=shift", shape=(1, 45, 32), classes=3)

        assert net(torch.zeros(2, 1, 45, 32)).shape == (2, 3)
    kinds = {path: kernel_of(layer) for path, layer in net.named_modules() if kernel_of(layer)}
    ordinary = {path for path, kind in kinds.items() if kind == "mult"}
    assert ordinary == {"conv_stem", "classifier", *(path for path in kinds if ".se." in path)}
    assert {path for path, kind in kinds.items() if kind == "shift"} == {"blocks.0.0.conv_dw", "blocks.0.0.conv_pw"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "xnor"}, r"layer 'blocks.0.0.conv_dw' of efficientnet has no binary form"),
        ({"kernel": "mult", "shape": (3, 31, 64)}, r"efficientnet needs a height and width of at least 32, not 31x64"),
        ({"kernel": "mult,classifier=adder"}, r"layer 'classifier' of efficientnet is an ordinary dense layer"),
    ],
)
def test_what_it_cannot_be_is_named(options, message):
    with torch.device("meta"), pytest.raises(UserError, match=message):
        zoo.build("tinynet-e", **options)


@pytest.mark.parametrize("name", ["resolution", "width", "depth"])
def test_scaling_is_checked_at_the_door(name):
    with pytest.raises(ValueError, match=f"{name} must be a positive number, not 0"):
        Scaling(**{name: 0})
