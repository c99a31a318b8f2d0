"""The plain test bench of an image for an engine: a folder of Verilog and memory files that runs without Python."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...common.files import atomic_directory, copy_file, write_text
from ...quant import golden
from ..engine.compile.asked import asked_by
from ..engine.compile.image import Compiled
from ..engine.cycles.model import predicted
from ..engine.cycles.transfers import Memory
from ..engine.layout import Words, beats_text
from .engine import EngineBuild
from .vectors import sample_vectors
from .verilog import path_macro, rendered

__all__ = ["BENCH_KIND", "WATCHDOG", "write_engine_bench"]

BENCH_KIND = "engine test bench"
WATCHDOG = 100_000
"""Cycles without a transfer after which an engine hangs."""
_UNPRINTED = re.compile(r'[^ -~]|["\\%]')
"""What would end a string of Verilog, or be read as a format."""


class _Checked(NamedTuple):
    """A tensor in memory that the bench compares: its name, first beat, and number of beats."""

    name: str
    at: int
    beats: int


def write_engine_bench(build: EngineBuild, image: Compiled, out: str | Path) -> None:
    """Write the folder ``out``: the engine's Verilog, its memory, a random picture in it, and what it must store.

    Every tensor that still stands in memory at the end is compared with the golden model's.

    Parameters
    ----------
    image : for this engine

    Raises
    ------
    UserError
        when ``out`` cannot be written.
    """
    program, plan, prefix = image.network.program, image.plan, build.prefix
    pixels = sample_vectors(program, 1)
    found = golden.run(program, pixels, trace=list(image.intact)).tensors
    asked = asked_by(image, pixels[0])
    words = image.with_input(pixels[0])
    checked = [
        _Checked(_UNPRINTED.sub("_", name), image.areas[name] * plan.beats, image.layouts[name].words * plan.beats)
        for name in image.intact
    ]
    expected = "".join(_expected(image, name, found[name][0], asked) for name in image.intact)
    cells = build.path / f"{prefix}_cells.v"
    sources = [*build.sources, *([cells] if cells.is_file() else [])]
    text = rendered(
        "engine_testbench.v.j2", prefix=prefix, path=path_macro(prefix), cells=[path.name for path in sources[2:]],
        latency=Memory().latency, cycles=predicted(image, asked=asked).total, watchdog=WATCHDOG, bits=plan.memory_bits,
        depth=len(words) * plan.beats, first=image.first, tensors=checked, beats=sum(own.beats for own in checked),
    )  # fmt: skip
    with atomic_directory(Path(out), BENCH_KIND) as folder:
        for path in sources:
            copy_file(path, folder / path.name)
        write_text(folder / f"{prefix}_testbench.v", text)
        write_text(folder / "memory.mem", beats_text(words, plan.memory_bits))
        write_text(folder / "expected.mem", expected)


def _expected(image: Compiled, name: str, tensor: np.ndarray, asked: NDArray[np.bool_] | None) -> str:
    """A tensor beat by beat: which bits are its own, for a block may hold more channels than it has, and rows may be
    skipped; their values."""
    layout, bits = image.layouts[name], image.plan.memory_bits
    own = np.full_like(tensor, -1)
    if asked is not None:
        own[:, ~image.computed(name, asked)] = 0
    counted, value = (_beats(layout.pack(part), bits) for part in (own, tensor))
    return "".join(f"{one}{other}\n" for one, other in zip(counted, value, strict=True))


def _beats(words: Words, bits: int) -> Iterator[str]:
    return iter(beats_text(words, bits).splitlines())
