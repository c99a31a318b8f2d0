"""Views, transpositions and parts of maps in front of dense layers: all move numbers, and none computes."""

import numpy as np
import pytest
import torch
from addax.models.training.loop import to_float
from addax.quant import golden
from addax.quant.lower.lowering import lower
from addax.quant.program import Constant, Rearrange
from torch import nn
from torchnets import Net, pictures

SHAPE = (1, 8, 8)
IMAGES = pictures(16, SHAPE)
FLOWS = {
    "rows": lambda n, x: x.flatten(2).flatten(1),
    "transposed": lambda n, x: x.mT.flatten(1),
    "one channel": lambda n, x: x[:, 1].flatten(1),
    "cut": lambda n, x: x.unflatten(2, (2, 4)).transpose(2, 3).flatten(1),
    "last": lambda n, x: n.rows(x).flatten(1),
    "columns": lambda n, x: n.rows(x.permute(0, 1, 3, 2)).permute(0, 3, 1, 2).flatten(1),
    "channels last": lambda n, x: x.permute(0, 2, 3, 1).flatten(1),
    "map beside a map": lambda n, x: (x + n.place).flatten(1),
    "means of columns": lambda n, x: x.flatten(2).transpose(1, 2).mean(1),
    "largest token": lambda n, x: x.flatten(2).transpose(1, 2).amax(1),
}  # fmt: skip
FEATURES = {"one channel": 64, "last": 96, "columns": 96, "means of columns": 4, "largest token": 4}


@pytest.mark.parametrize("name", FLOWS)
def test_numbers_are_where_torch_has_them(name):
    """A dense layer behind them multiplies each number by the weight that it has in torch."""
    torch.manual_seed(0)
    net = Net(
        lambda n, x: n.fc(FLOWS[name](n, n.first(x))), first=nn.Conv2d(1, 4, 3, padding=1), rows=nn.Linear(8, 3),
        place=nn.Parameter(torch.randn(4, 8, 8)), fc=nn.Linear(FEATURES.get(name, 256), 10),
    ).eval()  # fmt: skip
    program = lower(net, IMAGES, bits=12)
    with torch.no_grad():
        wanted = net(to_float(IMAGES)).numpy()
    found = golden.run(program, IMAGES).scores * program.steps[program.output]

    assert np.abs(found - wanted).max() < 0.01 * np.abs(wanted).max()
    assert sum(isinstance(op, Rearrange) for op in program.ops) <= 2
    assert sum(isinstance(op, Constant) for op in program.ops) == (name == "map beside a map")
