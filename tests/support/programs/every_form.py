"""One network that says every form of ../shared/cases/forms.py that lowering accepts, each in one place.

The network is made of the tables of this file, so a form that stands in them is a part of it. Names are those of the
filed forms.
"""

import copy

import torch
from addax.models.layers.adder import AdderConv2d
from torch import nn
from torch.nn import functional as F
from torchnets import Net, pictures, settle

__all__ = ["CHAIN", "ENDS", "LAST", "NO_STAGE", "SHAPE", "every_form"]

SHAPE = (1, 16, 16)


def _printing(n, x):
    print(x.shape)
    return x


# One behind the other: how a map becomes the next one, and the layers of it.
CHAIN = {
    "ZeroPad2d": (lambda n, x: F.pad(x, (1, 1, 1, 1)), {}),
    "conv with bias": (lambda n, x: F.relu(n.biased(x)), {"biased": nn.Conv2d(4, 4, 3)}),
    "relu6": (lambda n, x: F.relu6(x), {}),
    "conv dilation 2": (lambda n, x: F.relu(n.dilated(x)), {"dilated": nn.Conv2d(4, 4, 3, dilation=2)}),
    "x*0.5": (lambda n, x: x * 0.5, {}),
    "adder no BN, no relu": (lambda n, x: n.bare(x), {"bare": AdderConv2d(4, 4, 3)}),
    "GELU": (lambda n, x: F.gelu(x), {}),
    "PReLU": (lambda n, x: n.bent(x), {"bent": nn.PReLU()}),
    "adder 5x5": (lambda n, x: F.relu(n.wide_norm(n.wide(x))), {
        "wide": AdderConv2d(4, 4, 5), "wide_norm": nn.BatchNorm2d(4)}),
    "residual += ": (lambda n, x: F.relu(n.sum_norm(n.sum_adder(x)).add_(x)), {
        "sum_adder": AdderConv2d(4, 4, 3, padding=1), "sum_norm": nn.BatchNorm2d(4)}),
    "conv padding=same": (lambda n, x: n.same(x), {"same": nn.Conv2d(4, 4, 3, padding="same")}),
    "LeakyReLU": (lambda n, x: F.leaky_relu(x), {}),
    "hardswish": (lambda n, x: F.hardswish(x), {}),
    "conv 3x1": (lambda n, x: n.tall(x), {"tall": nn.Conv2d(4, 4, (3, 1), padding=(1, 0))}),
    "ReLU6 module": (lambda n, x: n.six(x), {"six": nn.ReLU6()}),
    "torch.cat": (lambda n, x: torch.cat([x, x], 1), {}),
    "ConvTranspose": (lambda n, x: F.relu(n.up(x)), {"up": nn.ConvTranspose2d(8, 4, 2, 2)}),
    "MaxPool 3 s2 p1": (lambda n, x: n.overlapping(x), {"overlapping": nn.MaxPool2d(3, 2, 1)}),
    "SE (x*sigmoid)": (lambda n, x: x * torch.sigmoid(n.gate(F.adaptive_avg_pool2d(x, 1))), {
        "gate": nn.Conv2d(4, 4, 1)}),
    "depthwise": (lambda n, x: n.apart(x), {"apart": nn.Conv2d(4, 4, 3, groups=4)}),
    "Hardtanh": (lambda n, x: F.hardtanh(x), {}),
    "F.max_pool2d": (lambda n, x: F.max_pool2d(x, 2), {}),
    "LayerNorm": (lambda n, x: n.tokens(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), {"tokens": nn.LayerNorm(4)}),
    "print in forward": (_printing, {}),
    "data-dependent if": (lambda n, x: x if x.shape[-1] > 1 else -x, {}),
    "Identity": (lambda n, x: n.nothing(x), {"nothing": nn.Identity()}),
}  # fmt: skip

NO_STAGE = ("GELU", "hardswish", "SE (x*sigmoid)", "LayerNorm")
"""Forms that become tables, products or norms, which the dataflow family does not build."""

# How a map becomes features of the classifier, each of another map: behind which form of the chain.
ENDS = {
    "mean((2,3))": ("relu6", lambda n, x: x.mean((2, 3)), {}),
    "mean([-1,-2])": ("conv dilation 2", lambda n, x: x.mean([-1, -2]), {}),
    "F.adaptive_avg_pool2d": ("adder 5x5", lambda n, x: torch.flatten(F.adaptive_avg_pool2d(x, 1), 1), {}),
    "AdaptiveAvgPool module": ("residual += ", lambda n, x: n.mean(x).flatten(1), {"mean": nn.AdaptiveAvgPool2d(1)}),
    "AdaptiveAvgPool((1,1))+view": ("LeakyReLU", lambda n, x: n.mean11(x).view(x.size(0), -1), {
        "mean11": nn.AdaptiveAvgPool2d((1, 1))}),
    "dropout module": ("ReLU6 module", lambda n, x: n.drop(x.mean((2, 3))), {"drop": nn.Dropout(0.1)}),
    "F.dropout": ("ConvTranspose", lambda n, x: F.dropout(x.mean((2, 3)), training=n.training), {}),
    "timm-like Linear w/o flatten": ("MaxPool 3 s2 p1", lambda n, x: x.mean((2, 3), keepdim=True)[:, :, 0, 0], {}),
    "avg_pool2d + squeeze": ("Hardtanh", lambda n, x: F.avg_pool2d(x, 4).squeeze(-1).squeeze(-1), {}),
    "reshape(-1,4)": ("Identity", lambda n, x: x.mean((2, 3), keepdim=True).reshape(-1, 4), {}),
}  # fmt: skip

# What may stand behind scores. One behind the other, all are left out; a network of its own for each is in `forms`.
LAST = {
    "log_softmax out": (lambda n, x: F.log_softmax(x, dim=1), {}),
    "sigmoid out": (lambda n, x: torch.sigmoid(x), {}),
    "Softmax module": (lambda n, x: n.softmax(x), {"softmax": nn.Softmax(1)}),
}


def every_form(*, scores=False, without=()):
    """The network, with random weights; where ``scores``, without what stands behind them. It has no form of the chain
    that is in ``without``."""
    torch.manual_seed(9)

    def flow(n, x):
        x, seen = F.relu(n.norm(n.stem(x))), []
        for form, (step, _) in CHAIN.items():
            x = x if form in without else step(n, x)
            seen += [end(n, x) for place, end, _ in ENDS.values() if place == form]
        x = n.fc(torch.cat(seen, 1))
        for step, _ in () if scores else LAST.values():
            x = step(n, x)
        return x

    net = Net(
        flow, stem=nn.Conv2d(1, 4, 3, padding=1, bias=False), norm=nn.BatchNorm2d(4), fc=nn.Linear(4 * len(ENDS), 10),
    )  # fmt: skip
    for *_, layers in (*CHAIN.values(), *ENDS.values(), *LAST.values()):
        for name, layer in layers.items():
            setattr(net, name, copy.deepcopy(layer))
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=1 / parameter[0].numel() ** 0.5)
            elif name.endswith("bias"):
                nn.init.uniform_(parameter, -0.3, 0.3)
    return settle(net, pictures(40, SHAPE))
