"""Tools end with whoever started them, with all that they started, however that ends."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from addax.common.errors import UserError
from addax.common.executor import all_results
from addax.common.processes import Ended, end_tools, run_process, run_tool, stop_all

NAP = 300
"""Seconds; no test waits that long."""


def shell(text):
    return ["/bin/sh", "-c", text]


def working_in(folder):
    """Commands of processes whose folder is ``folder``."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if Path(os.readlink(entry / "cwd")) == folder:  # noqa: PTH115  readlink of Path strips nothing either
                found[int(entry.name)] = (entry / "cmdline").read_bytes().split(b"\0")[0].decode()
    return found


def until(condition, what):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def naps(folder):
    return [command for command in working_in(folder).values() if command == "sleep"]


def test_output_and_status_come_back(tmp_path):
    assert run_process(shell("pwd; echo bad >&2; exit 3"), tmp_path) == (3, f"{tmp_path}\nbad\n")
    assert run_process(shell("echo good; echo bad >&2"), tmp_path, errors=False) == (0, "good\n")
    assert run_process(["cat"], tmp_path, given="one\n" * 100_000) == (0, "one\n" * 100_000)
    assert run_process(["cat"], tmp_path) == (0, ""), "nothing is read from the terminal"
    assert run_process(shell("sleep 0.5; cat"), tmp_path, given="late") == (0, "late")
    many = "more than a pipe holds\n" * 10_000
    assert run_process(shell("sleep 0.5; cat"), tmp_path, given=many) == (0, many)
    assert run_process(["printenv", "ONLY"], tmp_path, environment={"ONLY": "this"}) == (0, "this\n")
    assert run_process(shell("kill -TERM $$"), tmp_path) == (-signal.SIGTERM, "")
    assert run_process(["printf", r"\377"], tmp_path) == (0, "\ufffd")
    with (tmp_path / "log").open("w+") as log:
        assert run_process(shell("echo bad >&2"), tmp_path, log=log) == (0, "")
    assert (tmp_path / "log").read_text() == "bad\n"


def test_what_cannot_be_started_is_told_as_such(tmp_path):
    (tmp_path / "plain").write_text("")
    with pytest.raises(FileNotFoundError):
        run_process(["no-such-tool"], tmp_path)
    with pytest.raises(PermissionError):
        run_process([str(tmp_path / "plain")], tmp_path)
    with pytest.raises(UserError, match=r"cannot run nextpnr \(no-such-tool\): No such file or directory"):
        run_tool(["no-such-tool"], tmp_path, "nextpnr")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("printf 'a\n\nb\nc\nd\ne\n'; exit 1", r"yosys failed: b | c | d | e"),
        ("exit 7", "yosys failed: exit status 7"),
        ("kill -KILL $$", "yosys was killed (SIGKILL); perhaps for its memory"),
        ("kill -SEGV $$", "yosys was killed (SIGSEGV)"),
        ("exit 137", "yosys was killed (SIGKILL); perhaps for its memory"),
        ("echo std::bad_alloc; exit 1", "yosys failed: out of memory"),
    ],
)
def test_a_tool_that_fails_is_one_line(tmp_path, script, message):
    with pytest.raises(UserError) as caught:
        run_tool(shell(script), tmp_path, "yosys")
    assert str(caught.value) == message


def test_what_a_tool_leaves_running_ends_with_it(tmp_path):
    """As the compilers of a make that was killed."""
    begin = time.monotonic()
    status, _ = run_process(shell(f"sleep {NAP} & exit 0"), tmp_path)

    assert status == 0 and time.monotonic() - begin < NAP / 10
    until(lambda: not working_in(tmp_path), "processes left")


PARENT = """
import sys, threading
from pathlib import Path
from addax.common.processes import run_tool
from addax.cli import main

def work():
    run_tool(["/bin/sh", "-c", sys.argv[2]], Path(sys.argv[1]), "tool")

if sys.argv[3] == "thread":
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
else:
    work()
"""


