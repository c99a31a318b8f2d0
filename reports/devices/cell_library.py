"""A library of standard cells: its files, and what it says about its cells."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ...common.errors import UserError

__all__ = ["CellLibrary", "LibraryCell"]


@dataclass(frozen=True, kw_only=True)
class LibraryCell:
    """A cell of a library.

    Attributes
    ----------
    area : in um2
    inputs : capacitance of each input pin, pF
    outputs : names of the output pins
    """

    area: float
    inputs: dict[str, float]
    outputs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CellLibrary:
    """Where a library of standard cells is, and under which terms circuits are mapped to it.

    Attributes
    ----------
    family : by which lanes have a default structure
    folder, package : where Debian's ``package`` installs it
    liberty, models : its files in that folder: Liberty, and Verilog of the cells
    voltage : V
    driver : cell that drives the inputs while a circuit is mapped
    holder : flip-flop that drives the inputs while its power is taken
    flip_flops : cells that are flip-flops
    clock_slew_ns : of the ideal clock
    load_ff : of an output while a circuit is mapped, fF
    source : of its figures
    """

    name: str
    family: str
    folder: str
    package: str
    liberty: str
    models: str
    voltage: float
    driver: str
    holder: str
    flip_flops: tuple[str, ...]
    clock_slew_ns: float
    load_ff: float
    source: str

    fabric = "generic"
    """Form in which lanes are built for it: no cell of it adds with a chain of its own."""

    def file(self, name: str) -> Path:
        """Path of one of its files.

        Raises
        ------
        UserError
            when the package is not installed.
        """
        path = Path(self.folder, name)
        if not path.is_file():
            raise UserError(
                f"{self.name} needs {path}; install the Debian package {self.package}. "
                "Without it, arrays can be priced for an FPGA"
            )
        return path

    def cells(self) -> dict[str, LibraryCell]:
        """All cells by name."""
        return _read(self.file(self.liberty))


@cache
def _read(path: Path) -> dict[str, LibraryCell]:
    return parse_liberty(path.read_text())


_CELL = re.compile(r"^cell\s*\(\s*(\w+)\s*\)\s*\{(.*?)^\}", re.DOTALL | re.MULTILINE)
_PIN = re.compile(r"\bpin\s*\(\s*(\w+)\s*\)\s*\{(.*?)(?=\bpin\s*\(|\Z)", re.DOTALL)


def parse_liberty(text: str) -> dict[str, LibraryCell]:
    """Areas, directions and capacitances of a Liberty file whose cells begin and end at the first column, pF.

    Raises
    ------
    UserError
        when there is no cell in it.
    """
    found = {}
    for cell in _CELL.finditer(text):
        area = re.search(r"\barea\s*:\s*([\d.]+)", cell[2])
        inputs, outputs = {}, []
        for pin in _PIN.finditer(cell[2]):
            if re.search(r"\bdirection\s*:\s*input", pin[2]):
                capacitance = re.search(r"\bcapacitance\s*:\s*([\d.]+)", pin[2])
                inputs[pin[1]] = float(capacitance[1]) if capacitance else 0.0
            else:
                outputs.append(pin[1])
        found[cell[1]] = LibraryCell(area=float(area[1]) if area else 0.0, inputs=inputs, outputs=tuple(outputs))
    if not found:
        raise UserError("the Liberty file holds no cell")
    return found
