"""The cache: one folder per key, made once, whole or not at all, also by several processes."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from addax.common import cache
from addax.common.cache import cache_root, cached, clear, digest, entries, limit_of, prune, reading
from addax.common.errors import UserError

PROCESS = """
import sys, time
from pathlib import Path
from addax.common.cache import cached

name, meeting = sys.argv[1], Path(sys.argv[2])

def make(folder):
    with (meeting / "makers").open("a") as stream:
        stream.write(name)
    (folder / "made").write_text(name)
    (meeting / f"{name}-is-making").touch()
    while not (meeting / "go").exists():
        time.sleep(0.01)

(meeting / f"{name}-starts").touch()
folder, hit = cached("kind", "key", make)
print((folder / "made").read_text(), hit)
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ADDAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def start(tmp_path, home):
    """Start a process that makes the key and waits in ``make`` until ``tmp_path/go`` exists."""
    processes = []

    def call(name):
        process = subprocess.Popen([sys.executable, "-c", PROCESS, name, tmp_path], stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield call
    for process in processes:
        process.kill()
        process.communicate()


def await_file(path):
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} did not appear"
        time.sleep(0.01)


def never(folder):
    raise AssertionError("made although it was there")


def write(folder):
    (folder / "made").write_text("first")


def test_folder_is_made_once(home):
    folder, hit = cached("kind", "key", write)
    assert (hit, (folder / "made").read_text()) == (False, "first")

    again, hit = cached("kind", "key", never)
    assert (hit, again) == (True, folder)
    assert folder == home / "kind" / "key"


def test_other_key_and_other_kind_are_other_folders(home):
    folders = {cached(kind, key, write) for kind in ("a", "b") for key in ("c", "d")}

    assert {folder for folder, _ in folders} == {home / kind / key for kind in "ab" for key in "cd"}
    assert not any(hit for _, hit in folders)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_after_an_exception(home, error):
    def broken(folder):
        (folder / "half").write_text("half")
        raise error

    with pytest.raises(error):
        cached("kind", "key", broken)

    assert not [p for p in (home / "kind").iterdir() if p.is_dir()]
    assert cached("kind", "key", write)[1] is False


def test_two_processes_make_one_folder(tmp_path, start):
    """The second waits while the first is making, then takes what the first has made."""
    first = start("first")
    await_file(tmp_path / "first-is-making")
    second = start("second")
    await_file(tmp_path / "second-starts")
    time.sleep(0.2)
    assert second.poll() is None, "the second process must wait for the first"
    assert not (tmp_path / "second-is-making").exists()

    (tmp_path / "go").touch()

    assert first.communicate(timeout=30)[0].split() == ["first", "False"]
    assert second.communicate(timeout=30)[0].split() == ["first", "True"]
    assert (tmp_path / "makers").read_text() == "first"


