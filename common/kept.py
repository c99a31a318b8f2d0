"""What of a folder that is replaced belongs to the user, and how it comes into the new one.

Every folder that addax writes holds a marker that lists its files with their checksums. What the marker does not name
is the user's and is kept. What it names but the user has changed is kept beside the new file. Files are linked, not
moved, so the old folder stays whole until the new one stands.
"""

import contextlib
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import UserError
from .reading import JSON_BYTES, parse_json, read_regular

__all__ = ["MARKER", "Kept", "bring_over", "checksums", "kind_of", "marker_of", "own_files", "to_keep"]

MARKER = "addax.json"
"""Every folder that addax writes holds this file; a folder without it is never replaced."""
MANIFEST = "manifest.json"
EDITED = ".edited"
_CHUNK = 1 << 20
_BEFORE_LISTS = {"report": ("report.html", "report.json")}
"""Files of kinds of folders that have no manifest, as they were before markers listed them."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Something in a folder that is not addax's own.

    Attributes
    ----------
    source : where it is
    name : relative to the folder
    edited : addax wrote it, and the user has changed it since
    inside : kinds by name of the folders of results that it stood in, which are replaced themselves
    """

    source: Path
    name: str
    edited: bool = False
    inside: tuple[tuple[str, str], ...] = ()


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of all regular files below ``folder`` by their relative names, the marker aside."""
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            if path != folder / MARKER:
                found[path.relative_to(folder).as_posix()] = file_sha256(path)
    return dict(sorted(found.items()))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read piece by piece."""
    state = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_CHUNK):
            state.update(piece)
    return state.hexdigest()


def marker_of(folder: Path) -> dict[str, Any]:
    """What the marker of ``folder`` holds; empty where there is none, or nothing like one."""
    found = _json(folder / MARKER)
    return found if isinstance(found, dict) else {}


def kind_of(path: Path) -> str | None:
    """What addax wrote the folder ``path`` as; None for any other folder."""
    kind = marker_of(path).get("kind")
    return kind if isinstance(kind, str) else None


def own_files(folder: Path) -> dict[str, str | None]:
    """Names of the files that addax wrote into ``folder``, the marker aside, with their checksums where they are known.

    Folders of earlier versions, whose marker has no list, are told by their manifest.
    """
    marker = marker_of(folder)
    if isinstance(files := marker.get("files"), dict):
        return {name: value if isinstance(value, str) else None for name, value in files.items()}
    own: dict[str, str | None] = dict.fromkeys(_BEFORE_LISTS.get(str(marker.get("kind")), ()))
    manifest = _json(folder / MANIFEST)
    if isinstance(manifest, dict):
        own[MANIFEST] = None
        if isinstance(files := manifest.get("files"), dict):
            own |= {name: value if isinstance(value, str) else None for name, value in files.items()}
        memories = manifest.get("memories")
        for entry in memories if isinstance(memories, list) else ():
            if isinstance(entry, dict) and isinstance(entry.get("file"), str):
                own.setdefault(entry["file"], None)
    return own


def to_keep(folder: Path, results: Mapping[str, str]) -> list[Kept]:
    """What is the user's in a folder that addax wrote.

    Parameters
    ----------
    results : kinds by name of folders inside that hold results of ``folder``: they go with it, but for what is the
        user's in them

    Raises
    ------
    UserError
        when there is something unknown in a folder of an earlier version, which kept no list of all its files.
    """
    found = list(_strange(folder, folder, "", own_files(folder)))
    listed = isinstance(marker_of(folder).get("files"), dict)
    kept: list[Kept] = []
    for entry in found:
        kind = results.get(entry.name)
        if kind is not None and kind_of(entry.source) == kind and not entry.source.is_symlink():
            kept += [
                Kept(
                    source=inner.source, name=f"{entry.name}/{inner.name}", edited=inner.edited,
                    inside=((entry.name, kind),),
                )
                for inner in to_keep(entry.source, {})
            ]  # fmt: skip
        elif not listed and not entry.edited:
            raise UserError(
                f"{folder} was written by an earlier version of addax, and {entry.name} in it may be yours: move that "
                "away, or name another folder with -o"
            )
        else:
            kept.append(entry)
    return kept


def bring_over(kept: list[Kept], new: Path, path: Path) -> list[str]:
    """Link what is ``kept`` of ``path`` into the folder ``new``, which will take its place.

    Returns
    -------
    what the user should know: which edited files were kept under which names

    Raises
    ------
    UserError
        when something that is the user's has the name of a new file; nothing has changed then.
    OSError
        when it can be neither linked nor copied.
    """
    told = []
    for entry in sorted(kept, key=lambda entry: entry.edited):  # names that are free are chosen last
        for name, kind in entry.inside:
            if not (new / name).is_dir():
                (new / name).mkdir()
                (new / name / MARKER).write_text(json.dumps({"kind": kind, "files": {}}, indent=2) + "\n")
        target = new / entry.name
        if not entry.edited:
            if os.path.lexists(target):
                raise UserError(
                    f"{path / entry.name} was not written by addax, and a new file of that name would take its place: "
                    "move it away, or name another folder with -o"
                )
            _link(entry.source, target)
        elif (free := _free_name(entry.source, target)) is not None:
            _link(entry.source, free)
            told.append(f"{path / entry.name} was edited; it is kept as {free.name}")
    return told


def _strange(root: Path, folder: Path, prefix: str, own: Mapping[str, str | None]) -> Iterator[Kept]:
    """What in ``folder``, a part of ``root``, is not as addax wrote it."""
    for path in sorted(folder.iterdir()):
        name = prefix + path.name
        if name == MARKER:
            continue
        if name in own:
            if not _is_as_written(path, own[name]):
                yield Kept(source=path, name=name, edited=True)
        elif any(other.startswith(f"{name}/") for other in own) and path.is_dir() and not path.is_symlink():
            yield from _strange(root, path, f"{name}/", own)
        else:
            yield Kept(source=path, name=name)


def _is_as_written(path: Path, checksum: str | None) -> bool:
    if not stat.S_ISREG(path.lstat().st_mode):
        return False
    return checksum is None or file_sha256(path) == checksum


def _free_name(source: Path, target: Path) -> Path | None:
    """Where an edited file is kept; None when it, or what it says as JSON, is there already."""
    if _same(source, target):
        return None
    name, number = target.with_name(target.name + EDITED), 1
    while os.path.lexists(name):
        if _same(source, name):
            return None
        number += 1
        name = target.with_name(f"{target.name}{EDITED}{number}")
    return name


def _same(one: Path, other: Path) -> bool:
    if not all(os.path.lexists(path) and stat.S_ISREG(path.lstat().st_mode) for path in (one, other)):
        return False
    if file_sha256(one) == file_sha256(other):
        return True
    value = _json(one)
    return value is not None and value == _json(other)


def _link(source: Path, target: Path) -> None:
    """Have ``source`` under a second name; a folder with everything in it. Copies where there are no links."""
    if source.is_mount():
        raise UserError(f"{source} is a mount point: unmount it, or name another folder with -o")
    if source.is_dir() and not source.is_symlink():
        target.mkdir()
        for inner in source.iterdir():
            _link(inner, target / inner.name)
        shutil.copystat(source, target)
        return
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _json(path: Path) -> Any:
    """JSON of a regular file; None for anything else."""
    with contextlib.suppress(OSError, ValueError):
        return parse_json(read_regular(path, limit=JSON_BYTES))
    return None
