"""How tensors and weights lie in memory, written once: numpy packs and unpacks what the hardware reads and writes.

A tensor (C, H, W) is cut into blocks of as many channels as a word has; heads of one that is read head by head begin
with blocks of their own. Block after block, row after row, pixel after pixel stands a word of the block's channels,
the first one lowest; channels that the last block of all, or of a head, has too many are 0. An element of more than
``bits`` bits takes several words, one behind the other, its lowest bits in the first. So the rows of a block are one
run of words, whichever rows they are.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...quant.formats import Format
from .plan import EnginePlan

__all__ = ["TensorLayout", "beats_text", "blocks_of", "words_of_elements"]

Words = NDArray[np.uint8]
"""(words, bytes of a word)."""


def blocks_of(channels: int, lanes: int) -> int:
    """Blocks of ``lanes`` channels that hold ``channels``."""
    return -(-channels // lanes)


def words_of_elements(elements: NDArray[np.integer], plan: EnginePlan) -> Words:
    """Elements (words, channels) without sign, of ``plan.bits`` bits, as the bytes of words, whose other channels are
    0."""
    kind = f"<u{plan.bits // 8}"
    if elements.shape[1] < plan.channels:
        elements = np.pad(elements, ((0, 0), (0, plan.channels - elements.shape[1])))
    packed = np.ascontiguousarray(elements, dtype=kind)
    return packed.view(np.uint8).reshape(len(packed), plan.word_bytes)


def beats_text(words: Words, memory_bits: int) -> str:
    """Words as a ``$readmemh`` file of beats of ``memory_bits``, one in a line."""
    size = memory_bits // 8
    return words.reshape(-1, size)[:, ::-1].tobytes().hex("\n", size) + "\n"


@dataclass(frozen=True, kw_only=True)
class TensorLayout:
    """Where each element of a tensor stands, from the first word of its area on.

    Attributes
    ----------
    shape : (C, H, W)
    format : of its elements
    channels, bits : of a word of the engine
    head : channels of a head, which begins with a block; 0: the tensor has no heads
    """

    shape: tuple[int, int, int]
    format: Format
    channels: int
    bits: int
    head: int = 0

    @property
    def heads(self) -> int:
        """Heads of its channels."""
        return self.shape[0] // self.head if self.head else 1

    @property
    def blocks(self) -> int:
        """Blocks of channels."""
        return self.heads * blocks_of(self.shape[0] // self.heads, self.channels)

    def channels_of(self, block: int) -> range:
        """The channels of a block."""
        size = self.shape[0] // self.heads
        head, own = divmod(block, blocks_of(size, self.channels))
        return range(head * size + own * self.channels, head * size + min((own + 1) * self.channels, size))

    @property
    def pixel_words(self) -> int:
        """Words of a pixel of one block."""
        return -(-self.format.bits // self.bits)

    @property
    def row_words(self) -> int:
        """Words of a row of one block."""
        return self.shape[2] * self.pixel_words

    @property
    def block_words(self) -> int:
        """Words of a block."""
        return self.shape[1] * self.row_words

    @property
    def words(self) -> int:
        """Words of the tensor."""
        return self.blocks * self.block_words

    def run(self, block: int, row: int, rows: int) -> tuple[int, int]:
        """First word and number of words of ``rows`` rows from ``row`` on, of one block."""
        return block * self.block_words + row * self.row_words, rows * self.row_words

    def pack(self, tensor: NDArray[np.integer]) -> Words:
        """(C, H, W) integers of the format as the bytes of the tensor's words."""
        channels, height, width = self.shape
        whole = np.zeros((self.heads, self.blocks // self.heads * self.channels, height, width), np.int64)
        whole[:, : channels // self.heads] = tensor.reshape(self.heads, -1, height, width)
        pixels = whole.reshape(self.blocks, self.channels, height, width).transpose(0, 2, 3, 1)
        parts = [pixels >> k * self.bits & ((1 << self.bits) - 1) for k in range(self.pixel_words)]
        elements = np.stack(parts, axis=3).astype(f"<u{self.bits // 8}")
        return np.ascontiguousarray(elements).view(np.uint8).reshape(self.words, -1)

    def unpack(self, words: Words) -> NDArray[np.int64]:
        """The tensor (C, H, W) of `pack`'s words, whatever stands in the channels that it does not have."""
        channels, height, width = self.shape
        elements = np.ascontiguousarray(words).view(f"<u{self.bits // 8}").astype(np.int64)
        parts = elements.reshape(self.blocks, height, width, self.pixel_words, self.channels)
        value = np.zeros(parts[:, :, :, 0].shape, np.int64)
        for k in range(self.pixel_words):
            value |= parts[:, :, :, k] << k * self.bits
        held = self.pixel_words * self.bits
        if self.format.signed and held < 64:
            value = (value ^ 1 << held - 1) - (1 << held - 1)
        whole = value.transpose(0, 3, 1, 2).reshape(self.heads, -1, height, width)
        return whole[:, : channels // self.heads].reshape(channels, height, width)
