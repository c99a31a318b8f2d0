"""Lowering of chains of every supported layer: their Programs decide as the networks do."""

import pytest
import torch
from addax.models.layers.normalize import Normalise
from addax.models.training.loop import accuracy
from addax.quant.lower.lowering import lower
from lowered import agreement, chain, conv
from torch import nn
from torch.nn import functional as F
from torchnets import Net

pytestmark = pytest.mark.usefixtures("seed")


def dense(n, x):
    """A layer whose input stands beside its output."""
    return torch.cat([x, n.relu(n.c2(x))], 1)


CHAINS = {
    "adder on pixels": lambda: chain(conv("adder", 1, 6), nn.BatchNorm2d(6), nn.ReLU(), features=384),
    "bias": lambda: chain(nn.Conv2d(1, 6, 3), nn.ReLU(), features=216),
    "bias before batch norm": lambda: chain(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), features=216),
    "no affine": lambda: chain(conv("mult", 1, 6), nn.BatchNorm2d(6, affine=False), nn.ReLU(), features=384),
    "two batch norms": lambda: chain(
        conv("adder", 1, 6), nn.BatchNorm2d(6), nn.BatchNorm2d(6), nn.ReLU(), features=384
    ),
    "no relu": lambda: chain(conv("adder", 1, 6), nn.BatchNorm2d(6), features=384),
    "adder on signed": lambda: chain(
        conv("mult", 1, 4), nn.BatchNorm2d(4), conv("adder", 4, 8), nn.BatchNorm2d(8), nn.ReLU(), features=512
    ),
    "stride": lambda: chain(conv("adder", 1, 12, stride=2), nn.BatchNorm2d(12), nn.ReLU(), features=192),
    "padded max pool": lambda: chain(
        conv("mult", 1, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1), features=128
    ),
    "max pool of signed": lambda: chain(conv("mult", 1, 8), nn.BatchNorm2d(8), nn.MaxPool2d(3, 2, 1), features=128),
    "average pool": lambda: chain(conv("mult", 1, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2), features=128),
    "average pool of pixels": lambda: chain(nn.AvgPool2d(2), conv("mult", 1, 8), nn.ReLU(), features=128),
    "average pool of signed, then relu": lambda: chain(
        conv("mult", 1, 8), nn.BatchNorm2d(8), nn.AvgPool2d(2), nn.ReLU(), features=128
    ),
    "identity and dropout": lambda: chain(
        nn.Identity(), conv("mult", 1, 6), nn.Dropout(0.5), nn.ReLU(), nn.Dropout(0.5), features=384
    ),
    "hidden dense": lambda: chain(
        nn.Flatten(), nn.Linear(64, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), features=40
    ),
    "relu twice": lambda: chain(conv("mult", 1, 6), nn.ReLU(), nn.MaxPool2d(2), nn.ReLU(), features=96),
    "named after reserved words": lambda: Net(
        lambda n, x: n.fc(n.scores(n.argmax(n.pixels(x)))),
        pixels=conv("mult", 1, 6), argmax=nn.ReLU(), scores=nn.Flatten(), fc=nn.Linear(384, 10),
    ),
    "nested": lambda: chain(
        nn.Sequential(conv("mult", 1, 6), nn.Sequential(nn.BatchNorm2d(6), nn.ReLU())), features=384
    ),
    "pool used twice": lambda: Net(
        lambda n, x: n.fc(n.flat(n.pool(n.relu(n.c2(n.pool(n.relu(n.c1(x)))))))),
        c1=conv("mult", 1, 8), c2=conv("mult", 8, 16), pool=nn.MaxPool2d(2), relu=nn.ReLU(), flat=nn.Flatten(),
        fc=nn.Linear(64, 10),
    ),
    "convolution used twice": lambda: Net(
        lambda n, x: n.fc(n.flat(n.relu(n.c2(n.relu(n.c2(n.relu(n.c1(x)))))))),
        c1=conv("mult", 1, 4), c2=conv("mult", 4, 4), relu=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(256, 10),
    ),
    "functions": lambda: Net(
        lambda n, x: n.fc(torch.flatten(F.relu(n.c2(torch.relu(n.c1(x)))), 1)),
        c1=conv("mult", 1, 4), c2=conv("mult", 4, 4), fc=nn.Linear(256, 10),
    ),
    "keyword arguments": lambda: Net(
        lambda n, x: n.fc(n.flat(input=torch.relu(input=n.c1(x)))),
        c1=conv("mult", 1, 6), flat=nn.Flatten(), fc=nn.Linear(384, 10),
    ),
    "names that differ in a dot": lambda: Net(
        lambda n, x: n.fc(n.flat(n.relu(n.a_b(n.relu(n.a["b"](x)))))),
        a=nn.ModuleDict({"b": conv("mult", 1, 4)}), a_b=conv("mult", 4, 4), relu=nn.ReLU(), flat=nn.Flatten(),
        fc=nn.Linear(256, 10),
    ),
    "names that end in out": lambda: Net(
        lambda n, x: n.fc(n.flat(n.relu(n.c_out(n.relu(n.c(x)))))),
        c=conv("mult", 1, 4), c_out=conv("mult", 4, 4), relu=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(256, 10),
    ),
    "groups": lambda: chain(
        conv("mult", 1, 8), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1, groups=4), nn.BatchNorm2d(12), nn.ReLU(),
        features=768,
    ),
    "depthwise separable": lambda: chain(
        conv("mult", 1, 8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8),
        nn.ReLU(), nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), features=256,
    ),
    "global average pool": lambda: chain(
        conv("mult", 1, 32), nn.BatchNorm2d(32), nn.ReLU(), conv("mult", 32, 48, stride=2), nn.BatchNorm2d(48),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), features=48,
    ),
    "normalised": lambda: chain(
        Normalise([0.3], [0.35]), conv("mult", 1, 6), nn.BatchNorm2d(6), nn.ReLU(), features=384
    ),
    "normalised, not for a layer that multiplies": lambda: chain(
        Normalise([0.3], [0.35]), conv("adder", 1, 8), nn.BatchNorm2d(8), nn.ReLU(), features=512
    ),
    "normalised and pooled": lambda: chain(
        Normalise([0.3], [0.35]), nn.MaxPool2d(3, 1, 1), conv("mult", 1, 8), nn.ReLU(), features=512
    ),
    "relu and flatten as methods": lambda: Net(
        lambda n, x: n.fc(n.c(x).relu().flatten(1)), c=conv("mult", 1, 6), fc=nn.Linear(384, 10)
    ),
    "view of the batch size": lambda: Net(
        lambda n, x: n.fc(n.c(x).relu().view(x.size(0), -1)), c=conv("mult", 1, 6), fc=nn.Linear(384, 10)
    ),
    "reshape of the shape": lambda: Net(
        lambda n, x: n.fc(n.c(x).relu().reshape(x.shape[0], -1)), c=conv("mult", 1, 6), fc=nn.Linear(384, 10)
    ),
    "branches side by side": lambda: Net(
        lambda n, x: n.fc(n.flat(n.relu(n.c3(torch.cat([n.relu(n.c1(x)), n.relu(n.c2(x))], 1))))),
        c1=conv("mult", 1, 4), c2=conv("adder", 1, 4), c3=conv("mult", 8, 8), relu=nn.ReLU(), flat=nn.Flatten(),
        fc=nn.Linear(512, 10),
    ),
    "pixels beside features": lambda: Net(
        lambda n, x: n.fc(n.flat(torch.cat([x, n.bn(n.c(x)), n.relu(n.c(x))], dim=1))),
        c=conv("mult", 1, 3), bn=nn.BatchNorm2d(3), relu=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(448, 10),
    ),
    "dense connections": lambda: Net(
        lambda n, x: n.fc(n.flat(dense(n, n.relu(n.c1(x))))),
        c1=conv("mult", 1, 6), c2=conv("mult", 6, 6), relu=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(768, 10),
    ),
    "a branch that nobody reads": lambda: Net(
        lambda n, x: (n.side(x), n.fc(n.flat(n.relu(n.c(x)))))[1],
        c=conv("mult", 1, 6), side=conv("mult", 1, 2), relu=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(384, 10),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_network_decides_as_in_float(fit, train_set, test_set, name):
    net = fit(CHAINS[name]())
    assert accuracy(net, test_set) > 0.6, "the example must have learned something to keep"

    program = lower(net, train_set.x[:300], bits=8)

    assert agreement(net, program, test_set) >= 0.95
