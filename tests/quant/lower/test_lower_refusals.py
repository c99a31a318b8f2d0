"""What lowering refuses: layers, uses and values, each by its name."""

import math

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.models.layers.adder import AdderConv2d
from addax.models.nets import zoo
from addax.quant import golden
from addax.quant.lower.lowering import calibrate, lower
from lowered import chain, conv
from torch import nn
from torchnets import Net, pictures

pytestmark = pytest.mark.usefixtures("seed")


class Dynamic(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def around(layer, features=64):
    return Net(lambda n, x: n.fc(n.flat(n.body["odd"](n.relu(n.first(x))))), first=conv("mult", 1, 1), relu=nn.ReLU(),
               body=nn.ModuleDict({"odd": layer}), flat=nn.Flatten(), fc=nn.Linear(features, 10))  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "features", "message"),
    [
        (nn.ConvTranspose2d(1, 1, 3, stride=2), 289, "transposed convolution at 'body.odd' makes 17 of 8 rows"),
        (nn.AdaptiveAvgPool2d(3), 9, "adaptive average pool at 'body.odd' must make one pixel, or .* not 3x3 of 8x8"),
        (
            nn.Softmax(1),
            64,
            "softmax at 'body.odd' .* must be over several numbers of one image, not dimension 1",
        ),
        (
            nn.GroupNorm(1, 1),
            64,
            "unsupported operation aten.group_norm at 'body.odd' .*; write LayerNorm, or .*; supported: Ad",
        ),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), 64, "padding at 'body.odd' .* not 'reflect'"),
        (nn.ConvTranspose2d(1, 1, 2, stride=(1, 2)), 144, "'body.odd' must have equal vertical and horizontal"),
        (nn.MaxPool2d(3, ceil_mode=True), 9, "max pool at 'body.odd'.*: with ceil_mode its last windows hang over"),
        (nn.MaxPool2d(2, dilation=2), 9, "max pool at 'body.odd'.*: dilation and return_indices"),
        (nn.AvgPool2d(2, padding=1), 25, "average pool at 'body.odd'.*: padding and divisor_override .*write a pad"),
        (nn.AvgPool2d(3, ceil_mode=True), 9, "average pool at 'body.odd'.*: with ceil_mode its last windows hang over"),
        (nn.AvgPool2d(2, divisor_override=1), 16, "average pool at 'body.odd'"),
        (nn.BatchNorm2d(1), 64, "batch norm at 'body.odd' must follow a convolution"),
    ],
    ids=lambda v: repr(v) if isinstance(v, nn.Module) else None,
)
def test_unsupported_layer_is_named_with_its_path(train_set, layer, features, message):
    with pytest.raises(UserError, match=message):
        lower(around(layer, features), train_set.x[:10])


def test_batch_norm_without_statistics_is_refused(train_set):
    net = chain(conv("mult", 1, 4), nn.BatchNorm2d(4, track_running_stats=False), features=256)

    with pytest.raises(UserError, match="batch norm at 'layer1' has no running statistics"):
        lower(net, train_set.x[:10])


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (lambda n, x: n.fc(n.flat(torch.log(x))), "unsupported operation aten.log at 'log'"),
        (lambda n, x: n.fc(n.flat(x.log())), "unsupported operation aten.log at 'log'"),
        (lambda n, x: n.fc(n.conv(x).view(-1, 64)), "the network must keep the batch: it makes batchx10, of which"),
        (lambda n, x: n.fc(n.conv(x).mT.view(x.shape[0], -1, 6, 6)), "aten.view at 'view' .* cuts across dimensions"),
        (lambda n, x: n.fc(n.flat(n.conv(x)[:1])), "aten.slice at 'slice_1' .* must keep the batch"),
        (lambda n, x: n.fc(n.flat(x * n.weight[0:8])), "constant of shape .*8,.* at 'mul' .* must be one number, or"),
        (lambda n, x: (n.fc(n.flat(x)),), "expected a tensor in the network's graph"),
        (lambda n, x: n.fc(n.flat(x)).relu(), "class scores must not pass a ReLU"),
        (lambda n, x: torch.relu(n.fc(n.flat(x))), "class scores must not pass a ReLU"),
        (lambda n, x: n.flat(x), "must end in a convolution, a dense layer"),
    ],
    ids=[
        "function", "method", "view", "across", "batch", "parameter", "tuple",
        "method-relu", "relu-scores", "no-classifier",
    ],
)  # fmt: skip
def test_unsupported_use_is_named(train_set, flow, message):
    net = Net(
        flow, flat=nn.Flatten(), fc=nn.Linear(64, 10), conv=conv("mult", 1, 4), weight=nn.Parameter(torch.arange(10.0))
    )

    with pytest.raises(UserError, match=message):
        lower(net, train_set.x[:10])


