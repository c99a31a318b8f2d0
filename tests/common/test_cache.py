"""The cache: one folder per key, made once, whole or not at all, also by several processes."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from addax.common.cache import cache_root, cached, digest

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
    assert [p.name for p in folder.iterdir()] == ["made"]


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
