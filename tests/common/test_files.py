"""Files and folders that appear whole or not at all, and never in place of something foreign."""

import contextlib
import errno
import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from addax.common import files
from addax.common.errors import UserError
from addax.common.files import atomic_directory, copy_file, sha256_of, write_bytes, write_json, write_text
from addax.common.reading import read_json
from addax.common.temporary import scratch_folder


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def fill(path, kind="build", text="new"):
    with atomic_directory(path, kind) as folder:
        (folder / "data.txt").write_text(text)


@pytest.fixture
def denied(monkeypatch):
    """Make the operating system say that nothing may be written, also when the tests run as root."""
    monkeypatch.setattr(os, "access", lambda path, mode, **options: False)


def test_folder_appears_with_its_contents_and_kind(tmp_path):
    fill(tmp_path / "deep" / "out")

    assert names(tmp_path / "deep") == ["out"]
    assert names(tmp_path / "deep" / "out") == ["addax.json", "data.txt"]
    marker = json.loads((tmp_path / "deep" / "out" / "addax.json").read_text())
    assert marker == {"kind": "build", "files": {"data.txt": sha256_of(b"new")}}


def test_folder_is_not_there_before_the_block_ends(tmp_path):
    with atomic_directory(tmp_path / "out", "build") as folder:
        assert not (tmp_path / "out").exists()
        assert folder.is_dir() and not names(folder)


def test_folder_can_be_read_by_others(tmp_path):
    """The temporary folder is private; what is left must not be."""
    fill(tmp_path / "out")

    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o755


def test_relative_path_is_taken_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(Path("out"))

    assert names(tmp_path) == ["out"]


def test_folder_of_the_same_kind_is_replaced_whole(tmp_path):
    with atomic_directory(tmp_path / "out", "build") as folder:
        (folder / "data.txt").write_text("old")
        (folder / "left over").write_text("from the first run")
        (folder / "part").mkdir()
        (folder / "part" / "more.txt").write_text("from the first run")

    fill(tmp_path / "out", text="new")

    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["addax.json", "data.txt"]
    assert (tmp_path / "out" / "data.txt").read_text() == "new"


def tree(folder):
    """Everything below ``folder``, the marker aside: contents of files, where links lead, None for a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = str(path.readlink()) if path.is_symlink() else None if path.is_dir() else path.read_text()
        found[path.relative_to(folder).as_posix()] = content
    found.pop("addax.json", None)
    return found


def test_what_is_the_users_in_a_replaced_folder_stays(tmp_path):
    """Notes, scripts and whole folders beside the results of an earlier run are nobody's to delete."""
    out = tmp_path / "out"
    fill(out, text="old")
    (out / "notes.txt").write_text("mine")
    os.utime(out / "notes.txt", (1e9, 1e9))
    (out / "sim" / "empty").mkdir(parents=True)
    (out / "sim" / "run.sh").write_text("#!/bin/sh")
    (out / "sim" / "run.sh").chmod(0o750)
    (out / "sim" / "latest").symlink_to("run.sh")
    (out / "nowhere").symlink_to("gone")
    number = (out / "notes.txt").stat().st_ino

    for text in ("new", "newer"):
        fill(out, text=text)

        assert tree(out) == {
            "data.txt": text, "notes.txt": "mine", "sim": None, "sim/empty": None, "sim/run.sh": "#!/bin/sh",
            "sim/latest": "run.sh", "nowhere": "gone",
        }  # fmt: skip
        assert ((out / "notes.txt").stat().st_mtime, (out / "notes.txt").stat().st_ino) == (1e9, number)
        assert stat.S_IMODE((out / "sim" / "run.sh").stat().st_mode) == 0o750
        assert names(tmp_path) == ["out"]


