"""LeNet-5 with a choice of kernel.

The classic shape (5x5x6, pool, 5x5x16, pool, 120, 84, 10) with batch norm and ReLU after every layer, max pooling,
and, as in the published AdderNets, an ordinary first convolution and an ordinary classifier followed by batch norm.
The first convolution pads by 2, so that a 28x28 image gives the classic 32x32 layer sizes (416,520 MACs) and the
16x16 digits that addax ships give a quarter of them.
"""

from torch import Tensor, nn

from ..layers.kernels import Kernels, activation, convolution

__all__ = ["LeNet5"]


class LeNet5(nn.Module):
    """LeNet-5 for images of ``shape`` (channels, height, width); height and width even and at least 12.

    Parameters
    ----------
    kernel : inner product of the second convolution and of the two hidden dense layers; binary ones have signs in
        front of them instead of ReLUs. Or a `Kernels`, or its text, for each layer
    """

    def __init__(
        self, *, kernel: str | Kernels = "adder", shape: tuple[int, int, int] = (1, 16, 16), classes: int = 10
    ):  # fmt: skip
        super().__init__()
        channels, height, width = shape
        if height % 2 or width % 2 or (height // 2 - 4) % 2 or (width // 2 - 4) % 2 or min(height, width) < 12:
            raise ValueError(f"lenet5 needs a height and width of 12, 16, 20, .., not {height}x{width}")
        rows, columns = (height // 2 - 4) // 2, (width // 2 - 4) // 2
        kernels = Kernels.of(kernel)
        conv2, fc1, fc2 = (kernels.at(path) for path in ("conv2", "fc1", "fc2"))
        conv1, fc3 = (kernels.at(path, edge=True) for path in ("conv1", "fc3"))
        self.kernel = str(kernels)
        self.shape = shape
        self.classes = classes
        self.conv1 = convolution(conv1, channels, 6, 5, padding=2)
        self.bn1 = nn.BatchNorm2d(6)
        self.relu1 = activation(conv2, 6)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = convolution(conv2, 6, 16, 5)
        self.bn2 = nn.BatchNorm2d(16)
        self.relu2 = activation(fc1, 16)
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.unflatten = nn.Unflatten(1, (16 * rows * columns, 1, 1))
        self.fc1 = convolution(fc1, 16 * rows * columns, 120, 1)
        self.bn3 = nn.BatchNorm2d(120)
        self.relu3 = activation(fc2, 120)
        self.fc2 = convolution(fc2, 120, 84, 1)
        self.bn4 = nn.BatchNorm2d(84)
        self.relu4 = activation(fc3, 84)
        self.fc3 = convolution(fc3, 84, classes, 1)
        self.bn5 = nn.BatchNorm2d(classes)
        self.scores = nn.Flatten()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) images in 0..1 -> (B, classes) scores."""
        x = self.pool1(self.relu1(self.bn1(self.conv1(x))))
        x = self.pool2(self.relu2(self.bn2(self.conv2(x))))
        x = self.unflatten(self.flatten(x))
        x = self.relu3(self.bn3(self.fc1(x)))
        x = self.relu4(self.bn4(self.fc2(x)))
        return self.scores(self.bn5(self.fc3(x)))
