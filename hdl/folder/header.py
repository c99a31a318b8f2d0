"""What software needs to know of a build with control: ``registers.json`` and a C header."""

from pathlib import Path
from typing import Any

from amaranth.lib.wiring import In

from ...common.files import write_json, write_text
from ...common.templates import render
from ..bus.front_end import pins
from ..bus.register_map import RegisterMap

__all__ = ["header", "registers_json", "tied_pins", "write_software_view"]


def write_software_view(folder: Path, registers: RegisterMap, control: str, prefix: str) -> None:
    """Write both files into ``folder``."""
    write_json(folder / "registers.json", registers_json(registers, control, prefix))
    write_text(folder / f"{prefix}.h", header(registers, prefix))


def registers_json(registers: RegisterMap, control: str, prefix: str) -> dict[str, Any]:
    """The map as plain values, with the file whose words go into each memory."""
    value = registers.to_json()
    for memory in value["memories"]:
        memory["file"] = f"{memory['name']}.mem"
    return {"accelerator": prefix, "bus": control, **value}


def header(registers: RegisterMap, prefix: str) -> str:
    """The map as a C11 header: offsets, masks, and functions that stop, start and reload."""
    return render(
        Path(__file__).with_name("registers.h.j2"), map=registers, prefix=prefix, P=prefix.upper(),
        short={memory.number: memory.name.removeprefix(f"{prefix}_") for memory in registers.memories},
    )  # fmt: skip


def tied_pins(control: str, registers: RegisterMap | None) -> list[tuple[str, str]]:
    """The ports that the bus adds to the top, and what they are tied to where nobody is on it."""
    if registers is None:
        return []
    return [
        (name, f"{member.shape}'d0" if member.flow == In else "")
        for name, member in pins(control, registers.address_bits).items()
    ]
