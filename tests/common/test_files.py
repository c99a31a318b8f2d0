"""Files and folders that appear whole or not at all, and never in place of something foreign."""

import contextlib
import hashlib
import json
import os
import stat
from pathlib import Path

import pytest
from addax.common.errors import UserError
from addax.common.files import atomic_directory, sha256_of, write_bytes, write_json, write_text
from addax.common.reading import read_json


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
    assert json.loads((tmp_path / "deep" / "out" / "addax.json").read_text()) == {"kind": "build"}


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
    fill(tmp_path / "out", text="old")
    (tmp_path / "out" / "left over").write_text("from the first run")

    fill(tmp_path / "out", text="new")

    assert names(tmp_path / "out") == ["addax.json", "data.txt"]
    assert (tmp_path / "out" / "data.txt").read_text() == "new"


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
@pytest.mark.parametrize("step", ["chmod", "replace"])
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

    with (
        monkeypatch.context() as patch,
        pytest.raises(UserError, match=r"cannot write .*file: No space left on device"),
    ):
        patch.setattr(os, "replace", full)
        write_bytes(tmp_path / "file", b"new")

    assert names(tmp_path) == []


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


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00"], ids=["empty", "cut", "binary"])
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