def test_killed_process_leaves_no_entry_and_no_lock(tmp_path, home, start):
    """Protects against a half-made folder that every later run would trust."""
    first = start("first")
    await_file(tmp_path / "first-is-making")
    first.send_signal(signal.SIGKILL)
    first.wait(timeout=30)
    assert not (home / "kind" / "key").exists()

    folder, hit = cached("kind", "key", write)

    assert (hit, (folder / "made").read_text()) == (False, "first")
    assert sorted(p.name for p in folder.iterdir()) == [".sums.json", "made"]
    assert [p.name for p in (home / "kind").iterdir()] == ["key"], "neither its lock nor its half-made folder is left"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"ADDAX_CACHE": "/a", "XDG_CACHE_HOME": "/x"}, "/a"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/addax"),
        ({"ADDAX_CACHE": "", "XDG_CACHE_HOME": ""}, "~/.cache/addax"),
        ({}, "~/.cache/addax"),
    ],
)
def test_cache_root_follows_the_environment(monkeypatch, environment, expected):
    for name in ("ADDAX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert cache_root() == Path(expected).expanduser()


def test_digest_sees_parts_and_their_borders():
    assert digest("a", "b") == digest(b"a", "b")
    different = [(), ("",), ("", ""), ("ab",), ("a", "b"), ("b", "a"), ("a", "b", ""), ("", "ab")]
    assert len({digest(*parts) for parts in different}) == len(different)


def test_digest_is_a_plain_folder_name():
    assert len(digest("anything")) == 32
    assert set(digest("anything")) <= set("0123456789abcdef")


def _change(folder):
    (folder / "made").write_text("forged")


def _cut(folder):
    (folder / "made").write_text("")


def _remove(folder):
    (folder / "made").unlink()


def _add(folder):
    (folder / "more").write_text("more")


def _lose_the_list(folder):
    (folder / ".sums.json").unlink()


def _break_the_list(folder):
    (folder / ".sums.json").write_text("[" * 100_000)


@pytest.mark.parametrize("damage", [_change, _cut, _remove, _add, _lose_the_list, _break_the_list])
def test_an_entry_that_is_not_as_it_was_written_is_made_anew(home, damage, capfd):
    """An edited count must not become a figure, and a damaged file not fail for ever."""
    folder, _ = cached("kind", "key", write)
    damage(folder)

    again, hit = cached("kind", "key", write)

    assert (hit, again, (again / "made").read_text()) == (False, folder, "first")
    assert sorted(p.name for p in again.iterdir()) == [".sums.json", "made"]
    assert ("was damaged; it is made anew" in capfd.readouterr().err) == (damage is not _lose_the_list)
    assert cached("kind", "key", never)[1]
    assert [p.name for p in (home / "kind").iterdir()] == ["key"]


def test_everything_is_on_the_disk_before_an_entry_has_its_name(home, monkeypatch):
    """After a loss of power there is no entry with empty files."""
    events = []
    synchronise, rename = os.fsync, Path.rename

    def fsync(handle):
        events.append(Path(f"/proc/self/fd/{handle}").resolve().name)
        synchronise(handle)

    def renamed(path, target):
        events.append(f"becomes {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", renamed)
    cached("kind", "key", write)

    named = events.index("becomes key")
    assert {"made", ".sums.json"} < set(events[:named])
    assert events[named + 1 :] == ["kind"]


def test_a_full_disk_is_one_line_and_leaves_nothing(home):
    def full(folder):
        (folder / "half").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"cannot write the cache .*: No space left on device; make room with"):
        cached("kind", "key", full)
    assert list((home / "kind").iterdir()) == []


def test_errors_that_have_nothing_to_do_with_the_cache_stay_what_they_are(home):
    with pytest.raises(FileNotFoundError):
        cached("kind", "key", lambda folder: Path("/nowhere/at/all").read_text())


@pytest.mark.parametrize("content", ["{", "[]", "null", '{"cells": 3}', "[" * 100_000, '{"cells": {"LUT4": "many"}}'])
def test_what_a_reader_does_not_expect_is_one_line(home, content):
    """Entries that verify hold what a tool wrote, which may be anything."""
    folder, _ = cached("kind", "key", lambda made: (made / "cells.json").write_text(content))

    with pytest.raises(UserError, match=r"key in the cache holds no counts as expected"), reading(folder, "counts"):
        sum(json.loads((folder / "cells.json").read_text())["cells"].values())


def _key(number):
    return digest(str(number))


def _fill(home, sizes):
    """Entries of these sizes, used so many days ago."""
    for number, (size, days) in enumerate(sizes):
        folder, _ = cached("kind", _key(number), lambda made, size=size: (made / "data").write_bytes(bytes(size)))
        os.utime(folder, (time.time() - days * 86400,) * 2)


def _left(home):
    return [k for k in range(10) if (home / "kind" / _key(k)).is_dir()]


