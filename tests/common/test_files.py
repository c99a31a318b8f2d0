"""Files that appear whole or not at all, with the mode, the text and the checksum asked for."""

import hashlib
import os
import stat
from pathlib import Path

import pytest
from addax.common.errors import UserError
from addax.common.files import atomic_directory, copy_file, sha256_of, write_bytes, write_json, write_text
from addax.common.reading import read_json
from trees import fill, names, tree


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
