"""Digits as small images, a quick fit of a network's last layer to them, and a fixed seed of torch."""

import pytest
import torch
from addax.models import data
from addax.models.training.loop import to_float
from torch import nn
from torch.nn import functional as F


@pytest.fixture(scope="module")
def train_set():
    return data.load("digits", "train", shape=(1, 8, 8))


@pytest.fixture(scope="module")
def test_set():
    return data.load("digits", "test", shape=(1, 8, 8))


@pytest.fixture
def fit(train_set):
    """Give a network with random filters the batch statistics of the digits, and its layer ``fc`` the best weights."""

    def call(net, images=train_set, classes=10):
        generator = torch.Generator().manual_seed(0)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                module.momentum = None  # the mean over all batches
                if module.affine:
                    nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
                    nn.init.uniform_(module.bias, -0.5, 0.5, generator=generator)
        x, seen = to_float(images.x), []
        handle = net.fc.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
        with torch.no_grad():
            net.train()
            for batch in x.split(256):
                net(batch)
            net.eval()
            seen.clear()
            net(x)
            features = torch.cat(seen).flatten(1).double()
            features = torch.cat([features, torch.ones(len(x), 1)], 1)
            wanted = F.one_hot(torch.from_numpy(images.y), classes).double()
            ridge = features.T @ features + 1e-2 * len(x) * torch.eye(features.shape[1])
            solution = torch.linalg.solve(ridge, features.T @ wanted).T.float()
            net.fc.weight.copy_(solution[:, :-1].reshape(net.fc.weight.shape))
            if net.fc.bias is not None:
                net.fc.bias.copy_(solution[:, -1])
        handle.remove()
        return net

    return call


@pytest.fixture
def seed():
    torch.manual_seed(0)
