"""Registers around the multiplier blocks of ECP5: moved into them, as the vendor's tools do and yosys does not.

A MULT18X18D has registers for its operands and for its product. In the fabric, the way from a register through the
block to the next one takes more than half a cycle of 120 MHz before any wire is counted; inside, hardly any. The
product moves where every bit of it goes into a register and nowhere else, then both operands where every varying bit of
them comes out of one. Those that take in what a block RAM gives stay: it comes so late in its cycle that they must be
free to lie beside it. What the block computes, and in which cycle, does not change.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["ABSORBED", "absorb_registers"]

ABSORBED = "2"
"""The version of the rule; part of the key of what is cached."""
_BLOCK, _REGISTER, _MEMORY = "MULT18X18D", "TRELLIS_FF", "DP16KD"
_OPERAND, _PRODUCT = 18, 36
_CONSTANTS = ("0", "x")
"""What a bit may be that comes out of no register: the registers in a block begin with zeros."""

Cells = dict[str, dict[str, Any]]


class _Control(NamedTuple):
    """What a register hangs on; its reset may be "0"."""

    clock: Any
    reset: Any


def absorb_registers(cells: Cells, ports: Sequence[Any]) -> Counter[str]:
    """Move registers among ``cells`` (of a module in yosys' JSON) into its multipliers, and drop those that nothing
    reads any more.

    Parameters
    ----------
    ports : bits of the module's ports, which count as read

    Returns
    -------
    how many cells of which type are gone.
    """
    drivers, readers = _links(cells, ports)
    emptied: set[str] = set()
    behind: set[str] = set()
    for block in [cell for cell in cells.values() if cell["type"] == _BLOCK]:
        sets = {"OUTPUT": _sinks(cells, readers, block)}
        if not sets["OUTPUT"] or emptied & {*sets["OUTPUT"].values()}:
            continue  # a register between two blocks goes into one of them only
        operands = {f"INPUT{side}": _sources(cells, drivers, block, side) for side in "AB"}
        before = {name for registers in operands.values() for name in registers.values()}
        late = any(cells[drivers[bit]]["type"] == _MEMORY for bit in _entering(cells, before) if bit in drivers)
        whole = all(operands.values()) and not late and not before & behind
        if whole and _fill(cells, block, sets | operands):
            emptied |= before
        elif not _fill(cells, block, sets):
            continue
        behind.update(sets["OUTPUT"].values())
    for name in behind:
        del cells[name]
    return +Counter({_REGISTER: len(behind) + _drop_unread(cells, ports, emptied)})


def _links(cells: Cells, ports: Sequence[Any]) -> tuple[dict[Any, str], dict[Any, list[tuple[str, str]]]]:
    """Which cell drives each signal, and which pins of which cells read it; ports read as a cell without a name."""
    drivers: dict[Any, str] = {}
    readers: dict[Any, list[tuple[str, str]]] = defaultdict(list)
    for name, cell in cells.items():
        for pin, bits in cell["connections"].items():
            for bit in bits:
                if not isinstance(bit, int):
                    continue
                if cell["port_directions"][pin] == "output":
                    drivers[bit] = name
                else:
                    readers[bit].append((name, pin))
    for bit in ports:
        readers[bit].append(("", ""))
    return drivers, readers


def _sources(cells: Cells, drivers: Mapping[Any, str], block: Mapping[str, Any], side: str) -> dict[str, str]:
    """The registers behind the pins of an operand, by pin; empty where some bit comes from elsewhere."""
    found = {}
    for k in range(_OPERAND):
        bit = block["connections"][f"{side}{k}"][0]
        if bit in _CONSTANTS:
            continue
        name = drivers.get(bit, "")
        if not name or cells[name]["type"] != _REGISTER:
            return {}
        found[f"{side}{k}"] = name
    return found


def _sinks(
    cells: Cells, readers: Mapping[Any, list[tuple[str, str]]], block: Mapping[str, Any]
) -> dict[str, str]:  # fmt: skip
    """The registers that take the product, by pin; empty where anything else reads some bit of it."""
    found = {}
    for k in range(_PRODUCT):
        bits = block["connections"].get(f"P{k}", [])
        read = [reader for bit in bits for reader in readers.get(bit, ())]
        if not read:
            continue
        name, pin = read[0]
        if len(read) > 1 or not name or cells[name]["type"] != _REGISTER or pin not in ("DI", "M"):
            return {}
        found[f"P{k}"] = name
    return found


def _control(registers: list[dict[str, Any]]) -> _Control | None:
    """What all ``registers`` hang on; None where they differ, or are others than zeros that a clock alone moves on."""
    found = set()
    for cell in registers:
        pins, settings = cell["connections"], cell["parameters"]
        plain = settings.get("REGSET", "RESET") == "RESET" and settings.get("SRMODE", "") != "ASYNC"
        plain &= settings.get("CLKMUX", "CLK") == "CLK" and settings.get("LSRMUX", "LSR") == "LSR"
        if not plain or settings.get("CEMUX", "CE").strip() != "1":
            return None
        found.add(_Control(clock=pins["CLK"][0], reset=pins["LSR"][0] if "LSR" in pins else "0"))
    return found.pop() if len(found) == 1 else None


def _entering(cells: Cells, registers: Iterable[str]) -> list[Any]:
    """What ``registers`` take in."""
    return [(pins["DI"] if "DI" in pins else pins["M"])[0] for pins in (cells[k]["connections"] for k in registers)]


def _fill(cells: Cells, block: dict[str, Any], sets: Mapping[str, Mapping[str, str]]) -> bool:
    """Move ``sets`` of registers, by what they are in ``block``, into it; False where it has none such."""
    controls = [_control([cells[name] for name in registers.values()]) for registers in sets.values()]
    if None in controls or len({control.clock for control in controls if control}) != 1:
        return False
    pins: dict[str, Any] = {"CE0": "1"}
    for number, ((what, registers), control) in enumerate(zip(sets.items(), controls, strict=True)):
        assert control is not None
        reset = f"RST{number}"
        pins |= {"CLK0": control.clock, reset: control.reset}
        block["parameters"] |= {f"REG_{what}_CLK": "CLK0", f"REG_{what}_CE": "CE0", f"REG_{what}_RST": reset}
        for pin, name in registers.items():
            outer = cells[name]["connections"]["Q"] if what == "OUTPUT" else _entering(cells, [name])
            block["connections"][pin] = outer
    block["connections"] |= {pin: [bit] for pin, bit in pins.items()}
    block["port_directions"] |= dict.fromkeys(pins, "input")
    return True


def _drop_unread(cells: Cells, ports: Sequence[Any], candidates: set[str]) -> int:
    """Drop those of the registers ``candidates`` that nothing reads; returns how many."""
    _, readers = _links(cells, ports)
    unread = [name for name in candidates if not any(readers.get(bit) for bit in cells[name]["connections"]["Q"])]
    for name in unread:
        del cells[name]
    return len(unread)
