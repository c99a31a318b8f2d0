"""What transformers are built of: dense layers on tokens, attention with its projections, the perceptron, a block.

Parameters have timm's names.
"""

from functools import partial

from torch import Tensor, nn

from ...layers.attention import Attention, StochasticDepth
from ...layers.ghost import biased_convolution
from ...layers.kernels import Kernels
from ..surgery import Dense

__all__ = ["Layers", "QkvAttention", "TokenMlp", "TransformerBlock", "fresh_weights", "rates"]

_DEVIATION = 0.02
"""Of fresh weights."""


class Layers:
    """Makes the layers of one network, each with the kernel that its path has.

    Parameters
    ----------
    network : its name, for messages
    """

    def __init__(self, network: str, kernel: str | Kernels):
        self.network = network
        self.kernels = Kernels.of(kernel)

    def dense(self, path: str, inputs: int, outputs: int, *, bias: bool = True, edge: bool = False) -> nn.Module:
        """A dense layer on (B, I) or on tokens (B, N, I); one of adders has a batch norm, see `biased_convolution`.

        Raises
        ------
        ValueError
            naming the layer, where its kernel cannot be had.
        """
        if self.kernels.at(path, edge=edge) == "mult":
            return nn.Linear(inputs, outputs, bias=bias)
        return Dense(self.convolution(path, inputs, outputs, 1, edge=edge))

    def convolution(
        self, path: str, inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int | None = None,
        edge: bool = False,
    ) -> nn.Module:  # fmt: skip
        """A convolution with bias, as `biased_convolution` makes it; raises as `dense` does."""
        kernel = self.kernels.at(path, edge=edge)
        try:
            return biased_convolution(kernel, inputs, outputs, size, stride=stride, padding=padding)
        except ValueError as error:
            raise self.refused(path, error) from error

    def attention(self, path: str, width: int, heads: int, *, identity: bool | None = None) -> Attention:
        """The products at ``path``, whose scores have a kernel of their own; raises as `dense` does."""
        try:
            return Attention(self.kernels.at(f"{path}.scores"), width, heads, identity=identity)
        except ValueError as error:
            raise self.refused(f"{path}.scores", error) from error

    def refused(self, path: str, error: ValueError) -> ValueError:
        """``error`` with the name of the layer in front."""
        return ValueError(f"layer {path!r} of {self.network}: {error}")


class QkvAttention(nn.Module):
    """Self-attention whose queries, keys and values come from one dense layer."""

    def __init__(self, layers: Layers, path: str, width: int, heads: int):
        super().__init__()
        self.qkv = layers.dense(f"{path}.qkv", width, 3 * width)
        self.heads = layers.attention(f"{path}.heads", width, heads)
        self.proj = layers.dense(f"{path}.proj", width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width), the same shape."""
        queries, keys, values = self.qkv(x).chunk(3, -1)
        result: Tensor = self.proj(self.heads(queries, keys, values))
        return result


class TokenMlp(nn.Module):
    """A dense layer that widens each token, GELU, and one that narrows it again."""

    def __init__(self, layers: Layers, path: str, width: int, hidden: int):
        super().__init__()
        self.fc1 = layers.dense(f"{path}.fc1", width, hidden)
        self.act = nn.GELU()
        self.fc2 = layers.dense(f"{path}.fc2", hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width), the same shape."""
        result: Tensor = self.fc2(self.act(self.fc1(x)))
        return result


class TransformerBlock(nn.Module):
    """Attention, then the perceptron, each behind a layer norm and beside a shortcut.

    Parameters
    ----------
    epsilon : of the layer norms
    rate : of stochastic depth
    """

    def __init__(self, layers: Layers, path: str, width: int, heads: int, *, epsilon: float, rate: float):
        super().__init__()
        norm = partial(nn.LayerNorm, eps=epsilon)
        self.norm1 = norm(width)
        self.attn = QkvAttention(layers, f"{path}.attn", width, heads)
        self.norm2 = norm(width)
        self.mlp = TokenMlp(layers, f"{path}.mlp", width, 4 * width)
        self.drop_path = StochasticDepth(rate)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width), the same shape."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        added: Tensor = self.drop_path(self.mlp(self.norm2(x)))
        return x + added


def rates(last: float, blocks: int) -> list[float]:
    """Rates of stochastic depth that rise evenly from 0 to that of the ``last`` block."""
    return [last * k / max(1, blocks - 1) for k in range(blocks)]


def fresh_weights(network: nn.Module, *tokens: nn.Parameter) -> None:
    """Draw the weights of ordinary dense layers and ``tokens`` from N(0, 0.02), cut at two; biases start at 0."""
    for parameter in tokens:
        nn.init.trunc_normal_(parameter, std=_DEVIATION)
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=_DEVIATION)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
