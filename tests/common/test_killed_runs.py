"""A run that is killed between any two steps loses nothing, and the next run removes what it left."""

import errno
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from addax.common import files
from addax.common.errors import UserError
from addax.common.files import atomic_directory, write_bytes
from addax.common.temporary import scratch_folder
from trees import fill, names, tree


@pytest.mark.parametrize("together", [True, False])
def test_old_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch, together):
    """Also on file systems that cannot exchange two names at once."""
    fill(tmp_path / "out", text="old")
    rename = Path.rename

    def refusing(path, target):
        if target == tmp_path / "out" and path.name.endswith("-part"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    if not together:
        monkeypatch.setattr(files, "_swapped", lambda one, other: False)
        with monkeypatch.context() as patch, pytest.raises(UserError, match=r"cannot replace folder .*out"):
            patch.setattr(Path, "rename", refusing)
            fill(tmp_path / "out", text="new")
        assert tree(tmp_path / "out") == {"data.txt": "old"}
    fill(tmp_path / "out", text="new")
    assert tree(tmp_path / "out") == {"data.txt": "new"}
    assert names(tmp_path) == ["out"]


DYING = """
import os, signal, sys
from pathlib import Path
from addax.common import files, temporary

what, path = sys.argv[1], Path(sys.argv[2])
die = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
if what == "file":
    os.replace = die
    files.write_bytes(path, b"new")
elif what == "scratch":
    with temporary.scratch_folder("test") as folder:
        (folder / "data").write_text("")
        die()
else:
    if what == "between":
        rename = Path.rename
        files._swapped = lambda one, other: False
        Path.rename = lambda path, target: die() if path.name.endswith("-part") else rename(path, target)
    with files.atomic_directory(path, "build") as folder:
        (folder / "data.txt").write_text("new")
        if what == "folder":
            die()
"""


def die(*arguments, **environment):
    done = subprocess.run([sys.executable, "-c", DYING, *arguments], env={**os.environ, **environment}, check=False)
    assert done.returncode == -signal.SIGKILL


def test_the_next_run_removes_what_a_killed_one_left(tmp_path):
    """And nothing else: neither what looks alike, nor what another run is writing right now."""
    for path in (tmp_path / "out", tmp_path / "file"):
        (tmp_path / f".{path.name}.mine.addax-part").write_text("mine")
        (tmp_path / f".{path.name}.0123abcd").write_text("mine")
    mine = names(tmp_path)
    die("folder", tmp_path / "out")
    die("file", tmp_path / "file")
    assert len(names(tmp_path)) == len(mine) + 2
    assert not (tmp_path / "out").exists() and not (tmp_path / "file").exists()

    with atomic_directory(tmp_path / "out", "build") as folder:
        (folder / "data.txt").write_text("slow")
        fill(tmp_path / "out", text="quick")
        assert folder.is_dir() and names(tmp_path) == sorted([*mine, folder.name, "out", _left(tmp_path, ".file")])
    write_bytes(tmp_path / "file", b"new")

    assert names(tmp_path) == sorted([*mine, "file", "out"])
    assert tree(tmp_path / "out") == {"data.txt": "slow"}


def _left(folder, prefix):
    (found,) = (name for name in names(folder) if re.fullmatch(rf"\{prefix}\.[0-9a-f]{{8}}\.addax-part", name))
    return found


def test_a_run_that_is_killed_between_two_names_loses_nothing(tmp_path):
    fill(tmp_path / "out", text="old")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    die("between", tmp_path / "out")
    assert not (tmp_path / "out").exists()

    with pytest.raises(RuntimeError), atomic_directory(tmp_path / "out", "build"):
        assert tree(tmp_path / "out") == {"data.txt": "old", "notes.txt": "mine"}
        raise RuntimeError

    assert names(tmp_path) == ["out"]


def test_scratch_folders_of_killed_runs_are_removed_by_the_next(tmp_path, monkeypatch):
    """They hold images and waveforms, and would fill the disk."""
    die("scratch", tmp_path / "out", TMPDIR=str(tmp_path))
    assert len(names(tmp_path)) == 1
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    with scratch_folder("test") as one, scratch_folder("test") as other, scratch_folder("more") as third:
        assert sorted([one, other, third]) == sorted(tmp_path.iterdir())
    assert names(tmp_path) == []

    with pytest.raises(UserError, match=r"cannot write below .*: No space left on device; TMPDIR"), scratch_folder("x"):
        raise OSError(errno.ENOSPC, "No space left on device")
