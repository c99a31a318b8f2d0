"""Attention as people write it: what torch computes is what the Program computes, within what 8 and 12 bits lose."""

import math

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.models.layers.attention import Attention
from addax.models.training.loop import to_float
from addax.quant import golden
from addax.quant.fold.scheme import Scheme
from addax.quant.lower.lowering import lower
from addax.quant.program import Divide, MatMul, Norm, Softmax, Table
from torch import nn
from torch.nn import functional as F
from torchnets import Net, pictures

SHAPE = (1, 8, 8)
IMAGES = pictures(24, SHAPE)
WIDTH, HEADS = 16, 2
BOUND = {8: 0.04, 12: 0.008}
"""Root of the mean squared error of the tokens behind an attention, as a share of theirs."""
CAUSAL = torch.ones(16, 16, dtype=torch.bool).tril()


def net_of(flow, **modules):
    """Tokens of 2x2 patches that differ, and behind ``flow`` all of them as a raw result."""
    torch.manual_seed(1)
    net = Net(
        lambda n, x: n.last(flow(n, n.first(x).flatten(2).transpose(1, 2))), first=nn.Conv2d(1, WIDTH, 2, stride=2),
        last=nn.Linear(WIDTH, WIDTH), **modules,
    ).eval()  # fmt: skip
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0, 1.2 / math.sqrt(weight[0].numel()))
            elif "norm" not in name:
                weight.normal_(0, 0.3)
    return net


def error(net, bits=8):
    """Of the result (N, tokens, width) beside floats; and the Program."""
    program = lower(net, IMAGES, scheme=Scheme(bits=bits))
    with torch.no_grad():
        wanted = net(to_float(IMAGES)).numpy()
    found = golden.run(program, IMAGES).output * program.steps[program.output]
    found = found.reshape(len(IMAGES), *program.shape(program.output))
    ours = found[:, :, 0].transpose(0, 2, 1)
    return np.sqrt(((ours - wanted) ** 2).mean() / (wanted**2).mean()), program


def count(program, *kinds):
    return [sum(isinstance(op, kind) for op in program.ops) for kind in kinds]


