"""Lowering of residual networks: their additions, and the grids that the two sides come onto."""

import operator

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.models.layers.kernels import convolution
from addax.models.training.loop import accuracy, predict, to_float
from addax.quant import golden
from addax.quant.fold.scheme import Scheme
from addax.quant.formats import signed, unsigned
from addax.quant.lower.lowering import lower
from addax.quant.program import AveragePool, MaxPool, Requantise
from lowered import KERNELS, WITH_SHIFT, agreement, conv
from marks import guarded, guarded_but
from torch import nn
from torchnets import Net

pytestmark = pytest.mark.usefixtures("seed")


def residual(kernel, shortcut, flow=None):
    """A stem, a block with an identity shortcut, a block with a convolution as shortcut, an average pool."""

    def default(n, x):
        x = n.relu0(n.bn0(n.stem(x)))
        y = n.relu1(n.bn1(n.c1(x)))
        x = n.relu2(shortcut(n, n.bn2(n.c2(y)), x))
        y = n.relu3(n.bn3(n.c3(x)))
        x = n.relu4(operator.add(n.bn4(n.c4(y)), n.bn5(n.side(x))))
        return n.fc(n.flat(n.mean(x)))

    return Net(
        flow or default,
        stem=conv("mult", 1, 8), bn0=nn.BatchNorm2d(8), relu0=nn.ReLU(),
        c1=conv(kernel, 8, 8), bn1=nn.BatchNorm2d(8), relu1=nn.ReLU(),
        c2=conv(kernel, 8, 8), bn2=nn.BatchNorm2d(8), relu2=nn.ReLU(), identity=nn.Identity(),
        c3=conv(kernel, 8, 16, stride=2), bn3=nn.BatchNorm2d(16), relu3=nn.ReLU(),
        c4=conv(kernel, 16, 16), bn4=nn.BatchNorm2d(16),
        side=convolution(kernel, 8, 16, 1, stride=2), bn5=nn.BatchNorm2d(16), relu4=nn.ReLU(),
        mean=nn.AvgPool2d(2), flat=nn.Flatten(), fc=nn.Linear(64, 10),
    )  # fmt: skip


@pytest.mark.parametrize(
    "order", guarded(["block + shortcut", "shortcut + block", "torch.add", "in place"], "torch.add", "in place")
)
@pytest.mark.parametrize("kernel", WITH_SHIFT)
def test_residual_network_decides_as_in_float(fit, train_set, test_set, kernel, order):
    join = {
        "block + shortcut": lambda n, block, x: block + x,
        "shortcut + block": lambda n, block, x: x + block,
        "torch.add": lambda n, block, x: torch.add(block, x),
        "in place": lambda n, block, x: operator.iadd(block, x),
    }[order]
    net = fit(residual(kernel, join))
    assert accuracy(net, test_set) > 0.6

    program = lower(net, train_set.x[:300])

    joins = [op for op in program.ops if isinstance(op, Requantise) and op.residual is not None]
    assert [(op.source, op.residual) for op in joins] == [("c2", "stem_out"), ("c4", "side_out")]
    assert program.format("stem_out") == unsigned(8)
    assert program.format("side_out") == signed(12), "a shortcut that is a convolution needs a sign and more bits"
    assert agreement(net, program, test_set) >= 0.95


@pytest.mark.parametrize("bits", guarded([8, 12, 16], 12))
@pytest.mark.parametrize("kernel", WITH_SHIFT)
def test_residual_features_are_near_those_in_float(fit, train_set, test_set, kernel, bits):
    """More bits must not be worse: M and R share one shift, and R must not leave M without digits."""
    net = fit(residual(kernel, lambda n, block, x: block + x))
    program = lower(net, train_set.x, bits=bits)

    tensors = golden.run(program, test_set.x, trace=True).tensors

    seen = []
    net.relu4.register_forward_hook(lambda module, arguments, result: seen.append(result))
    predict(net, test_set.x)
    exact = torch.cat(seen).numpy()
    error = np.abs(tensors["c4_out"] * program.steps["c4_out"] - exact)
    assert np.quantile(error, 0.99) < 0.015 * exact.max()


@pytest.mark.parametrize("kernel", KERNELS)
def test_identity_module_as_shortcut_changes_nothing(fit, train_set, test_set, kernel):
    """``self.shortcut = nn.Identity()``, called before the block, is how most residual networks are written."""

    def flow(n, x):
        x = n.relu0(n.bn0(n.stem(x)))
        short = n.identity(x)
        x = n.relu2(n.bn2(n.c2(n.relu1(n.bn1(n.c1(x))))) + short)
        return n.fc(n.flat(n.mean(n.relu3(n.bn3(n.c3(x))))))

    net = fit(residual(kernel, None, flow))

    program = lower(net, train_set.x[:300])

    assert agreement(net, program, test_set) >= 0.95