def test_network_whose_path_depends_on_its_data_is_refused(train_set):
    with pytest.raises(UserError, match="Dynamic cannot be traced"):
        lower(Dynamic(), train_set.x[:10])


@pytest.mark.parametrize(
    "net",
    [
        lambda: Net(lambda n, x: n.fc(n.flat(n.c(x))), c=conv("mult", 3, 4), flat=nn.Flatten(), fc=nn.Linear(256, 10)),
        lambda: Net(lambda n, x: n.fc(n.flat(x)), flat=nn.Flatten(), fc=nn.Linear(784, 10)),
    ],
    ids=["channels", "size"],
)
def test_network_for_other_images_is_refused(train_set, net):
    """A factory for 28x28 or colour images, given digits, is a user's mistake and not ours."""
    with pytest.raises(UserError, match="8"):
        lower(net(), train_set.x[:10])


@pytest.mark.parametrize("bits", [-1, 0, 1, 17, 64])
def test_bits_outside_two_to_sixteen_are_refused(train_set, bits):
    with pytest.raises(UserError, match=rf"bits must be in 2\.\.16, not {bits}"):
        lower(around(nn.Identity()), train_set.x[:10], bits=bits)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["first.weight", "bn.running_var", "bn.bias"])
def test_values_that_are_no_numbers_are_refused_by_name(train_set, name, value):
    net = Net(lambda n, x: n.fc(n.flat(n.bn(n.first(x)))), first=AdderConv2d(1, 1, 1), bn=nn.BatchNorm2d(1),
              flat=nn.Flatten(), fc=nn.Linear(64, 10))  # fmt: skip
    with torch.no_grad():
        net.state_dict()[name].view(-1)[-1] = value

    with pytest.raises(UserError, match=f"tensor '{name}' holds NaN or infinite"):
        lower(net, train_set.x[:10])


def test_calibration_needs_images(train_set):
    with pytest.raises(UserError, match="calibration needs at least one image"):
        lower(around(nn.Identity()), train_set.x[:0])


def test_batch_norm_beyond_sixteen_bits_is_refused(train_set):
    """A factor M that no shift brings into 16 bits must not be clipped in silence."""
    net = chain(conv("mult", 1, 2), nn.BatchNorm2d(2), nn.ReLU(), features=128)
    with torch.no_grad():
        net.layer1.weight[0], net.layer1.running_mean[0] = 1e9, 100.0

    with pytest.raises(UserError, match=r"'layer0': it scales by up to .*, which 16 bits cannot hold"):
        lower(net, train_set.x[:10])


@pytest.mark.parametrize("dead", [False, True])
def test_scores_of_a_dead_classifier_do_not_divide_by_zero(train_set, dead):
    """All-zero factors before the scores, by gamma or by weight, give equal scores or a refusal, never a warning."""
    net = Net(lambda n, x: n.bn(n.fc(n.flat(x))), flat=nn.Flatten(), fc=nn.Linear(64, 10), bn=nn.BatchNorm1d(10))
    nn.init.zeros_(net.fc.weight if dead else net.bn.weight)
    nn.init.zeros_(net.fc.bias)
    nn.init.zeros_(net.bn.bias)

    try:
        program = lower(net, train_set.x[:10])
    except UserError as error:
        assert "batch norm" in str(error)
    else:
        assert set(golden.run(program, train_set.x[:10]).classes) == {0}


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (pictures(20, (1, 16, 16)) / np.float32(255), r"not float32 .* in 0\.\.1; write round\(255 \* x\) as uint8"),
        ((pictures(20, (1, 16, 16)) - 128.0) / 40, "not float64 .*; undo their standardisation"),
        (pictures(20, (1, 16, 16)).astype(np.uint16) * 257, r"not uint16 .*; write round\(x / 257\) as uint8"),
        (pictures(20, (1, 16, 16))[0], r"uint8 of shape \(N, C, H, W\), not uint8 of shape \(1, 16, 16\)"),
        ([[1.0]], "must be a numpy array, uint8 .*, not list"),
    ],
    ids=["unit", "standardised", "words", "one image", "list"],
)  # fmt: skip
def test_calibration_images_that_are_no_pixels_are_refused(images, message):
    """Cut to bytes, they would calibrate a network that sees nothing but black."""
    net = zoo.build("lenet5", kernel="adder")

    for call in (calibrate, lower):
        with pytest.raises(UserError, match=rf"\Acalibration images .*{message}"):
            call(net, images)
