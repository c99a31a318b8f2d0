"""The Verilog of a design or of a part of it, with the modules that read its memory files."""

import re
from collections.abc import Container
from pathlib import Path
from typing import Any

from ...common.templates import render
from ..memory.image import ROMS
from ..verilog.emit import to_verilog, without_lint

__all__ = ["cells_in", "path_macro", "rendered", "verilog_of"]

_CELL = re.compile(r"^  (LUT\d(?:_2)?|CARRY[48]|CCU2C|DP16KD) ", re.MULTILINE)


def verilog_of(component: Any, prefix: str, rom_kinds: Container[str], *, writable: bool = False) -> str:
    """Verilog of an Amaranth component as the top ``prefix``, with the modules of its memories.

    Parameters
    ----------
    rom_kinds : of its memories, of `memory.image.ROMS`
    writable : whether they have a write port
    """
    return without_lint(to_verilog(component, prefix) + _memories(prefix, rom_kinds, writable=writable))


def _memories(prefix: str, kinds: Container[str], *, writable: bool) -> str:
    """The modules that read memory files, after an empty line."""
    roms = [rom for kind, rom in ROMS.items() if kind in kinds]
    return "\n" + rendered("memory.v.j2", prefix=prefix, path=path_macro(prefix), writable=writable, roms=roms)


def cells_in(text: str) -> list[str]:
    """Names of the cells of a device that ``text`` instantiates."""
    return sorted(set(_CELL.findall(text)))


def path_macro(prefix: str) -> str:
    """Name of the Verilog macro that says where a memory file of a build is; without it, where the simulator runs."""
    return f"{prefix.upper()}_PATH"


def rendered(template: str, **values: Any) -> str:
    """A template of this folder, filled in."""
    return render(Path(__file__).with_name(template), **values)
