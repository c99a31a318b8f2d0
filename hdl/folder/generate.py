"""From a Program and a Plan to a BUILD folder: Verilog, memory files, manifest, test bench."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...common.errors import UserError
from ...common.files import atomic_directory, sha256_of, write_bytes, write_json, write_text
from ...quant import golden
from ...quant.files.archive import program_bytes
from ...quant.program import Program
from ..board.boards import board_names
from ..family import Design, Envelope
from ..streams.packet import packet_layout
from ..verilog.emit import without_lint
from ..verilog.keywords import is_identifier
from ..verilog.names import BETWEEN
from .build import BUILD_KIND, Build, open_build
from .families import bind
from .harness import Harness, images_held
from .head import head_of
from .header import tied_pins, write_software_view
from .memories import memory_entry, write_memories
from .vectors import hex_lines
from .verilog import cells_in, rendered, verilog_of

__all__ = ["generate"]


def generate(
    program: Program, plan: Envelope, out: str | Path, *, vectors: NDArray[np.integer], prefix: str = "addax"
) -> Build:
    """Write the BUILD folder of ``program`` under ``plan``.

    Parameters
    ----------
    vectors : (N, C, H, W) images of the plain test bench; their expected results come from the golden model
    prefix : of every Verilog module

    Raises
    ------
    UserError
        when the Plan does not fit, the prefix is no identifier, or ``out`` cannot be written.
    """
    if not is_identifier(prefix):
        raise UserError(f"prefix must be a Verilog identifier that is no reserved word, not {prefix!r}")
    if BETWEEN in prefix:
        raise UserError(f"prefix must not hold {BETWEEN!r}, which ends it in the names of modules, as {prefix!r} does")
    out, design = Path(out), bind(program, plan, prefix=prefix)
    with atomic_directory(out, BUILD_KIND, results=_results()) as folder:
        write_bytes(folder / "program.addax", program_bytes(program))
        write_json(folder / "plan.json", plan.to_json())
        cells = _write_hardware(folder, design, plan, prefix)
        harness = Harness(
            interface=design.interface, prefix=prefix, capacity=images_held(design.interface, len(vectors)),
            settle=design.settle, tied=tied_pins(plan.control, design.registers),
        )  # fmt: skip
        write_text(folder / f"{prefix}_harness.v", harness.verilog())
        _write_bench(folder, harness, design.schedule.watchdog(), vectors, cells)
        manifest = _manifest(design, prefix, harness.capacity)
        manifest["files"] = {
            file.name: sha256_of(file.read_bytes()) for file in sorted(folder.iterdir()) if file.name != "manifest.json"
        }
        write_json(folder / "manifest.json", manifest)
    return open_build(out)


def _results() -> dict[str, str]:
    """Folders in a BUILD where `report` and `bitstream` put what they find, by default: results of that build alone."""
    return {"report": "report", **dict.fromkeys(board_names(), "bitstream")}


def _write_hardware(folder: Path, design: Design, plan: Envelope, prefix: str) -> list[str]:
    """The Verilog, its memory files and what software knows of its registers; names of a device's cells in it."""
    registers = design.registers
    writable = registers is not None and bool(registers.memories)
    text = verilog_of(design.component(), prefix, design.rom_kinds, writable=writable)
    write_text(folder / f"{prefix}.v", f"{head_of(design, plan, prefix)}\n{text}")
    cells = cells_in(text)
    if cells:
        models = rendered("cells.v.j2", family=plan.fabric, cells=cells)
        write_text(folder / f"{prefix}_cells.v", without_lint(models))
    write_text(folder / f"{prefix}.vlt", rendered("waiver.vlt.j2", prefix=prefix))
    write_memories(folder, design.memories)
    if registers is not None:
        write_software_view(folder, registers, plan.control, prefix)
    return cells


def _write_bench(
    folder: Path, harness: Harness, watchdog: int, vectors: NDArray[np.integer], cells: list[str]
) -> None:  # fmt: skip
    """The self-checking test bench of plain Verilog, with its stimulus and expected answers."""
    interface, prefix = harness.interface, harness.prefix
    expected = interface.expected(golden.run(interface.program, vectors).output)
    write_text(folder / "stimulus.mem", hex_lines(interface.pack(vectors), interface.data_in))
    write_text(folder / "expected.mem", hex_lines(expected, interface.data_out + 1))
    others = [f"{prefix}_cells.v"] if cells else []
    text = harness.bench(images=len(vectors), watchdog=watchdog, sources=others)
    write_text(folder / f"{prefix}_testbench.v", text)


def _manifest(design: Design, prefix: str, capacity: int) -> dict[str, Any]:
    """What the manifest says, but for the checksums of the files."""
    interface = design.interface
    return {
        "prefix": prefix,
        **interface.facts,
        "capacity": capacity,
        "top": prefix,
        "packet": packet_layout(interface.program, interface.elements),
        "pixels": interface.input_layout,
        "schedule": design.schedule.to_json(),
        "memories": [memory_entry(image) for image in design.memories],
    }