def test_what_is_the_users_stays_where_there_are_no_hard_links(tmp_path, monkeypatch):
    fill(tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")

    def refused(*arguments, **options):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    fill(tmp_path / "out")

    assert tree(tmp_path / "out") == {"data.txt": "new", "notes.txt": "mine"}


def test_what_the_user_puts_there_while_addax_works_stays(tmp_path):
    fill(tmp_path / "out")

    with atomic_directory(tmp_path / "out", "build") as folder:
        (folder / "data.txt").write_text("new")
        (tmp_path / "out" / "notes.txt").write_text("mine")

    assert tree(tmp_path / "out") == {"data.txt": "new", "notes.txt": "mine"}


@pytest.mark.parametrize("make", [lambda path: path.write_text("mine"), lambda path: path.mkdir()])
def test_a_new_file_never_takes_the_place_of_one_of_the_users(tmp_path, make):
    fill(tmp_path / "out", text="old")
    make(tmp_path / "out" / "more.txt")
    before = tree(tmp_path / "out")

    with (
        pytest.raises(UserError, match=r"out/more\.txt was not written by addax, and a new file of that name"),
        atomic_directory(tmp_path / "out", "build") as folder,
    ):
        (folder / "data.txt").write_text("new")
        (folder / "more.txt").write_text("new")

    assert tree(tmp_path / "out") == before
    assert names(tmp_path) == ["out"]


def test_an_edited_file_is_kept_beside_the_new_one_and_told(tmp_path, capfd):
    """Whoever edits a result in place must not lose the hours that it took."""
    out = tmp_path / "out"
    fill(out, text="old")
    (out / "data.txt").write_text("edited once")
    fill(out)
    assert tree(out) == {"data.txt": "new", "data.txt.edited": "edited once"}
    assert "out/data.txt was edited; it is kept as data.txt.edited" in capfd.readouterr().err

    (out / "data.txt").write_text("edited once")
    fill(out)
    assert tree(out) == {"data.txt": "new", "data.txt.edited": "edited once"}, "the same is kept once"

    (out / "data.txt").unlink()
    (out / "data.txt").symlink_to("data.txt.edited")
    fill(out, text="newer")
    assert tree(out) == {"data.txt": "newer", "data.txt.edited": "edited once", "data.txt.edited2": "data.txt.edited"}


def test_an_edited_file_that_the_new_one_agrees_with_is_gone(tmp_path):
    """``generate --plan build/plan.json -o build`` writes what was edited, perhaps in another layout."""
    with atomic_directory(tmp_path / "out", "build") as folder:
        write_json(folder / "plan.json", {"pe": 1, "simd": 2})
    (tmp_path / "out" / "plan.json").write_text('{"simd": 2, "pe": 4}')

    with atomic_directory(tmp_path / "out", "build") as folder:
        write_json(folder / "plan.json", {"pe": 4, "simd": 2})

    assert names(tmp_path / "out") == ["addax.json", "plan.json"]


def test_results_of_what_is_replaced_go_with_it_but_for_what_is_the_users(tmp_path):
    """A report of the old build would be taken for one of the new."""
    out = tmp_path / "out"
    fill(out)
    for name, kind in {"report": "report", "board": "bitstream", "kept": "report", "other": "build"}.items():
        fill(out / name, kind=kind, text=name)
    (out / "report" / "notes.txt").write_text("mine")
    (out / "report" / "data.txt").write_text("edited")
    results = {"report": "report", "board": "bitstream"}

    with atomic_directory(out, "build", results=results) as folder:
        (folder / "data.txt").write_text("new")

    assert set(tree(out)) == {
        "data.txt", "report", "report/addax.json", "report/notes.txt", "report/data.txt.edited", "kept",
        "kept/addax.json", "kept/data.txt", "other", "other/addax.json", "other/data.txt",
    }  # fmt: skip

    fill(out / "report", kind="report", text="of the new build")
    assert names(out / "report") == ["addax.json", "data.txt", "data.txt.edited", "notes.txt"]


def before_lists(path, kind, extra=()):
    """A folder as earlier versions wrote it."""
    path.mkdir()
    (path / "addax.json").write_text(json.dumps({"kind": kind}))
    files = {"report.html": "", "report.json": "{}"} if kind == "report" else {"data.txt": "old", "a.mem": "0"}
    for name, text in (files | dict.fromkeys(extra, "mine")).items():
        (path / name).write_text(text)
    if kind != "report":
        manifest = {"files": {"data.txt": sha256_of(b"old")}, "memories": [{"file": "a.mem"}]}
        (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("kind", ["build", "report"])
def test_folder_of_an_earlier_version_is_replaced_or_refused(tmp_path, kind):
    """Its marker lists no files; what is not known for certain to be addax's may be the user's."""
    before_lists(tmp_path / "known", kind)
    fill(tmp_path / "known", kind=kind)
    assert names(tmp_path / "known") == ["addax.json", "data.txt"]

    before_lists(tmp_path / "strange", kind, extra=["notes.txt"])
    before = tree(tmp_path / "strange")
    with pytest.raises(
        UserError, match=r"strange was written by an earlier version of addax, and notes\.txt in it may"
    ):
        fill(tmp_path / "strange", kind=kind)
    assert tree(tmp_path / "strange") == before


@pytest.mark.parametrize("files", [[], "all", {"../secret.txt": "0", "/etc": 3, "data.txt": None}])
def test_a_strange_list_in_a_marker_deletes_nothing_of_the_users(tmp_path, files):
    fill(tmp_path / "out")
    (tmp_path / "secret.txt").write_text("mine")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "out" / "addax.json").write_text(json.dumps({"kind": "build", "files": files}))

    with contextlib.suppress(UserError):
        fill(tmp_path / "out")

    assert (tmp_path / "secret.txt").read_text() == (tmp_path / "out" / "notes.txt").read_text() == "mine"


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


def test_empty_folder_is_filled(tmp_path):
    (tmp_path / "out").mkdir()

    fill(tmp_path / "out")

    assert names(tmp_path / "out") == ["addax.json", "data.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after_an_exception(tmp_path, error):
    with pytest.raises(error), atomic_directory(tmp_path / "out", "build") as folder:
        (folder / "half.txt").write_text("half")
        raise error

    assert names(tmp_path) == []


def test_earlier_folder_survives_an_exception(tmp_path):
    fill(tmp_path / "out", text="old")

    with pytest.raises(RuntimeError, match="boom"), atomic_directory(tmp_path / "out", "build"):
        raise RuntimeError("boom")

    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "data.txt").read_text() == "old"


def test_current_folder_is_replaced_or_refused_but_never_lost(tmp_path, monkeypatch):
    """``-o .`` inside an earlier build must not cost the user that build."""
    fill(tmp_path / "out", text="old")
    monkeypatch.chdir(tmp_path / "out")

    with contextlib.suppress(UserError):
        fill(Path(), text="new")

    assert (tmp_path / "out" / "data.txt").read_text() in ("old", "new")


@pytest.mark.parametrize("dangling", [False, True])
def test_link_to_a_folder_is_followed_or_refused(tmp_path, dangling):
    """A link in place of the output folder must not end in a traceback."""
    if not dangling:
        fill(tmp_path / "real", text="old")
    (tmp_path / "out").symlink_to("real")

    try:
        fill(tmp_path / "out", text="new")
    except UserError as error:
        assert "out" in str(error)
    else:
        assert (tmp_path / "out" / "data.txt").read_text() == "new"

    assert not [name for name in names(tmp_path) if name.startswith(".")]


def test_file_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "out").write_text("mine")

    with pytest.raises(UserError, match=r"out is a file; expected the name of a folder"):
        fill(tmp_path / "out")

    assert (tmp_path / "out").read_text() == "mine"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(
    "marker",
    [None, b"", b"{", b"[]", b"\xff\xfe", b'{"kind": "report"}', b"{}"],
    ids=["none", "empty", "broken", "list", "binary", "other-kind", "no-kind"],
)
def test_foreign_folder_is_left_alone(tmp_path, marker):
    """Protects a user's folder from ``-o`` with a wrong name."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    if marker is not None:
        (tmp_path / "out" / "addax.json").write_bytes(marker)

    with pytest.raises(UserError, match=r"out is not an addax build folder; it is left alone"):
        fill(tmp_path / "out")

    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"
    assert names(tmp_path) == ["out"]


def test_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match=r"cannot create folder .*file"):
        fill(tmp_path / "file" / "out")


def test_folder_in_an_unwritable_folder_is_refused(tmp_path, denied):
    with pytest.raises(UserError, match=r"cannot write to folder .*permission denied"):
        fill(tmp_path / "out")

    assert names(tmp_path) == []


def test_file_is_replaced(tmp_path):
    write_bytes(tmp_path / "deep" / "file", b"old")
    write_bytes(tmp_path / "deep" / "file", b"new")

    assert (tmp_path / "deep" / "file").read_bytes() == b"new"
    assert names(tmp_path / "deep") == ["file"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_file_has_the_mode_that_the_umask_asks_for(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "file", b"")
        assert os.umask(umask) == umask, "the umask itself must be left as it was"
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step, error):
    write_bytes(tmp_path / "file", b"old")

    def interrupted(*arguments, **options):
        raise error

    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr(os, step, interrupted)
        write_bytes(tmp_path / "file", b"new")

    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_full_disk_is_told_in_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    for step in ("fsync", "replace"):
        with (
            monkeypatch.context() as patch,
            pytest.raises(UserError, match=r"cannot write .*file: No space left on device"),
        ):
            patch.setattr(os, step, full)
            write_bytes(tmp_path / "file", b"new")
        assert names(tmp_path) == []

    fill(tmp_path / "out", text="old")
    for write in (write_text, Path.write_text):
        with (
            monkeypatch.context() as patch,
            pytest.raises(UserError, match=r"cannot write .*/out(/\w+\.\w+)?: No space left on device"),
            atomic_directory(tmp_path / "out", "build") as folder,
        ):
            patch.setattr(os, "fsync", full)
            write(folder / "data.txt", "new")
        assert names(tmp_path) == ["out"] and tree(tmp_path / "out") == {"data.txt": "old"}


def test_devices_and_pipes_are_neither_read_nor_replaced(tmp_path):
    """``-o /dev/null`` must not replace the device, and a pipe that nobody writes to would be waited for, for ever."""
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(UserError, match="pipe is not a regular file"):
        write_bytes(tmp_path / "pipe", b"")
    with pytest.raises(UserError, match=r"cannot read build plan .*pipe: it is a named pipe, not a regular file"):
        read_json(tmp_path / "pipe", "build plan")
    fill(tmp_path / "out")
    (tmp_path / "out" / "addax.json").unlink()
    os.mkfifo(tmp_path / "out" / "addax.json")
    with pytest.raises(UserError, match="is not an addax build folder"):
        fill(tmp_path / "out")

    assert (tmp_path / "pipe").is_fifo()


def test_a_link_to_a_file_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to("file")

    write_bytes(tmp_path / "link", b"new")

    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_bytes() == b"new"


def test_a_file_is_copied_whole_or_not_at_all(tmp_path):
    (tmp_path / "from").write_bytes(b"wave" * 100_000)

    copy_file(tmp_path / "from", tmp_path / "deep" / "to")

    assert (tmp_path / "deep" / "to").read_bytes() == b"wave" * 100_000
    with pytest.raises(FileNotFoundError):
        copy_file(tmp_path / "gone", tmp_path / "deep" / "to")
    assert names(tmp_path / "deep") == ["to"]


def test_writing_over_a_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is a folder; expected the name of a file"):
        write_bytes(tmp_path, b"")


def test_writing_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match=r"cannot create folder .*file"):
        write_bytes(tmp_path / "file" / "out", b"")


def test_writing_into_an_unwritable_folder_is_refused(tmp_path, denied):
    with pytest.raises(UserError, match=r"cannot write to folder .*permission denied"):
        write_bytes(tmp_path / "file", b"")


def test_text_is_utf8_and_json_comes_back(tmp_path):
    write_text(tmp_path / "text", "×µ")
    write_json(tmp_path / "json", {"a": [1, 2.5, None]})

    assert (tmp_path / "text").read_bytes() == "×µ".encode()
    assert read_json(tmp_path / "json", "manifest") == {"a": [1, 2.5, None]}
    assert (tmp_path / "json").read_text().endswith("}\n")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe\x00", b"[" * 200_000], ids=["empty", "cut", "binary", "deep"]
)
def test_broken_json_is_named_with_what_it_should_be(tmp_path, content):
    (tmp_path / "plan.json").write_bytes(content)

    with pytest.raises(UserError, match=r"plan\.json is not a build plan"):
        read_json(tmp_path / "plan.json", "build plan")


def test_missing_json_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot read build plan .*gone\.json: No such file"):
        read_json(tmp_path / "gone.json", "build plan")


def test_sha256_is_that_of_the_standard():
    assert sha256_of(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(b"") == hashlib.sha256().hexdigest()


def test_user_error_is_one_line_whatever_it_is_made_of():
    error = UserError("first\n  second\t third\n", exit_code=3)

    assert str(error) == "first second third"
    assert error.exit_code == 3
    assert UserError("plain").exit_code == 1
