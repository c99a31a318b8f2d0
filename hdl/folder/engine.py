"""The BUILD folder of an engine: Verilog, harness, Plan, registers, C driver; no network is in it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...common.files import atomic_directory, kind_of, sha256_of, write_json, write_text
from ...common.reading import read_json
from ..engine.control import engine_identity, engine_map
from ..engine.driver.header import engine_driver, engine_header
from ..engine.harness import harness_text
from ..engine.plan import EnginePlan
from ..engine.top import EngineTop
from ..verilog.emit import to_verilog, without_lint
from ..verilog.keywords import is_identifier
from .header import registers_json
from .manifest import check_files, files_fault
from .verilog import cells_in, path_macro, rendered

__all__ = ["ENGINE_KIND", "EngineBuild", "generate_engine", "is_engine", "open_engine"]

ENGINE_KIND = "engine build"
_READ = re.compile(r"^  reg (?:\[\d+:0\] )?(_\d+_);\n", re.MULTILINE)
"""How yosys declares the register of a synchronous read port of a memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EngineBuild:
    """An opened BUILD folder of an engine."""

    path: Path
    plan: EnginePlan
    prefix: str

    @property
    def sources(self) -> tuple[Path, Path]:
        """The engine and its harness."""
        return self.path / f"{self.prefix}.v", self.path / f"{self.prefix}_harness.v"


def generate_engine(plan: EnginePlan, out: str | Path, *, prefix: str = "addax") -> EngineBuild:
    """Write the BUILD folder of an engine.

    Raises
    ------
    UserError
        when the prefix is no identifier, or ``out`` cannot be written.
    """
    if not is_identifier(prefix):
        raise UserError(f"prefix must be a Verilog identifier that is no reserved word, not {prefix!r}")
    out = Path(out)
    with atomic_directory(out, ENGINE_KIND, results={"report": "report"}) as folder:
        write_json(folder / "plan.json", plan.to_json())
        text = _begun(to_verilog(EngineTop(plan), prefix))
        write_text(folder / f"{prefix}.v", without_lint(text))
        write_text(folder / f"{prefix}_harness.v", harness_text(plan, prefix, path=path_macro(prefix)))
        if cells := cells_in(text):
            models = rendered("cells.v.j2", family=plan.fabric, cells=cells)
            write_text(folder / f"{prefix}_cells.v", without_lint(models))
        write_text(folder / f"{prefix}.h", engine_header(plan, prefix))
        if plan.control != "none":
            write_json(folder / "registers.json", registers_json(engine_map(plan), plan.control, prefix))
            write_text(folder / f"{prefix}_driver.c", engine_driver(plan, prefix))
        files = {file.name: sha256_of(file.read_bytes()) for file in sorted(folder.iterdir())}
        manifest = {
            "family": plan.family, "prefix": prefix, "top": prefix, "build": f"{engine_identity(plan):016x}",
            "files": files,
        }  # fmt: skip
        write_json(folder / "manifest.json", manifest)
    return open_engine(out)


def _begun(text: str) -> str:
    """``text`` in which simulators begin what memories have read with 0, as devices do.

    A layer without residuals multiplies what its queue of residuals has read last by 0; where nothing has been read
    that would be unknown to a simulator of four values, and with it every result.
    """
    return _READ.sub(lambda found: f"{found[0]}`ifndef SYNTHESIS\n  initial {found[1]} = 0;\n`endif\n", text)


def is_engine(path: str | Path) -> bool:
    """Whether ``path`` is the BUILD folder of an engine."""
    return kind_of(Path(path)) == ENGINE_KIND


def open_engine(path: str | Path) -> EngineBuild:
    """Read the BUILD folder of an engine; raises `UserError` when ``path`` is none or a broken one."""
    path = Path(path)
    if not is_engine(path):
        raise UserError(f"{path} is not a BUILD folder of an engine; make one with 'addax generate --arch engine'")
    manifest: Any = read_json(path / "manifest.json", "manifest")
    prefix = manifest.get("prefix") if isinstance(manifest, dict) else None
    if not isinstance(prefix, str) or not is_identifier(prefix):
        raise UserError(f"{path} is a broken BUILD folder: its manifest is incomplete")
    if fault := files_fault(manifest.get("files")):
        raise UserError(f"{path} is a broken BUILD folder: its manifest {fault}")
    check_files(path, manifest["files"], (path / f"{prefix}.v", path / f"{prefix}_harness.v"))
    plan = EnginePlan.from_json(read_json(path / "plan.json", "plan"))
    return EngineBuild(path=path.absolute(), plan=plan, prefix=prefix)
