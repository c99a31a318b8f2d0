"""What people write in PyTorch, one form each: how it is said, not what it computes, is what matters here."""

import torch
from addax.models.layers.adder import AdderConv2d
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torchnets import Net, pictures, settle

__all__ = ["FORMS", "SHAPE", "TwoImages", "authors_adder", "made", "many_forms", "without_scores"]

SHAPE = (2, 12, 10)


class Own(nn.Conv2d):
    """A convolution as people derive them: with weights that are computed when it runs."""

    def forward(self, x):
        return F.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias, padding=1)


class TwoImages(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x, y):
        return self.conv(x) + self.conv(y)


class Cdist(nn.Module):
    """An adder layer by `torch.cdist`."""

    def __init__(self, inputs, outputs, size, stride=1, padding=0, power=1):
        super().__init__()
        self.size, self.stride, self.padding, self.power = size, stride, padding, power
        self.filters = nn.Parameter(torch.randn(outputs, inputs, size, size))

    def forward(self, x):
        count, _, height, _ = x.shape
        columns = F.unfold(x, self.size, padding=self.padding, stride=self.stride).transpose(1, 2)
        filters = self.filters.view(len(self.filters), -1).expand(count, -1, -1)
        sums = -torch.cdist(columns, filters, p=self.power)
        rows = (height + 2 * self.padding - self.size) // self.stride + 1
        return sums.transpose(1, 2).view(count, len(self.filters), rows, -1)


