"""Folders that appear whole or not at all, and never in place of something foreign."""

import contextlib
import json
import stat
from pathlib import Path

import pytest
from addax.common.errors import UserError
from addax.common.files import atomic_directory, sha256_of
from trees import fill, names


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
