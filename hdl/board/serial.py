"""How images and answers travel over a serial line, and a host that speaks it.

Bytes to the board: the pixels of an image row by row, the channels of a pixel one after the other, each in whole bytes,
lowest first, nothing between images. Bytes from the board: per image as many words as the accelerator's packet has,
scores and then the class, each in whole bytes, lowest first.

Nothing stops the bytes on the line, so nobody may send what the board cannot take. It has room for ``in_flight`` whole
images in front of the accelerator, and an answer says that all of its image has left that room: a host that never has
more images unanswered cannot lose a byte, whatever the accelerator does.

A break (the line low for more than a byte) puts the board back to where it was after power-on, in the middle of
anything.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...common.errors import UserError
from ...quant.formats import Format
from ...quant.ops.ends import PIXEL
from ..interface import stream_bytes
from ..streams.beats import element_bits

if TYPE_CHECKING:
    from ..folder.build import Build

__all__ = ["Host", "Port", "SerialFormat", "classify"]

BLOCK_RAM = 2048
"""Bytes of a block RAM: the least room, since fewer would cost as much."""
LEAST_IMAGES = 2
"""Images there is room for, however large: one comes while another is worked on."""


@dataclass(frozen=True, kw_only=True)
class SerialFormat:
    """The bytes of an accelerator's images and answers.

    Attributes
    ----------
    shape : of an image, (C, H, W)
    beat_bytes : of ``s_axis_tdata``; the first byte is the lowest
    words : of an answer, the last of them the class
    word_bytes : of ``m_axis_tdata``; the first byte is the lowest
    score : format of the other words, in the lowest bits of theirs
    pixel : format of the elements of an image
    """

    shape: tuple[int, int, int]
    beat_bytes: int
    words: int
    word_bytes: int
    score: Format
    pixel: Format = PIXEL

    def __post_init__(self) -> None:
        for name in ("beat_bytes", "word_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be a positive integer, not {getattr(self, name)!r}")
        if self.image_bytes % self.beat_bytes:
            raise ValueError(f"an image of {self.image_bytes} bytes is not made of beats of {self.beat_bytes}")
        if self.score.bits > 8 * self.word_bytes:
            raise ValueError(f"scores of {self.score.bits} bits do not fit words of {self.word_bytes} bytes")

    @classmethod
    def of(cls, build: "Build") -> "SerialFormat":
        """The format in which ``build``, whose beats are whole bytes, speaks over the line."""
        facts = build.manifest
        assert facts["data_in"] % 8 == 0 and facts["data_out"] % 8 == 0
        return cls(
            shape=build.program.input.shape, beat_bytes=facts["data_in"] // 8, words=facts["answers"],
            word_bytes=facts["data_out"] // 8, score=Format(**facts["packet"]["score"]),
            pixel=build.program.input.format,
        )  # fmt: skip

    @property
    def image_bytes(self) -> int:
        """Bytes of an image."""
        channels, height, width = self.shape
        return channels * height * width * (element_bits(self.pixel) // 8)

    @property
    def answer_bytes(self) -> int:
        """Bytes of an answer."""
        return self.words * self.word_bytes

    @property
    def room(self) -> int:
        """Bytes that the board keeps in front of the accelerator."""
        return max(BLOCK_RAM, LEAST_IMAGES * self.image_bytes)

    @property
    def in_flight(self) -> int:
        """Images that may be unanswered at any time."""
        return self.room // self.image_bytes

    def pack(self, images: NDArray[np.integer]) -> bytes:
        """(N, C, H, W) images as the bytes to send."""
        whole = images.dtype == np.uint8 if self.pixel == PIXEL else images.dtype.kind in "iu"
        if images.shape[1:] != self.shape or not whole or not self.pixel.allows(images):
            raise UserError(
                f"images must be (N, {', '.join(map(str, self.shape))}) of {self.pixel}, "
                f"not {images.shape} of {images.dtype}"
            )
        return stream_bytes(images, self.pixel).tobytes()

    def unpack(self, data: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Scores (N, words - 1) and classes (N,) of the bytes of N answers."""
        if len(data) % self.answer_bytes:
            raise ValueError(f"{len(data)} bytes are not made of answers of {self.answer_bytes}")
        mask = (1 << self.score.bits) - 1
        size = self.word_bytes
        words = [int.from_bytes(data[k : k + size], "little") for k in range(0, len(data), size)]
        rows = [words[k : k + self.words] for k in range(0, len(words), self.words)]
        scores = [[self.score.decode(word & mask) for word in row[:-1]] for row in rows]
        return (
            np.array(scores, np.int64).reshape(len(rows), self.words - 1),
            np.array([row[-1] for row in rows], np.int64),
        )

    def to_json(self) -> dict[str, Any]:
        """What a program on the other end must know."""
        wide = {} if self.pixel == PIXEL else {"pixel": {"bits": self.pixel.bits, "signed": self.pixel.signed}}
        return {
            **wide,
            "image_bytes": self.image_bytes,
            "answer_bytes": self.answer_bytes,
            "answer_words": self.words,
            "word_bytes": self.word_bytes,
            "score": {"bits": self.score.bits, "signed": self.score.signed},
            "in_flight": self.in_flight,
        }


class Host:
    """The other end: says which bytes may be sent, hears those that came. Input and output are the caller's.

    Parameters
    ----------
    images : (N, C, H, W)
    """

    def __init__(self, form: SerialFormat, images: NDArray[np.integer]):
        self.form = form
        self._images = len(images)
        self._waiting = form.pack(images)
        self._sent = 0
        self._received = b""

    def give(self) -> bytes:
        """Bytes that may be sent now, whole images; empty when answers must come first."""
        size = self.form.image_bytes
        allowed = min(len(self._received) // self.form.answer_bytes + self.form.in_flight, self._images) * size
        data = self._waiting[self._sent : allowed]
        self._sent += len(data)
        return data

    def take(self, data: bytes) -> None:
        """Bytes that came."""
        self._received += data
        if self.missing < 0:
            raise UserError(f"the board sent {-self.missing} bytes more than the answers to {self._images} images")

    @property
    def missing(self) -> int:
        """Bytes that are still to come."""
        return self._images * self.form.answer_bytes - len(self._received)

    def result(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Scores and classes of the images that are answered."""
        whole = len(self._received) // self.form.answer_bytes * self.form.answer_bytes
        return self.form.unpack(self._received[:whole])


class Port(Protocol):
    """What `classify` needs of a serial port; an open ``serial.Serial`` of pyserial with a timeout has it."""

    def send_break(self) -> None:
        """Hold the line low for longer than a byte."""

    def reset_input_buffer(self) -> None:
        """Forget what came so far."""

    def write(self, data: bytes, /) -> int | None:
        """Send ``data``."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; fewer when the time is over."""


def classify(
    port: Port, form: SerialFormat, images: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
    """Run (N, C, H, W) images on the board behind ``port``; scores (N, words - 1) and classes (N,).

    Raises
    ------
    UserError
        when answers stay away.
    """
    port.send_break()
    port.reset_input_buffer()
    host = Host(form, images)
    while host.missing:
        port.write(host.give())
        data = port.read(min(host.missing, form.answer_bytes))
        if not data:
            answered = len(host.result()[1])
            raise UserError(f"the board is silent after {answered} of {len(images)} images; its LEDs say why")
        host.take(data)
    return host.result()
