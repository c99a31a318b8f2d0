"""Lowering of branches, of pools and ReLUs in any order, and of batch norms in every place."""

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.models.training.loop import to_float
from addax.quant import golden
from addax.quant.fold.scheme import Scheme
from addax.quant.formats import signed
from addax.quant.lower.lowering import lower
from addax.quant.program import Concat
from lowered import agreement, chain, conv
from torch import nn
from torchnets import Net

pytestmark = pytest.mark.usefixtures("seed")


def test_branches_with_different_grids_come_onto_one(fit, train_set, test_set):
    """A branch a hundred times larger than the other, one of them signed: the join has one format and one step, and
    holds the values of both."""
    net = fit(
        Net(
            lambda n, x: n.fc(n.flat(torch.cat([n.relu(n.bn1(n.c1(x))), n.bn2(n.c2(x))], 1))),
            c1=conv("mult", 1, 4), bn1=nn.BatchNorm2d(4), c2=conv("mult", 1, 4), bn2=nn.BatchNorm2d(4), relu=nn.ReLU(),
            flat=nn.Flatten(), fc=nn.Linear(512, 10),
        )
    )  # fmt: skip
    with torch.no_grad():
        net.bn1.weight *= 100
        net.bn1.bias *= 100

    program = lower(net, train_set.x[:300], scheme=Scheme(bits=16, ranges="max"))

    joined = next(op for op in program.ops if isinstance(op, Concat))
    parts = (joined.source, *joined.others)
    assert {(program.format(name), program.steps[name]) for name in (*parts, joined.name)} == {
        (signed(16), program.steps[joined.name])
    }
    read = {source for op in program.ops for source in program.sources(op)}
    assert {op.name for op in program.ops} - read == {"argmax"}, "no branch is stored on a grid of its own, too"
    tensors = golden.run(program, train_set.x[:50], trace=True).tensors
    with torch.no_grad():
        x = to_float(train_set.x[:50])
        exact = torch.cat([net.relu(net.bn1(net.c1(x))), net.bn2(net.c2(x))], 1).numpy()
    assert np.abs(tensors[joined.name] * program.steps[joined.name] - exact).max() < 1e-3 * exact.max()


@pytest.mark.parametrize("dim", [0, 2, 3, -1])
def test_concatenation_of_anything_but_channels_is_refused(train_set, dim):
    net = Net(
        lambda n, x: n.fc(n.flat(torch.cat([n.c(x), n.c(x)], dim))),
        c=conv("mult", 1, 2), flat=nn.Flatten(), fc=nn.LazyLinear(10),
    )  # fmt: skip
    net(to_float(train_set.x[:1]))

    with pytest.raises(UserError, match=r"concatenation at 'cat' must be of channels \(dimension 1\)"):
        lower(net, train_set.x[:10])


def test_plain_sequential_is_lowered(train_set, test_set):
    """What most people write first; its layers are called 0, 1, 2."""
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 10)).eval()

    program = lower(net, train_set.x[:100], bits=16)

    assert agreement(net, program, test_set) >= 0.95


@pytest.mark.parametrize("relu", [nn.ReLU(), nn.ReLU(inplace=True), None])
def test_pool_in_front_of_its_relu_is_the_pool_behind_it(train_set, test_set, relu):
    """Features are pooled, not sums: hardware pools in a few bits, and the range is that of the features."""
    torch.manual_seed(0)
    conv, last, pool = nn.Conv2d(1, 4, 3, bias=True), nn.Linear(4 * 9, 10), nn.MaxPool2d(2)
    layers = {"conv": conv, "pool": pool, "last": last, **({"relu": relu} if relu else {})}

    def after(s, x):
        return s.last((s.relu(s.pool(s.conv(x))) if relu else torch.relu(s.pool(s.conv(x)))).flatten(1))

    def before(s, x):
        return s.last(s.pool(s.relu(s.conv(x)) if relu else torch.relu(s.conv(x))).flatten(1))

    one, other = (lower(Net(flow, **layers), train_set.x[:50]) for flow in (after, before))

    assert [type(op) for op in one.ops] == [type(op) for op in other.ops]
    assert np.array_equal(golden.run(one, test_set.x[:50]).scores, golden.run(other, test_set.x[:50]).scores)


def test_mean_of_a_map_that_is_not_square_is_a_sum_of_all_its_pixels(train_set, test_set):
    """Exact but for the rounding of what it averages: one sum and one division."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, (3, 5)), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    program = lower(net, train_set.x[:100], bits=12)

    found = golden.run(program, test_set.x[:50]).scores * program.steps[program.output]

    with torch.no_grad():
        wanted = net(torch.tensor(test_set.x[:50]).float() / 255).numpy()
    assert np.abs(found - wanted).max() < 0.002 * np.abs(wanted).max()


def test_last_layer_may_be_called_scores(fit, train_set, test_set):
    net = fit(Net(lambda n, x: n.fc(n.flat(x)), flat=nn.Flatten(), fc=nn.Linear(64, 10)))
    renamed = Net(lambda n, x: n.scores(n.flat(x)), flat=nn.Flatten(), scores=net.fc).eval()

    program = lower(renamed, train_set.x[:100])

    assert agreement(renamed, program, test_set) >= 0.95


def test_last_layer_followed_by_batch_norm(fit, train_set, test_set):
    net = fit(
        Net(
            lambda n, x: n.bn(n.fc(n.flat(n.relu(n.c(x))))),
            c=conv("mult", 1, 6), relu=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(384, 10), bn=nn.BatchNorm1d(10),
        )
    )  # fmt: skip
    net.bn.reset_parameters()  # as if absent, but for a scale of its own
    with torch.no_grad():
        net.bn.running_var.fill_(4.0)

    program = lower(net, train_set.x[:300])

    assert [op.name for op in program.ops][-3:] == ["fc", "scores", "argmax"]
    assert agreement(net, program, test_set) >= 0.95


def test_channel_that_batch_norm_switches_off_is_a_constant(fit, train_set, test_set):
    """gamma 0 is common after training with weight decay."""
    net = fit(chain(conv("mult", 1, 6), nn.BatchNorm2d(6), nn.ReLU(), features=384))
    with torch.no_grad():
        net.layer1.weight[2], net.layer1.bias[2] = 0.0, 0.7

    program = lower(net, train_set.x[:300])

    tensors = golden.run(program, test_set.x[:8], trace=True).tensors
    constant = np.unique(tensors["layer0_out"][:, 2])
    assert constant.size == 1
    assert constant[0] * program.steps["layer0_out"] == pytest.approx(0.7, abs=program.steps["layer0_out"])


def test_batch_norm_behind_a_channel_that_another_switched_off(fit, train_set):
    """Its constant goes on into the second batch norm; there is nothing to divide by."""
    net = fit(chain(conv("mult", 1, 6), nn.BatchNorm2d(6), nn.BatchNorm2d(6), nn.ReLU(), features=384))
    with torch.no_grad():
        net.layer1.weight[2], net.layer1.bias[2] = 0.0, 0.7
        net.layer2.running_mean[2], net.layer2.running_var[2] = 0.2, 0.25
        net.layer2.weight[2], net.layer2.bias[2] = 1.5, 0.1

    program = lower(net, train_set.x[:300])

    constant = np.unique(golden.run(program, train_set.x[:8], trace=True).tensors["layer0_out"][:, 2])
    step = program.steps["layer0_out"]
    assert constant.size == 1 and constant[0] * step == pytest.approx((0.7 - 0.2) / 0.5 * 1.5 + 0.1, abs=step)