class Differences(Cdist):
    """The same by differences of all pairs, as one column for all images."""

    def forward(self, x):
        count, _, height, _ = x.shape
        columns = F.unfold(x, self.size, padding=self.padding, stride=self.stride)
        pixels = columns.shape[2]
        columns = columns.permute(1, 2, 0).contiguous().view(columns.size(1), -1)
        filters = self.filters.view(len(self.filters), -1)
        sums = -(filters.unsqueeze(2) - columns.unsqueeze(0)).abs().sum(1)
        rows = (height + 2 * self.padding - self.size) // self.stride + 1
        return sums.view(len(filters), rows, pixels // rows, count).permute(3, 0, 1, 2).contiguous()


def authors_adder(kind=Cdist, **options):
    """A network with an adder layer that is none of ours."""
    return Net(
        lambda n, x: n.fc(F.relu(n.norm(n.adder(F.relu(n.first(x))))).flatten(1)),
        first=nn.Conv2d(SHAPE[0], 4, 3), adder=kind(4, 5, 3, **options), norm=nn.BatchNorm2d(5), fc=nn.LazyLinear(7),
    )  # fmt: skip


def printing(n, x):
    print(x.shape)
    assert x.shape[1] == 6, x.shape
    return x if x.shape[-1] > 3 else x * 2


def scaled(n, x):
    """A layer-scale: a factor for each channel."""
    return x + n.gamma.view(1, -1, 1, 1) * n.conv(x)


def standardized(n, x):
    return F.relu(n.first((x - n.mean) / n.deviation))


# How a map of 6 channels and 12 x 10 pixels becomes another one.
MAPS = {
    "same": (lambda n, x: F.relu(n.conv(x)), {"conv": nn.Conv2d(6, 6, 3, padding="same")}),
    "same-even": (lambda n, x: F.relu(n.conv(x)), {"conv": nn.Conv2d(6, 6, 4, padding="same")}),
    "valid": (lambda n, x: F.relu(n.conv(x)), {"conv": nn.Conv2d(6, 4, 3, padding="valid")}),
    "dilation": (lambda n, x: F.relu(n.conv(x)), {"conv": nn.Conv2d(6, 6, 3, padding=2, dilation=2)}),
    "not-square": (lambda n, x: F.relu(n.conv(x)), {"conv": nn.Conv2d(6, 6, (3, 1), stride=(2, 1), padding=(1, 0))}),
    "depthwise": (lambda n, x: F.relu(n.conv(x)), {"conv": nn.Conv2d(6, 6, 3, groups=6, padding=1)}),
    "functional": (lambda n, x: F.relu(F.conv2d(x, n.taps, stride=2)), {"taps": nn.Parameter(torch.ones(4, 6, 3, 3))}),
    "derived": (lambda n, x: F.relu(n.conv(x)), {"conv": Own(6, 6, 3)}),
    "weight-norm": (lambda n, x: F.relu(n.conv(x)), {"conv": weight_norm(nn.Conv2d(6, 4, 3))}),
    "batch-norm": (lambda n, x: F.relu_(n.norm(n.conv(x))), {"conv": nn.Conv2d(6, 4, 3), "norm": nn.BatchNorm2d(4)}),
    "adder": (lambda n, x: n.norm(n.conv(x)).relu(), {"conv": AdderConv2d(6, 4, 5), "norm": nn.BatchNorm2d(4)}),
    "transposed": (lambda n, x: F.relu(n.up(x)), {"up": nn.ConvTranspose2d(6, 4, 2, 2)}),
    "transposed-4": (lambda n, x: F.relu(n.norm(n.up(x))), {
        "up": nn.ConvTranspose2d(6, 4, 4, 2, 1), "norm": nn.BatchNorm2d(4)}),
    "transposed-3": (lambda n, x: F.relu(n.up(x)), {
        "up": nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1, groups=2)}),
    "relu6": (lambda n, x: F.relu6(n.conv(x)), {"conv": nn.Conv2d(6, 4, 3)}),
    "relu6-module": (lambda n, x: n.act(n.conv(x) * 4), {"conv": nn.Conv2d(6, 4, 3), "act": nn.ReLU6(inplace=True)}),
    "clamp": (lambda n, x: n.conv(x).clamp(-0.2, 0.3), {"conv": nn.Conv2d(6, 4, 3)}),
    "clamp-max": (lambda n, x: torch.clamp(n.conv(x), max=0.1).relu(), {"conv": nn.Conv2d(6, 4, 3)}),
    "hardtanh": (lambda n, x: F.hardtanh(n.conv(x), -0.1, 0.2), {"conv": nn.Conv2d(6, 4, 3)}),
    "leaky": (lambda n, x: F.leaky_relu(n.norm(n.conv(x)), 0.2), {
        "conv": nn.Conv2d(6, 4, 3), "norm": nn.BatchNorm2d(4)}),
    "prelu": (lambda n, x: n.act(n.conv(x)), {"conv": nn.Conv2d(6, 4, 3), "act": nn.PReLU(4)}),
    "leaky-of-a-sum": (lambda n, x: F.leaky_relu(n.conv(x) + x), {"conv": nn.Conv2d(6, 6, 1)}),
    "max-pool": (lambda n, x: F.max_pool2d(x, 2), {}),
    "max-pool-padded": (lambda n, x: n.pool(x), {"pool": nn.MaxPool2d(3, 2, 1)}),
    "max-pool-wide": (lambda n, x: F.max_pool2d(x, (1, 2)), {}),
    "average-pool": (lambda n, x: F.avg_pool2d(x, (3, 2)), {}),
    "pools-of-whole-windows": (lambda n, x: F.avg_pool2d(F.max_pool2d(x, 2, None, 0, 1, True), 3, (3, 2), 0, True), {}),
    "adaptive-pool": (lambda n, x: F.adaptive_avg_pool2d(x, (4, 5)), {}),
    "dropout": (lambda n, x: n.drop(x), {"drop": nn.Dropout2d(0.3)}),
    "dropout-function": (lambda n, x: F.dropout(x, 0.4, training=n.training), {}),
    "factor": (lambda n, x: x * 0.5, {}),
    "negative-factor": (lambda n, x: F.relu(2 - x / 3), {}),
    "layer-scale": (scaled, {"conv": nn.Conv2d(6, 6, 1), "gamma": nn.Parameter(torch.linspace(-0.5, 1, 6))}),
    "sum": (lambda n, x: x + 0.1 * n.conv(x), {"conv": nn.Conv2d(6, 6, 1)}),
    "sum-in-place": (lambda n, x: F.relu(n.norm(n.conv(x)).add_(x)), {
        "conv": nn.Conv2d(6, 6, 3, padding=1), "norm": nn.BatchNorm2d(6)}),
    "sum-of-maps": (lambda n, x: F.relu(n.a(x)) + F.relu(n.b(x)), {"a": nn.Conv2d(6, 4, 1), "b": nn.Conv2d(6, 4, 1)}),
    "pad": (lambda n, x: F.relu(n.conv(F.pad(x, (1, 1, 1, 1)))), {"conv": nn.Conv2d(6, 4, 3)}),
    "pad-one-side": (lambda n, x: F.relu(n.conv(n.pad(x))), {
        "conv": nn.Conv2d(6, 4, 3, 2), "pad": nn.ZeroPad2d((0, 1, 0, 1))}),
    "pad-and-pool": (lambda n, x: F.avg_pool2d(F.pad(x, (2, 1, 0, 3)), 3), {}),
    "cat": (lambda n, x: torch.cat([x, F.relu(n.conv(x))], dim=1), {"conv": nn.Conv2d(6, 3, 1)}),
    "split": (lambda n, x: torch.cat([F.relu(n.conv(x.chunk(2, 1)[1])), x[:, ::2]], 1), {"conv": nn.Conv2d(3, 2, 1)}),
    "crop": (lambda n, x: x[:, :, 2:-1, 1::2], {}),
    "shapes": (printing, {}),
}  # fmt: skip

