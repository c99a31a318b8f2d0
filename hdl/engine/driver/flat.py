"""The image of a network as drivers in C take it: numbers of 32 bits, then the words that are loaded. No JSON."""

import zlib

import numpy as np

from ....common.errors import UserError
from ..compile.image import Compiled
from ..compile.reading.stem import stem_fold
from ..control import VERSION, engine_identity
from ..layout import TensorLayout
from ..record import Record
from ..record import RecordField as Field

__all__ = ["CHECKED", "IMAGE_HEADER", "IMAGE_MAGIC", "NUMBER_BYTES", "flat_image"]

IMAGE_MAGIC = int.from_bytes(b"ADXI", "little")
NUMBER_BYTES = 4
"""Of a number of the header."""
CHECKED = 8
"""The checksum counts the bytes from this one on, behind itself."""


def _number(name: str, meaning: str) -> Field:
    return Field(name=name, bits=8 * NUMBER_BYTES, meaning=meaning)


def _tensor(name: str) -> tuple[Field, ...]:
    """The numbers that say a tensor, in one order for all."""
    return (
        _number(f"{name}_at", f"first word of the {name}"),
        _number(f"{name}_channels", "its channels"), _number(f"{name}_height", "its rows"),
        _number(f"{name}_width", "its columns"), _number(f"{name}_bits", "bits of its elements"),
        _number(f"{name}_signed", "1 where they have a sign"),
    )  # fmt: skip


IMAGE_HEADER = Record("image", (
    _number("magic", "the letters ADXI, as bytes"),
    _number("checksum", f"CRC-32 (IEEE 802.3) of the bytes from {CHECKED} on"),
    _number("version", "of images and of the register map"),
    _number("build_low", "hash of the Plan"), _number("build_high", "its high half"),
    _number("bytes", "of the image"),
    _number("memory_at", "byte where the words to load begin"),
    _number("loaded", "words to load, from word 0 on"),
    _number("words", "words of memory that a run needs, tensors included"),
    _number("first", "for the register of that name"),
    *_tensor("input"),
    _number("columns", "window columns that are stored side by side, tap after tap; 1 where the input is as it is"),
    _number("stride", "columns from one stored column to the next"),
    _number("dilation", "columns from one tap to the next"),
    _number("left", "columns of pad on the left"),
    _number("stored_width", "columns as they are stored"),
    *_tensor("output"),
))  # fmt: skip
"""Behind it stand the pads of the input's channels, two's complement of 32 bits, then the words to load."""


def flat_image(image: Compiled) -> bytes:
    """``image`` as a driver in C loads it: what `IMAGE_HEADER` says, pads, and the words before those of tensors.

    Raises
    ------
    UserError
        where the input or the result is stored head by head, or the input as the windows of an `Unfold`.
    """
    network, plan = image.network, image.plan
    if network.unfold is not None:
        raise UserError(f"a driver in C stores an image as it is, not the windows that {network.unfold.name!r} takes")
    name, fold = network.program.input.name, stem_fold(network)
    memory, build = image.constants.tobytes(), engine_identity(plan)
    pads = np.asarray(fold.pad, "<i4").tobytes()
    begin = _whole(IMAGE_HEADER.bits // 8 + len(pads), plan.word_bytes)
    for told in (name, network.output):
        if size := network.heads.get(told):
            raise UserError(f"a driver in C knows no heads, and {told!r} is stored as heads of {size} channels")
    channels, height, width = network.program.input.shape
    source = TensorLayout(
        shape=(channels, height, width), format=network.format(name), channels=plan.channels, bits=plan.bits
    )  # fmt: skip
    values = {
        "magic": IMAGE_MAGIC, "checksum": 0, "version": VERSION, "build_low": build & 0xFFFFFFFF,
        "build_high": build >> 32, "bytes": begin + len(memory), "memory_at": begin, "loaded": len(image.constants),
        "words": len(image.words), "first": image.first, "columns": fold.columns, "stride": fold.stride,
        "dilation": fold.dilation, "left": fold.left, "stored_width": image.layouts[name].shape[2],
        **_told("input", source, image.areas[name]),
        **_told("output", image.layouts[network.output], image.areas[network.output]),
    }  # fmt: skip
    text = IMAGE_HEADER.pack(values).to_bytes(IMAGE_HEADER.bits // 8, "little")
    whole = (text + pads).ljust(begin, b"\0") + memory
    checksum = zlib.crc32(whole[CHECKED:]).to_bytes(NUMBER_BYTES, "little")
    return whole[: CHECKED - NUMBER_BYTES] + checksum + whole[CHECKED:]


def _told(name: str, layout: TensorLayout, at: int) -> dict[str, int]:
    channels, height, width = layout.shape
    return {
        f"{name}_at": at, f"{name}_channels": channels, f"{name}_height": height, f"{name}_width": width,
        f"{name}_bits": layout.format.bits, f"{name}_signed": int(layout.format.signed),
    }  # fmt: skip


def _whole(count: int, size: int) -> int:
    """``count`` rounded up to a multiple of ``size``."""
    return -(-count // size) * size