def test_entries_are_pruned_by_age_and_by_size_the_longest_unused_first(home):
    _fill(home, [(1000, 40), (1000, 1), (1000, 20), (1000, 10)])
    assert [entry.path.name for entry in entries()] == [_key(0), _key(2), _key(3), _key(1)]

    assert [entry.path.name for entry in prune(unused_days=30)] == [_key(0)]
    assert _left(home) == [1, 2, 3]
    size = sum(entry.bytes for entry in entries())
    prune(most_bytes=size - 1)
    assert _left(home) == [1, 3], "the one that was not used for 20 days goes first"
    assert prune(most_bytes=size) == [] and prune(unused_days=30) == []
    cached("kind", _key(3), never)
    prune(unused_days=5)
    assert _left(home) == [1, 3], "it has just been used"


def test_clearing_removes_nothing_but_entries(home):
    """Somebody may have named a folder of his own as the cache."""
    _fill(home, [(10, 0), (10, 0)])
    (home / "thesis").mkdir()
    (home / "thesis" / "chapter.tex").write_text("years of work")
    (home / "kind" / "notes.txt").write_text("mine")
    (home / "empty").mkdir()

    assert len(clear()) == 2

    left = sorted(p.relative_to(home).as_posix() for p in home.rglob("*") if not p.name.startswith("."))
    assert left == ["CACHEDIR.TAG", "empty", "kind", "kind/notes.txt", "thesis", "thesis/chapter.tex"]
    assert entries() == [] and clear() == []


def test_no_cache_is_an_empty_cache(home):
    assert entries() == [] and clear() == [] and prune(unused_days=1) == []
    assert not home.exists()


def test_nothing_is_removed_under_a_run_that_uses_it(tmp_path, home, start):
    """Entries are read after they were found."""
    _fill(home, [(10, 0)])
    first = start("first")
    await_file(tmp_path / "first-is-making")

    with pytest.raises(UserError, match="another addax is using the cache"):
        clear()
    assert _left(home) == [0]

    (tmp_path / "go").touch()
    first.communicate(timeout=30)
    assert len(clear()) == 2


def test_the_next_run_removes_what_killed_runs_left_and_nothing_of_those_that_work(tmp_path, home, start):
    """Also of keys that nobody asks for again."""
    first = start("first")
    await_file(tmp_path / "first-is-making")
    (home / "kind" / "mine.txt").write_text("mine")
    cached("kind", "other", write)
    assert len(list((home / "kind").glob(".key.*"))) == 1, "its maker is at work"

    first.kill()
    first.wait(timeout=30)
    cached("kind", "third", write)

    assert sorted(p.name for p in (home / "kind").iterdir()) == ["key.lock", "mine.txt", "other", "third"]


def test_a_lock_file_that_was_removed_is_no_lock(home, monkeypatch):
    """Whoever waited for a lock whose file is gone must not work beside the holder of the new one."""
    (home / "kind").mkdir(parents=True)
    lock, flock, waits = home / "kind" / "key.lock", fcntl.flock, []

    def slow(handle, how):
        if how == fcntl.LOCK_EX and Path(f"/proc/self/fd/{handle}").resolve() == lock and not waits:
            waits.append(handle)
            lock.unlink()
        return flock(handle, how)

    monkeypatch.setattr(cache.fcntl, "flock", slow)
    cached("kind", "key", lambda folder: waits.append(lock.exists()))

    assert waits[1:] == [True]


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("30d", {"unused_days": 30}), ("0.5D", {"unused_days": 0.5}), ("5GB", {"most_bytes": 5_000_000_000}),
        ("1.5 mb", {"most_bytes": 1_500_000}), ("0kB", {"most_bytes": 0}),
    ],
)  # fmt: skip
def test_limits_are_days_or_sizes(text, limit):
    assert limit_of(text) == limit


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "nand", "1e3d", "5 G B", "infd", "9" * 400 + "d"])
def test_other_limits_are_refused(text):
    with pytest.raises(UserError, match="--prune wants days or a size, such as 30d or 5GB"):
        limit_of(text)
