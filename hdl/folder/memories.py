"""Memory files of a BUILD: written, exported with other weights, and read back."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...common.files import atomic_directory, sha256_of, write_json, write_text
from ...common.reading import read_json, read_regular
from ...quant.program import Program
from ..memory.image import Image
from .build import Build

__all__ = ["export_memories", "memory_entry", "read_memories", "write_memories"]


def write_memories(folder: Path, images: Iterable[Image]) -> None:
    """One ``$readmemh`` file per memory."""
    for image in images:
        write_text(folder / image.file, image.text())


def memory_entry(image: Image) -> dict[str, Any]:
    """What the manifest says of a memory file."""
    return {
        "file": image.file, "width": image.width, "depth": image.depth, "sha256": sha256_of(image.text().encode()),
    }  # fmt: skip


def export_memories(build: Build, out: str | Path, *, program: Program | None = None) -> None:
    """Write the memory files that the RTL of ``build`` reads, with the weights of ``program`` when one is given.

    Raises
    ------
    UserError
        when ``program`` does not fit the RTL, or ``out`` cannot be written.
    """
    images = build.images_for(program or build.program)
    with atomic_directory(Path(out), "export") as folder:
        write_memories(folder, images)
        write_json(folder / "manifest.json", {"format": "mem", "memories": [memory_entry(image) for image in images]})


def read_memories(build: Build, folder: str | Path | None = None) -> Program:
    """The Program whose integers stand in memory files of ``build``: its own, or those of an export in ``folder``.

    Raises
    ------
    UserError
        when a file is missing, differs from the manifest, or is not of the memory that the RTL has.
    """
    folder = build.path if folder is None else Path(folder)
    manifest = read_json(folder / "manifest.json", "manifest")
    try:
        checksums = {entry["file"]: entry["sha256"] for entry in manifest["memories"]}
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder} holds no memory files of a build: its manifest says nothing of them") from error

    def read(image: Image) -> Image:
        path = folder / image.file
        try:
            data = read_regular(path)
            if checksums.get(image.file) != sha256_of(data):
                raise UserError(f"{path} differs from the manifest beside it")
            return image.holding(data.decode())
        except OSError as error:
            raise UserError(f"cannot read memory file {path}: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"{path} does not fit the build: {error}") from error

    try:
        return build.design.holding({image.file: read(image) for image in build.design.memories})
    except ValueError as error:
        raise UserError(f"the memory files in {folder} do not make a program: {error}") from error