class Qkv(nn.Module):
    """As timm has it."""

    def __init__(self, *, fused=False, mask=None, scale=None):
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fused, self.scale = fused, scale or (WIDTH // HEADS) ** -0.5
        self.register_buffer("mask", mask)
        self.attn_drop = nn.Dropout(0.1)

    def forward(self, x):
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.fused:
            x = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask, scale=self.scale)
        else:
            attn = self.attn_drop(((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1))
            x = attn @ v
        return self.proj(x.transpose(1, 2).reshape(b, n, c))


class Letters(nn.Module):
    """Sums over letters, and a mask of booleans."""

    def __init__(self, how="masked_fill"):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.how = how

    def forward(self, x):
        q, k, v = (layer(x).view(*x.shape[:2], HEADS, -1).transpose(1, 2) for layer in (self.q, self.k, self.v))
        scores = torch.einsum("bhid,bhjd->bhij", q, k) / math.sqrt(WIDTH // HEADS)
        if self.how == "masked_fill":
            scores = scores.masked_fill(~CAUSAL, -torch.inf)
        else:
            scores = scores + torch.zeros(16, 16).masked_fill(~CAUSAL, torch.finfo(torch.float32).min)
        return torch.einsum("bhij,bhjd->bhid", scores.softmax(-1), v).transpose(1, 2).flatten(2)


class Ours(nn.Module):
    def __init__(self, kernel):
        super().__init__()
        self.qkv, self.heads = nn.Linear(WIDTH, 3 * WIDTH), Attention(kernel, WIDTH, HEADS)

    def forward(self, x):
        return self.heads(*self.qkv(x).chunk(3, -1))


def multihead(**options):
    layer = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    return lambda n, x: n.layer(x, x, x, **options)[0], {"layer": layer}


def of(module):
    return lambda n, x: n.layer(x), {"layer": module}


FORMS = {
    "ours, mult": of(Ours("mult")),
    "ours, adder": of(Ours("adder")),
    "MultiheadAttention": multihead(need_weights=False),
    "MultiheadAttention, weights": multihead(),
    "MultiheadAttention, causal": multihead(need_weights=False, attn_mask=~CAUSAL),
    "timm": of(Qkv()),
    "timm, fused": of(Qkv(fused=True)),
    "fused, mask": of(Qkv(fused=True, mask=CAUSAL, scale=0.5)),
    "fused, float mask": of(Qkv(fused=True, mask=torch.zeros(16, 16).masked_fill(~CAUSAL, -torch.inf))),
    "einsum": of(Letters()),
    "einsum, added mask": of(Letters("add")),
    "causal": (lambda n, x: F.scaled_dot_product_attention(*(x[:, None],) * 3, is_causal=True)[:, 0], {}),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_attention_is_what_torch_computes(name):
    """Every form is two products and one softmax whose division waits."""
    flow, modules = FORMS[name]
    lost, program = error(net_of(flow, **modules))

    assert lost < BOUND[8]
    assert count(program, MatMul, Softmax, Divide) == [2, 1, 1]
    assert [op.form for op in program.ops if isinstance(op, MatMul)] == ["scores", "context"]
    mask = next(op.mask for op in program.ops if isinstance(op, Softmax))
    hides = "mask" in name or "causal" in name or "einsum" in name
    assert np.array_equal(mask, CAUSAL.numpy().astype(int)) if hides else mask is None


@pytest.mark.parametrize("name", ["timm", "ours, adder"])
def test_more_bits_lose_less(name):
    flow, modules = FORMS[name]
    lost, _ = error(net_of(flow, **modules), 12)

    assert lost < BOUND[12]


def test_queries_keys_and_values_of_one_layer_have_grids_of_their_own():
    """Three layers with a third of the filters each: nothing is cut out of a tensor, and no grid serves all."""
    flow, modules = FORMS["timm"]
    _, program = error(net_of(flow, **modules))
    product = next(op for op in program.ops if isinstance(op, MatMul))
    value = next(op for op in program.ops if isinstance(op, MatMul) and op.form == "context").other

    steps = {program.steps[name] for name in (*product.sources, value)}
    assert len(steps) == 3
    assert count(program, Softmax) == [1] and "layer_qkv" not in program.by_name
    assert program.macs() == 16 * WIDTH * WIDTH * 5 + 2 * 16 * 16 * WIDTH + 16 * WIDTH * 4


def test_adder_scores_have_one_grid_for_queries_and_keys():
    flow, modules = FORMS["ours, adder"]
    _, program = error(net_of(flow, **modules))
    scores = next(op for op in program.ops if isinstance(op, MatMul))

    assert scores.kernel == "adder"
    assert len({(program.format(name), program.steps[name]) for name in scores.sources}) == 1


ACTIVATIONS = {"gelu": F.gelu, "gelu tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_perceptron_behind_a_norm_is_a_norm_and_a_table(name):
    act = ACTIVATIONS[name]
    lost, program = error(
        net_of(lambda n, x: x + n.down(act(n.up(n.norm(x)))), norm=nn.LayerNorm(WIDTH), up=nn.Linear(WIDTH, 32),
               down=nn.Linear(32, WIDTH))
    )  # fmt: skip

    assert lost < BOUND[8]
    assert count(program, Norm, Table) == [1, 1]


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (lambda n, x: (x @ x.transpose(1, 2)).softmax(0) @ x, "softmax at 'softmax' .* of one image, not dimension 0"),
        (lambda n, x: (x @ x.mT).masked_fill(x @ x.mT > 0, -torch.inf).softmax(-1) @ x,
         "unsupported operation aten.gt at 'gt' .* a mask of attention must be constant"),
        (lambda n, x: (x @ x.mT).masked_fill(CAUSAL, 1.0).softmax(-1) @ x, "masked_fill at .* must hide scores"),
        (lambda n, x: (x @ x.mT).masked_fill(~CAUSAL, -torch.inf) @ x, "only a softmax may read scores behind a mask"),
        (lambda n, x: x @ n.last.weight, "product at 'matmul' .* write a dense layer"),
        (lambda n, x: F.dropout(x, 0.1, True), "dropout at 'dropout' .* drops values when it runs, too"),
    ],
    ids=["softmax over images", "mask of images", "no mask", "mask alone", "weights", "training"],
)  # fmt: skip
def test_what_no_program_says_ends_in_one_line(flow, message):
    with pytest.raises(UserError, match=message) as found:
        lower(net_of(flow), IMAGES)
    assert "\n" not in str(found.value)
