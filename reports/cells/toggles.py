"""Toggle counts of single-bit nets from a VCD file, without a Python statement per toggle."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ...common.errors import UserError

__all__ = ["GateToggles", "read_vcd"]

_CHUNK = 1 << 25
_CODE_LENGTH = 6
"""Characters that an identifier may have: 94 ** 6 nets."""
_ZERO, _ONE, _TIME, _NEWLINE = (ord(c) for c in "01#\n")

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class GateToggles:
    """What a VCD file says about single-bit nets.

    Attributes
    ----------
    names : of the nets, in the order of the arrays
    counts : changes after the first dump; those to x or z aside
    settled : cycles of the clock at whose end a net is not what it was at their beginning: changes without glitches
    high : share of the time at 1
    unknown : nets that were x or z at any time, so that their shares are rough
    """

    names: tuple[str, ...]
    counts: Ints
    settled: Ints
    high: NDArray[np.float64]
    unknown: int


def read_vcd(path: Path, period: int) -> GateToggles:
    """Read a VCD file of one scope that one ``$dumpvars`` began.

    Parameters
    ----------
    period : of the clock in the file's unit of time; a cycle begins with the first dump

    Raises
    ------
    UserError
        when it cannot be read, names no single-bit net, or ends before time passes.
    """
    try:
        with path.open("rb") as stream:
            return _Reader(stream, path, period).result()
    except OSError as error:
        raise UserError(f"cannot read waveform {path}: {error.strerror}") from error


class _Reader:
    """Sums over the changes of one file."""

    def __init__(self, stream: BinaryIO, path: Path, period: int):
        names, codes = _header(stream)
        if not names:
            raise UserError(f"waveform {path} holds no single-bit net")
        self.names = tuple(names)
        # Ports that are nets of several names share an identifier.
        self.codes, self.place = np.unique(np.array(codes, np.int64), return_inverse=True)
        self.counts = np.zeros(len(self.codes), np.int64)
        self.rises = np.zeros(len(self.codes), np.float64)
        self.moments = np.zeros(len(self.codes), np.float64)
        self.strange = np.zeros(len(self.codes), bool)
        self.period, self.cycle = period, -1
        self.odd = np.zeros(len(self.codes), bool)
        self.settled = np.zeros(len(self.codes), np.int64)
        self.begin = self.now = self._first_dump(stream)
        for lines in _chunks(stream):
            self._add(*lines)
        if self.now <= self.begin:
            raise UserError(f"waveform {path} ends where it begins")
        self._end_cycle()

    def result(self) -> GateToggles:
        """Counts and shares, net by net."""
        span = self.now - self.begin
        # A net that is at 1 from t on stays there for span - t, until a fall at u takes span - u away.
        high = np.clip((self.rises * span - self.moments) / span, 0.0, 1.0)
        return GateToggles(
            names=self.names, counts=self.counts[self.place], settled=self.settled[self.place],
            high=high[self.place], unknown=int(self.strange.sum()),
        )  # fmt: skip

    def _first_dump(self, stream: BinaryIO) -> int:
        """The values at the beginning, and when that is."""
        time = 0
        for line in stream:
            if line[:1] == b"#":
                time = int(line[1:])
            elif line[:1] in (b"0", b"1", b"x", b"z"):
                at = int(np.searchsorted(self.codes, _code(line[1:].strip())))
                self.rises[at] += line[:1] == b"1"
                self.strange[at] |= line[:1] in (b"x", b"z")
            elif line.startswith(b"$end"):
                break
        return time

    def _add(self, values: Bytes, codes: Ints, stamps: Ints, last: Ints) -> None:
        """Changes: what to, of which net; the times that the chunk names, and for every change how many of these
        come before it."""
        times = np.concatenate([[self.now], stamps])[last] - self.begin
        self.now = int(stamps[-1]) if len(stamps) else self.now
        at = np.searchsorted(self.codes, codes)
        known = (values == _ZERO) | (values == _ONE)
        self.strange[at[~known]] = True
        at, times, sign = at[known], times[known], np.where(values[known] == _ONE, 1.0, -1.0)
        size = len(self.codes)
        self.counts += np.bincount(at, minlength=size)
        self.rises += np.bincount(at, weights=sign, minlength=size)
        self.moments += np.bincount(at, weights=sign * times, minlength=size)
        cycles = times // self.period
        borders = np.flatnonzero(np.diff(cycles, prepend=self.cycle))
        for begin, end in pairwise([0, *borders, len(at)]):
            if begin in borders:
                self._end_cycle()
            self.odd ^= (np.bincount(at[begin:end], minlength=size) & 1).astype(bool)
        self.cycle = int(cycles[-1]) if len(cycles) else self.cycle

    def _end_cycle(self) -> None:
        """A net that changed an odd number of times has another value than before."""
        self.settled += self.odd
        self.odd[:] = False


def _header(stream: BinaryIO) -> tuple[list[str], list[int]]:
    names, codes = [], []
    for line in stream:
        if line.startswith(b"$enddefinitions"):
            break
        fields = line.split()
        if fields[:1] == [b"$var"] and fields[2] == b"1" and fields[1] in (b"wire", b"reg"):
            names.append(fields[4].decode())
            codes.append(_code(fields[3]))
    return names, codes


def _code(identifier: bytes) -> int:
    if len(identifier) > _CODE_LENGTH:
        raise UserError(f"the waveform holds more nets than {_CODE_LENGTH} characters tell apart")
    return sum(character << (8 * k) for k, character in enumerate(identifier))


def _chunks(stream: BinaryIO) -> Iterator[tuple[Bytes, Ints, Ints, Ints]]:
    """What `_Reader._add` takes, some megabytes at a time."""
    rest = b""
    while block := stream.read(_CHUNK):
        whole, newline, rest = (rest + block).rpartition(b"\n")
        if newline:
            yield _parsed(whole + newline)


def _parsed(text: bytes) -> tuple[Bytes, Ints, Ints, Ints]:
    raw = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(raw == _NEWLINE)
    begins = np.concatenate([[0], ends[:-1] + 1])
    first = raw[begins]
    is_time = first == _TIME
    stamps = np.array([int(text[b + 1 : e]) for b, e in zip(begins[is_time], ends[is_time], strict=True)], np.int64)
    is_value = np.isin(first, np.frombuffer(b"01xz", np.uint8))
    at, end = begins[is_value], ends[is_value]
    codes = np.zeros(len(at), np.int64)
    for k in range(_CODE_LENGTH):
        place = at + 1 + k
        character = raw[np.minimum(place, len(raw) - 1)].astype(np.int64)
        codes += np.where(place < end, character << (8 * k), 0)
    return first[is_value], codes, stamps, np.cumsum(is_time)[is_value]
