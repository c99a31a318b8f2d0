"""Small torch networks of one idea each, and how often their Programs decide as they do."""

from addax.models.layers.kernels import convolution
from addax.models.training.loop import predict
from addax.quant import golden
from addax.quant.program import Convolution
from torch import nn
from torchnets import Net

KERNELS = ("adder", "mult")
WITH_SHIFT = (*KERNELS, "shift")


def conv(kernel, inputs, outputs, size=3, stride=1):
    return convolution(kernel, inputs, outputs, size, stride=stride, padding=size // 2)


def agreement(net, program, images):
    """Share of images for which the Program decides as the float network does."""
    return float((golden.run(program, images.x).classes == predict(net, images.x)).mean())


def convolutions(program):
    return [op for op in program.ops if isinstance(op, Convolution)]


def chain(*layers, features, **options):
    """Modules one after the other, then a classifier of ``features``."""
    names = [f"layer{k}" for k in range(len(layers))]

    def flow(net, x):
        for name in names:
            x = getattr(net, name)(x)
        return net.fc(net.flat(x))

    modules = dict(zip(names, layers, strict=True))
    return Net(flow, **modules, flat=nn.Flatten(), fc=nn.Linear(features, 10), **options)
