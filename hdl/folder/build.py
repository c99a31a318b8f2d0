"""A BUILD folder, opened and checked."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...common.files import kind_of
from ...common.reading import read_json
from ...quant.files.archive import load_program
from ...quant.program import Program
from ..family import Design, Envelope
from ..memory.image import Image
from ..timing import Schedule
from .engine import ENGINE_KIND
from .families import bind, plan_from_json
from .manifest import check_files, read_manifest

__all__ = ["BUILD_KIND", "Build", "memory_images", "open_build"]

BUILD_KIND = "build"


def memory_images(program: Program, plan: Envelope, prefix: str = "addax") -> tuple[Image, ...]:
    """Contents of all memory files of a build."""
    return bind(program, plan, prefix=prefix).memories


@dataclass(frozen=True, kw_only=True, eq=False)
class Build:
    """An opened BUILD folder."""

    path: Path
    program: Program
    plan: Envelope
    manifest: dict[str, Any]

    @property
    def prefix(self) -> str:
        """Prefix of its modules, and the name of its top module."""
        return str(self.manifest["prefix"])

    @cached_property
    def design(self) -> Design:
        """What it is built as."""
        return bind(self.program, self.plan, prefix=self.prefix)

    @property
    def schedule(self) -> Schedule:
        """The cycle model of this build."""
        return self.design.schedule

    def images_for(self, program: Program) -> tuple[Image, ...]:
        """Contents of this build's memories with the weights of ``program``.

        Raises
        ------
        UserError
            when ``program`` needs memories of another shape, other formats, or RTL that was made for fixed weights.
        """
        if program is self.program:
            return self.design.memories
        self.design.check_fits(program)
        return memory_images(program, self.plan, self.prefix)

    @property
    def sources(self) -> tuple[Path, Path]:
        """The accelerator and its harness."""
        return self.path / f"{self.prefix}.v", self.path / f"{self.prefix}_harness.v"


def open_build(path: str | Path) -> Build:
    """Read a BUILD folder. Its Verilog is code: whoever simulates it runs what its author wrote.

    Raises
    ------
    UserError
        when ``path`` is no BUILD or a broken one.
    """
    path = Path(path)
    if kind_of(path) != BUILD_KIND:
        if kind_of(path) == ENGINE_KIND:
            raise UserError(f"{path} is an engine, without a network in it; this is for a BUILD of a NET.addax")
        raise UserError(f"{path} is not a BUILD folder; make one with 'addax generate'")
    build = Build(
        path=path.absolute(),
        manifest=read_manifest(path),
        program=load_program(path / "program.addax"),
        plan=plan_from_json(read_json(path / "plan.json", "plan")),
    )
    check_files(build.path, build.manifest["files"], build.sources)
    return build