@pytest.mark.parametrize("kernel", KERNELS)
def test_tensor_read_before_and_after_its_relu(fit, train_set, test_set, kernel):
    """Pre-activation networks: the block reads ReLU(x), the shortcut reads x; they are two tensors."""

    def flow(n, x):
        x = n.bn0(n.stem(x))
        x = n.bn1(n.c1(n.relu0(x))) + x
        return n.fc(n.flat(n.mean(n.relu3(n.bn3(n.c3(n.relu2(x)))))))

    net = fit(residual(kernel, None, flow))

    program = lower(net, train_set.x[:300])

    assert agreement(net, program, test_set) >= 0.95


def test_identity_shortcut_has_eight_bits_in_a_narrow_network(fit, train_set):
    """The contract: an identity shortcut enters as stored, with at least 8 bits."""
    net = fit(residual("mult", lambda n, block, x: block + x))

    program = lower(net, train_set.x[:300], bits=4)

    joins = [op for op in program.ops if isinstance(op, Requantise) and op.residual is not None]
    assert joins[0].source == "c2"
    assert program.format(joins[0].residual).bits >= 8


@pytest.mark.parametrize("bits", guarded_but([8, 16], 8))
@pytest.mark.parametrize(
    "join",
    [
        lambda n, block, x: torch.add(block, x, alpha=3),
        lambda n, block, x: torch.add(x, block, alpha=0.1),
        lambda n, block, x: torch.add(block, x, alpha=-0.5),
        lambda n, block, x: x + 0.1 * block,
        lambda n, block, x: block + 1,
        lambda n, block, x: 1 - block,
        lambda n, block, x: x + x,
        lambda n, block, x: n.relu1(block) + x,
        lambda n, block, x: n.relu1(block) + n.relu1(x * 0.5),
        lambda n, block, x: block - x,
        lambda n, block, x: x - block,
        lambda n, block, x: x - n.relu1(block),
        lambda n, block, x: block + x + x,
        lambda n, block, x: block.add_(x).mul_(0.5),
        lambda n, block, x: -block / 3 + x * 2,
    ],
    ids=[
        "alpha", "other-alpha", "negative-alpha", "layer-scale", "constant", "constant-less", "twice", "relu-before",
        "relus", "difference", "other-difference", "of-features", "three-terms", "in-place", "factors",
    ],
)  # fmt: skip
def test_sums_of_all_kinds_are_those_in_float(fit, train_set, test_set, join, bits):
    """Factors, signs and which operand joins which: the scores are those of the float network within its rounding."""
    net = fit(residual("mult", join))

    program = lower(net, train_set.x[:300], scheme=Scheme(bits=bits, ranges="max"))

    with torch.no_grad():
        wanted = net(to_float(test_set.x[:200])).numpy()
    found = golden.run(program, test_set.x[:200]).scores * program.steps[program.output]
    assert np.quantile(np.abs(found - wanted), 0.98) < {8: 0.05, 16: 3e-3}[bits] * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("join", "message"),
    [
        (lambda n, block, x: block * x[:, :1], "product at 'mul' .* not of 8x8x8 and 1x8x8"),
        (lambda n, block, x: block + x.mean((2, 3), keepdim=True), "addition at 'add' .* two tensors of one shape"),
        (lambda n, block, x: block / x, "unsupported operation aten.div at 'div'"),
        (lambda n, block, x: block / 0, "division by 0 at 'div'"),
        (lambda n, block, x: torch.cat([block[:, :2].add_(1), x[:, 2:]], 1), "aten.add_ at .* a part of a tensor"),
    ],
    ids=["product", "sizes", "quotient", "zero", "in-place"],
)  # fmt: skip
def test_joins_that_are_no_addition_are_refused(train_set, join, message):
    with pytest.raises(UserError, match=message):
        lower(residual("mult", join), train_set.x[:10])


def test_pools_and_shapes_of_a_lowered_network(fit, train_set):
    net = fit(residual("adder", lambda n, block, x: block + x))

    program = lower(net, train_set.x[:10])

    pools = [op for op in program.ops if isinstance(op, AveragePool | MaxPool)]
    assert [(type(op), op.size, op.stride) for op in pools] == [(AveragePool, 2, 2)]
    assert program.shape("mean") == (16, 2, 2) and program.classes == 10