# How a map becomes the scores of 7 classes.
ENDS = {
    "flatten": lambda n, x: n.fc(torch.flatten(x, 1)),
    "view": lambda n, x: n.fc(x.view(x.size(0), -1)),
    "reshape": lambda n, x: n.fc(x.reshape(-1, 6 * 120)),
    "mean": lambda n, x: n.fc(x.mean((2, 3))),
    "mean-kept": lambda n, x: n.fc(x.mean([-1, -2], keepdim=True).flatten(1)),
    "pool-squeeze": lambda n, x: n.fc(F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1)),
    "pool-index": lambda n, x: n.fc(F.adaptive_avg_pool2d(x, 1)[:, :, 0, 0]),
    "pool-reshape": lambda n, x: n.fc(F.adaptive_avg_pool2d(x, (1, 1)).reshape(-1, 6)),
    "bias": lambda n, x: n.fc(x.mean((2, 3))) + n.more,
    "convolution": lambda n, x: n.conv7(x.mean((2, 3), keepdim=True)).flatten(1),
}

# What may stand behind the scores, and is left out.
SCORES = {
    "softmax": lambda x: F.softmax(x, dim=1), "log-softmax": lambda x: F.log_softmax(x, -1), "sigmoid": torch.sigmoid,
}  # fmt: skip


def made(way=None, end="mean", scores=None):
    """A network of one form, with random weights that come of its name."""
    torch.manual_seed(sum(map(ord, f"{way}{end}")))
    flow, parts = MAPS[way] if way else (lambda n, x: x, {})
    finish = ENDS[end]

    def run(n, x):
        made = finish(n, flow(n, standardized(n, x)))
        return SCORES[n.last](made) if n.last else made

    net = Net(
        run, first=nn.Conv2d(SHAPE[0], 6, 3, padding=1), mean=nn.Buffer(torch.tensor([0.4, 0.6]).view(-1, 1, 1)),
        deviation=nn.Buffer(torch.tensor([0.2, 0.3]).view(1, -1, 1, 1)), conv7=nn.Conv2d(6, 7, 1),
        more=nn.Parameter(torch.linspace(-1, 1, 7)), last=scores, **parts,
    )  # fmt: skip
    net.fc = nn.Linear(_features(net), 7)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=1 / parameter[0].numel() ** 0.5)
    return settle(net, pictures(40, SHAPE))


def _features(net):
    """How many the classifier of ``net`` reads."""
    seen = []
    net.fc = nn.Identity()
    net.fc.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[1]))
    try:
        net.eval()(torch.zeros(2, *SHAPE))
    except RuntimeError:
        assert seen, "the classifier is behind what fails"
    return seen[0] if seen else 1


def without_scores(net):
    """The same network, without what stands behind its scores."""
    net.last = None
    return net


FORMS = [*((way, "mean", None) for way in MAPS), *((None, end, None) for end in ENDS),
         *((None, "mean", scores) for scores in SCORES)]  # fmt: skip


def many_forms():
    """One network that says most of what hardware is built for, each in another way."""
    torch.manual_seed(3)

    def flow(n, x):
        x = F.relu6(n.stem(F.pad((x - n.mean) / 0.25, (1, 1, 1, 1))))
        y = F.relu(n.norm(n.wide(x)))
        x = F.relu_(n.adder_norm(n.adder(y)).add_(x))
        x = torch.cat([x * 0.5, torch.ones_like(x[:, :1]), n.low(x).clamp(-0.5, 1)], dim=1)
        x = F.max_pool2d(F.hardtanh(n.deep(x), -1, 1), (2, 1), (2, 1))
        x = x + 0.1 * F.conv2d(x, n.taps, groups=6)
        one, other = F.leaky_relu(n.bent_norm(n.bent(x)), 0.2).chunk(2, 1)
        x = torch.cat([n.act(n.first_half(one)), other], 1)[:, :, 1:]
        x = F.relu(n.up(x)) if x.shape[-1] > 3 else x
        x = F.dropout(n.tall(F.avg_pool2d(x, 2)).relu(), training=n.training)
        return F.log_softmax(n.last(n.fc(x.mean((2, 3)).view(-1, 6))), dim=1)

    net = Net(
        flow, mean=nn.Buffer(torch.tensor([0.4, 0.6]).view(1, -1, 1, 1)), stem=nn.Conv2d(2, 6, 3), wide=nn.Conv2d(
            6, 6, 3, padding="same", dilation=2), norm=nn.BatchNorm2d(6), adder=Cdist(6, 6, 3, padding=1),
        adder_norm=nn.BatchNorm2d(6), low=nn.Conv2d(6, 4, (3, 1), padding=(1, 0)), deep=nn.Conv2d(11, 6, 1),
        taps=nn.Parameter(torch.randn(6, 1, 1, 1)), up=nn.ConvTranspose2d(6, 3, 4, 2, 1),
        tall=nn.Conv2d(3, 6, (3, 2), (2, 1)),
        bent=nn.Conv2d(6, 6, 1), bent_norm=nn.BatchNorm2d(6), first_half=nn.Conv2d(3, 3, 1), act=nn.PReLU(3),
        fc=nn.Linear(6, 7), last=nn.BatchNorm1d(7),
    )  # fmt: skip
    return settle(net, pictures(40, SHAPE))