@pytest.mark.parametrize("where", ["main", "thread"])
@pytest.mark.parametrize("stubborn", [False, True])
def test_tools_and_what_they_started_die_with_addax_even_by_sigkill(tmp_path, where, stubborn):
    """A tool may ignore every signal that can be ignored, and its children may, too."""
    deaf = "trap '' INT TERM HUP; " if stubborn else ""
    script = f"{deaf}sleep {NAP} & sleep {NAP}; true"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), script, where])
    try:
        until(lambda: len(naps(tmp_path)) == 2, "the tool does not begin")
        parent.kill()
        parent.wait()
        until(lambda: not working_in(tmp_path), "processes left")
    finally:
        parent.kill()
        parent.wait()


def test_a_tool_whose_keeper_is_killed_ends_and_fails(tmp_path):
    def kill_the_keeper():
        until(lambda: naps(tmp_path), "the tool does not begin")
        (keeper,) = (number for number, command in working_in(tmp_path).items() if "python" in command)
        os.kill(keeper, signal.SIGKILL)

    killer = threading.Thread(target=kill_the_keeper)
    killer.start()
    with pytest.raises(UserError, match=r"tool was killed \(SIGKILL\)"):
        run_tool(["sleep", str(NAP)], tmp_path, "tool")
    killer.join()
    until(lambda: not working_in(tmp_path), "processes left")


def test_a_tool_that_nobody_wants_any_more_is_ended(tmp_path):
    leash = tmp_path / "leash"
    leash.touch()
    threading.Timer(0.3, leash.unlink).start()

    assert run_process(["sleep", str(NAP)], tmp_path, wanted=leash.exists) == (-signal.SIGKILL, "")


def test_tools_of_other_threads_can_be_ended(tmp_path):
    """And those threads hear of an interrupt, not of a tool that failed."""
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(run_tool, ["sleep", str(NAP)], tmp_path, "tool") for _ in range(2)]
        until(lambda: len(naps(tmp_path)) == 2, "the tools do not begin")
        end_tools()
        for job in jobs:
            with pytest.raises(Ended):
                job.result(timeout=30)


LITTERING = f"mktemp; sleep {NAP}"
"""A tool that leaves a temporary file when it is killed, as compilers and yosys do."""


def test_what_a_tool_that_is_ended_leaves_is_removed(tmp_path, monkeypatch):
    """Protects the system's temporary folder, where nobody else knows the names."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(run_tool, shell(LITTERING), tmp_path, "tool", environment={"PATH": os.environ["PATH"]})
        until(lambda: list(tmp_path.glob("addax-tool-*/tmp*")), "the tool does not begin")
        end_tools()
        with pytest.raises(Ended):
            job.result(timeout=30)

    assert list(tmp_path.iterdir()) == []


def test_the_next_tool_removes_what_was_left_when_addax_was_killed(tmp_path, monkeypatch):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), LITTERING, "main"], env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    try:
        until(lambda: list(tmp_path.glob("addax-tool-*/tmp*")), "the tool does not begin")
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not working_in(tmp_path), "processes left")
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    assert run_tool(["true"], tmp_path, "tool") == ""
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_ends_tools_that_begin_after_it_as_well(tmp_path):
    def three_tools():
        for _ in range(3):
            with contextlib.suppress(Ended):
                run_tool(["sleep", str(NAP)], tmp_path, "tool")

    with ThreadPoolExecutor(1) as pool:
        jobs = [pool.submit(three_tools), pool.submit(run_tool, ["sleep", str(NAP)], tmp_path, "tool")]
        until(lambda: naps(tmp_path), "the tool does not begin")
        stop_all(jobs)
        assert jobs[0].done() and jobs[1].cancelled()


def test_an_interrupted_wait_for_many_tools_does_not_wait_for_them(tmp_path):
    """Tools are in sessions of their own, so Ctrl-C in the terminal does not reach them."""

    def interrupted(done):
        raise KeyboardInterrupt

    def run(script):
        return lambda: run_tool(shell(script), tmp_path, "tool")

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        all_results([run("true"), *[run(f"sleep {NAP}")] * 3], threads=2, progress=interrupted)
    assert time.monotonic() - begin < NAP / 10
    assert not working_in(tmp_path)
