"""The two streams of an accelerator: how images are packed into beats, and answers encoded in them."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quant.formats import Format
from ..quant.ops.ends import PIXEL
from ..quant.program import Program
from .streams.beats import element_bits
from .streams.packet import beat_bits

__all__ = ["Interface", "answer_beats", "answer_words", "expected_beats", "pack_pixels", "stream_bytes"]


def answer_beats(program: Program, outputs: int) -> int:
    """Output beats per image: scores and class, or a raw result of ``outputs`` elements per beat."""
    return program.classes + 1 if program.classifies else int(np.prod(program.shape(program.output))) // outputs


def stream_bytes(images: NDArray[np.integer], fmt: Format = PIXEL) -> NDArray[np.uint8]:
    """(N, C, H, W) elements of ``fmt`` as the bytes of the input stream, a row for each pixel, (N * H * W, B).

    Pixels follow row by row, the channels of a pixel one after the other; an element takes whole bytes, the first the
    lowest, extended by its sign if it has one.
    """
    size = element_bits(fmt) // 8
    held = next(whole for whole in (1, 2, 4, 8) if whole >= size)
    words = np.ascontiguousarray(images.transpose(0, 2, 3, 1), dtype=f"<{'i' if fmt.signed else 'u'}{held}")
    pixels, channels = prod(words.shape[:3]), images.shape[1]
    return words.view(np.uint8).reshape(pixels, channels, held)[..., :size].reshape(pixels, channels * size)


def pack_pixels(
    images: NDArray[np.integer], per_beat: int = 1, fmt: Format = PIXEL
) -> NDArray[np.object_] | NDArray[np.uint64]:  # fmt: skip
    """(N, C, H, W) elements of ``fmt`` to one word per beat of ``per_beat`` pixels in stream order."""
    flat = stream_bytes(images, fmt)
    flat = flat.reshape(-1, flat.shape[1] * per_beat)
    kind: type = np.uint64 if flat.shape[1] <= 8 else object
    words: NDArray[Any] = np.zeros(len(flat), kind)
    for byte in reversed(flat.T):
        words = words * 256 + byte.astype(kind)
    return words


def answer_words(program: Program, output: NDArray[np.int64]) -> NDArray[np.int64]:
    """Results (N, C, H, W) of images in the order of the output stream: of a classifier the scores, then the class with
    the largest, the lowest index among equals, (N, classes + 1); else the elements, (N, H * W * C)."""
    if not program.classifies:
        return output.transpose(0, 2, 3, 1).reshape(len(output), -1)
    scores = output.reshape(len(output), -1)
    return np.concatenate([scores, scores.argmax(axis=1)[:, None]], axis=1)


def expected_beats(program: Program, output: NDArray[np.int64], outputs: int = 1) -> list[int]:
    """Output beats as ``{last, data}`` words for the results of images: scores sign-extended to whole bytes, then the
    class; or ``outputs`` elements of a raw result per beat. ``last`` is set in the last beat of an image."""
    bits = beat_bits(program, outputs)
    each = bits // outputs
    words = answer_words(program, output)
    rows = words.reshape(len(words), -1, outputs) & ((1 << each) - 1)
    last = rows.shape[1] - 1
    return [
        sum(value << (k * each) for k, value in enumerate(beat)) | (number == last) << bits
        for row in rows.tolist() for number, beat in enumerate(row)
    ]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Interface:
    """What a harness, a board and software need to know of the streams of one accelerator.

    Attributes
    ----------
    program : whose images and answers pass
    pixels : per beat of the input
    elements : of a raw result per beat of the output; 1 for a classifier
    handshake : whether either side can stop the other; without, a beat is there for a cycle, with its valid alone
    """

    program: Program
    pixels: int = 1
    elements: int = 1
    handshake: bool = True

    @property
    def beats(self) -> int:
        """Input beats per image."""
        _, height, width = self.program.input.shape
        return height * width // self.pixels

    @property
    def data_in(self) -> int:
        """Bits of an input beat."""
        return element_bits(self.program.input.format) * self.program.input.shape[0] * self.pixels

    @property
    def answers(self) -> int:
        """Output beats per image."""
        return answer_beats(self.program, self.elements)

    @property
    def data_out(self) -> int:
        """Bits of an output beat."""
        return beat_bits(self.program, self.elements)

    @property
    def facts(self) -> dict[str, int]:
        """Beats per image and bits per beat of both streams, by their names in the manifest of a BUILD."""
        return {
            "beats": self.beats, "answers": self.answers, "data_in": self.data_in, "data_out": self.data_out,
        }  # fmt: skip

    @property
    def input_layout(self) -> dict[str, Any]:
        """What a BUILD's manifest says of its input."""
        fmt = self.program.input.format
        said = {
            "order": "row by row, the first of a beat lowest, channel 0 in the lowest byte", "bits": element_bits(fmt),
            "per_beat": self.pixels,
        }  # fmt: skip
        return said if fmt == PIXEL else said | {"element": {"bits": fmt.bits, "signed": fmt.signed}}

    def pack(self, images: NDArray[np.integer]) -> NDArray[np.object_] | NDArray[np.uint64]:
        """(N, C, H, W) images as the words of the input beats."""
        return pack_pixels(images, self.pixels, self.program.input.format)

    def expected(self, output: NDArray[np.int64]) -> list[int]:
        """Results (N, C, H, W) of the golden model as ``{last, data}`` words of the output beats."""
        return expected_beats(self.program, output, self.elements)
