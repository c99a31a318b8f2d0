"""The adder operator within torch: its registrations, torch.compile, autocast, hooks, devices without a back end."""

import pytest
import torch
from addax.models.compute import back_ends
from addax.models.compute.adder import adder_conv2d
from addax.models.compute.plain import PlainBackEnd
from addax.models.layers.adder import AdderConv2d
from adder_definition import make_case
from step_memory import step_memory
from torch import nn

OPTIONS = ((2, 1), (1, 2), (1, 1), 2)


def operands(dtype=torch.float32, last=False):
    case = make_case(0, groups=2, bias=True, dtype=dtype, last=last)
    return [t.requires_grad_() for t in (case.x, case.weight, case.bias)]


@pytest.mark.slow
@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_registrations_keep_the_promises_of_a_torch_operator(last):
    """Schema, shapes, strides and types of tensors without data, autograd, tracing with sizes that vary."""
    torch.library.opcheck(torch.ops.addax.adder_conv2d.default, (*operands(last=last), *OPTIONS))


@pytest.mark.slow
def test_registrations_of_both_gradients():
    x, weight, _ = (t.detach() for t in operands())
    upstream = torch.ones_like(torch.ops.addax.adder_conv2d(x, weight, None, *OPTIONS))
    for name in ("adder_conv2d_features", "adder_conv2d_filters"):
        torch.library.opcheck(getattr(torch.ops.addax, name).default, (upstream, x, weight, *OPTIONS))


class Small(nn.Module):
    """Adder layers of every kind between others."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.depthwise = AdderConv2d(6, 6, (1, 3), padding=(0, 1), groups=6)
        self.last = AdderConv2d(6, 4, 3, stride=2, dilation=2, bias=True)

    def forward(self, x):
        return self.last(self.depthwise(self.norm(self.first(x)).relu())).mean((2, 3))


def gradients(module, call, x):
    module.zero_grad()
    torch.manual_seed(0)
    result = call(x)
    (result * torch.randn_like(result)).sum().backward()
    return result.detach(), [p.grad.clone() for p in module.parameters()]


@pytest.mark.guard
@pytest.mark.slow
def test_compiled_networks_give_the_same():
    """The operator is one node of the graph, forward and backward; nothing of it breaks the graph."""
    torch.manual_seed(1)
    module = Small()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    x = torch.randn(3, 1, 9, 8)
    result, grads = gradients(module, module, x)
    again, traced = gradients(module, compiled, x)
    torch.testing.assert_close(again, result)
    for one, other in zip(grads, traced, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.slow
@pytest.mark.guard
def test_autocast_reads_narrow_features_and_gives_float32():
    """Filters keep their digits, and an L1 norm over hundreds of terms is not rounded to 8 bits."""
    torch.manual_seed(2)
    before, layer = nn.Conv2d(3, 8, 3), AdderConv2d(8, 4, 3)
    x = torch.randn(2, 3, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        features = before(x)
        features.retain_grad()
        y = layer(features)
    assert (features.dtype, y.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(y, layer(features.float()))
    y.sum().backward()
    assert (features.grad.dtype, layer.weight.grad.dtype) == (torch.bfloat16, torch.float32)


def test_gradients_of_gradients_are_refused():
    """The rule of the authors is no derivative, so it has none."""
    x, weight, bias = operands()
    y = adder_conv2d(x, weight, bias, groups=2)
    (of_x,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="autograd"):
        of_x.sum().backward()


def test_a_device_without_back_end_uses_operations_of_torch(monkeypatch):
    """A new kind of device trains at once, and is made fast by one entry of the table."""
    assert back_ends.back_end_of(torch.device("mps"), torch.float32).name == "torch"
    marked = PlainBackEnd()
    monkeypatch.setitem(back_ends.BACK_ENDS, "mps", lambda: marked)
    assert back_ends.back_end_of(torch.device("mps"), torch.bfloat16) is marked


def test_without_a_compiler_operations_of_torch_serve(monkeypatch):
    """Whoever installs the wheel need not have g++."""
    monkeypatch.setattr(back_ends, "native_back_end", lambda: None)
    x, weight, bias = operands()
    found = adder_conv2d(x, weight, bias, groups=2)
    monkeypatch.undo()
    torch.testing.assert_close(found, adder_conv2d(x, weight, bias, groups=2))


def test_layers_without_data_have_shapes():
    """Tools that count parameters and sizes build networks on the meta device."""
    layer = AdderConv2d(3, 8, 3, stride=2).to("meta")
    assert layer(torch.empty(5, 3, 9, 9, device="meta")).shape == (5, 8, 4, 4)


@pytest.mark.slow
def test_a_step_takes_little_more_memory_than_its_tensors():
    """Features, result and the gradient of each are 2 of features and result; the published way takes 100 times as
    much, and patches alone 9 times the features."""
    assert step_memory(32, 64, 64, 32) < 3
