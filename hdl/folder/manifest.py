"""What the manifest of a BUILD folder must say before anything in the folder is opened."""

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ...common.errors import UserError
from ...common.files import sha256_of
from ...common.reading import read_json, read_regular
from ..verilog.keywords import is_identifier

__all__ = ["check_files", "files_fault", "read_manifest"]

_COUNTS = ("capacity", "beats", "data_in", "data_out")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a BUILD: its files are plain names in ``folder``, its prefix makes names of modules.

    Raises
    ------
    UserError
        when it is missing, broken, or names anything outside the folder.
    """
    manifest = read_json(folder / "manifest.json", "manifest")
    if fault := _fault(manifest):
        raise UserError(f"{folder} is a broken BUILD folder: its manifest {fault}")
    found: dict[str, Any] = manifest
    return found


def check_files(folder: Path, files: Mapping[str, str], sources: Iterable[Path]) -> None:
    """Refuse a folder whose files are not those that were generated.

    Parameters
    ----------
    files : checksums of its manifest by plain name
    sources : the Verilog, which must be among them

    Raises
    ------
    UserError
        for a file that is missing, cannot be read or was changed, and a source that has no checksum.
    """
    for source in sources:
        if source.name not in files:
            raise UserError(f"{folder} is a broken BUILD folder: {source.name} is missing from its manifest")
    for name, checksum in files.items():
        try:
            data = read_regular(folder / name)
        except FileNotFoundError as error:
            raise UserError(f"{folder} is a broken BUILD folder: {name} is missing") from error
        except OSError as error:
            raise UserError(f"{folder} is a broken BUILD folder: {name}: {error.strerror}") from error
        if sha256_of(data) != checksum:
            raise UserError(f"{folder} is a broken BUILD folder: {name} was changed after 'addax generate'")


def files_fault(files: Any) -> str:
    """What is wrong with the checksums of a manifest; empty when nothing is."""
    if not isinstance(files, dict) or not all(isinstance(checksum, str) for checksum in files.values()):
        return "does not say the checksums of its files"
    if outside := [name for name in files if PurePosixPath(name).name != name or name in ("", "..")]:
        return f"names {outside[0]!r}, which is no file of the folder"
    return ""


def _fault(manifest: Any) -> str:
    """What is wrong with a manifest; empty when nothing is."""
    if not isinstance(manifest, dict) or not {"prefix", "memories", "files", *_COUNTS} <= set(manifest):
        return "is incomplete"
    if not isinstance(manifest["prefix"], str) or not is_identifier(manifest["prefix"]):
        return f"has a prefix that is no Verilog identifier, {manifest['prefix']!r}"
    if wrong := [key for key in _COUNTS if type(manifest[key]) is not int or manifest[key] < 1]:
        return f"has {wrong[0]} {manifest[wrong[0]]!r}, not a positive integer"
    if fault := files_fault(manifest["files"]):
        return fault
    memories, files = manifest["memories"], [*manifest["files"]]
    if not isinstance(memories, list) or not all(isinstance(m, dict) and m.get("file") in files for m in memories):
        return "names a memory that is not among its files"
    return ""
