"""The C header and the C driver of an engine, from the tables that hardware and compiler read."""

from collections.abc import Iterator
from pathlib import Path

from ....common.templates import render
from ..control import VERSION, engine_identity, engine_map
from ..plan import PAGE_BYTES, EnginePlan
from ..record import Record, RecordField
from ..records import READ, WRITE, Stream, Unit, constants_record, descriptor_record, further_records
from .codes import DRIVER_CODES, OF_HARDWARE
from .flat import CHECKED, IMAGE_HEADER, IMAGE_MAGIC

__all__ = ["engine_driver", "engine_header"]

_POLYNOMIAL = 0xEDB88320
"""Of CRC-32, its lowest power highest."""


def engine_header(plan: EnginePlan, prefix: str) -> str:
    """The header of an engine for C99 and C++; without registers there is no driver in it."""
    return render(
        Path(__file__).with_name("engine.h.j2"), p=prefix, P=prefix.upper(), plan=plan, build=engine_identity(plan),
        version=VERSION, page=PAGE_BYTES, registers=engine_map(plan).registers if plan.control != "none" else (),
        image=IMAGE_HEADER, image_magic=IMAGE_MAGIC, checked=CHECKED, records=list(_records(plan)),
        streams=list(Stream), units=list(Unit), codes=DRIVER_CODES,
    )  # fmt: skip


def engine_driver(plan: EnginePlan, prefix: str) -> str:
    """The driver of an engine with registers, C99; the header is beside it."""
    return render(
        Path(__file__).with_name("engine_driver.c.j2"), p=prefix, P=prefix.upper(), codes=DRIVER_CODES,
        of_hardware=[OF_HARDWARE[code] for code in sorted(OF_HARDWARE)], crc=[_remainder(k) for k in range(16)],
    )  # fmt: skip


def _records(plan: EnginePlan) -> Iterator[tuple[str, list[tuple[int, RecordField]], int]]:
    """Name, fields with their lowest bits, and words (or elements of a channel) of each record."""
    for name, record in (("READ_COMMAND", READ), ("WRITE_COMMAND", WRITE), ("DESCRIPTOR", descriptor_record(plan))):
        yield name, _places(record), record.words(plan.word_bits)
    for record in (constants_record(plan), *further_records(plan).values()):
        yield record.name.upper().replace(" ", "_"), _places(record), record.words(plan.bits)


def _places(record: Record) -> list[tuple[int, RecordField]]:
    ends = [sum(field.bits for field in record.fields[:k]) for k in range(len(record.fields))]
    return list(zip(ends, record.fields, strict=True))


def _remainder(value: int) -> int:
    """Of four bits, for a checksum that takes four at a time."""
    for _ in range(4):
        value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
    return value
