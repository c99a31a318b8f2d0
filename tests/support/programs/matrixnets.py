"""One small network per kernel, as a user gives them to the command line: ``matrixnets:adder``."""

import torch
from addax.models.layers.kernels import activation, convolution
from torch import nn
from torchnets import pictures, settle

SHAPE = (1, 8, 8)
KERNELS = ("adder", "mult", "xnor", "shift")


class Small(nn.Module):
    """A convolution, a layer of ``kernel`` around which its input goes as well, a pool, and a dense layer."""

    def __init__(self, kernel):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu1 = nn.ReLU()
        self.front = activation(kernel) if kernel == "xnor" else nn.Identity()
        self.conv2 = convolution(kernel, 4, 4, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(4)
        self.relu2 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, 4)

    def forward(self, x):
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.relu2(self.bn2(self.conv2(self.front(x))) + x)
        return self.fc(self.flatten(self.pool(x)))


def _made(kernel):
    torch.manual_seed(KERNELS.index(kernel))
    return settle(Small(kernel), pictures(64, SHAPE))


def adder():
    return _made("adder")


def mult():
    return _made("mult")


def xnor():
    return _made("xnor")


def shift():
    return _made("shift")
