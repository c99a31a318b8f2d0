"""Verbs ended by SIGTERM and SIGKILL at random moments, and that what looks at them sees what is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from addax.tests.bench import aftermath, kills

NAP = 300
"""Seconds; no test waits that long."""


@pytest.mark.slow
def test_verbs_that_are_ended_leave_nothing_and_the_next_run_is_right():
    """Six of the moments of `python -m tests.bench.kills`."""
    told = []
    names = ("train", "generate", "compile", "simulate", "kernels", "report")

    assert kills.campaign(1, 6, names, row=told.append) == 0, "\n".join(told)
    assert told[-1] == "6 moments, 0 wrong" and len(told) == 8


@pytest.fixture
def place(tmp_path):
    """Where a run of a verb that writes a folder and a file has been, with the user's notes."""
    for folder in ("cache", "scratch", "work/build"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "work" / "build" / "addax.json").write_text(json.dumps({"kind": "build", "files": {"net.v": ""}}))
    (tmp_path / "work" / "build" / "net.v").write_text("module net; endmodule")
    (tmp_path / "work" / "net.csv").write_text("epoch,seconds\n1,0.5\n")
    (tmp_path / "work" / kills.NOTES).write_text("mine")
    return tmp_path


@pytest.mark.parametrize(
    "harm, wrong",
    [
        (lambda work: None, []),
        (lambda work: (work / "net.csv").write_text("epoch,seconds\n1,7.5\n"), []),
        (lambda work: (work / "net.csv").unlink(), []),
        (lambda work: (work / "build" / "net.v").write_text("module"), ["build/net.v is not as it should be"]),
        (lambda work: (work / "build" / "net.v").unlink(), ["build/net.v is missing"]),
        (lambda work: (work / "notes.txt").unlink(), ["notes.txt is missing"]),
        (lambda work: (work / "notes.txt").write_text(""), ["notes.txt is not as it should be"]),
        (lambda work: (work / "core").touch(), ["core is not as it should be"]),
    ],
    ids=["nothing", "seconds", "absent", "torn", "half a folder", "user's gone", "user's changed", "strange"],
)
def test_half_a_result_is_seen(place, harm, wrong):
    """A file of another time is the same file; an absent one is allowed where nothing was before."""
    expected = aftermath.files_of(place / "work")
    whole = SimpleNamespace(case=SimpleNamespace(goes_on=False), folders=["build/"])
    moment = kills.Moment(number=signal.SIGTERM, group=True, earlier=False, delay=0.0)
    harm(place / "work")

    assert moment.standing(whole, place, expected) == wrong


def test_temporary_names_are_seen(place):
    assert aftermath.leftovers(place) == []
    (place / "cache" / ".in-use").touch()
    (place / "scratch" / "ccXY.s").touch()
    (place / "work" / ".build.01234567.addax-part").mkdir()
    (place / "work" / ".build.01234567.addax-part" / ".hidden").touch()

    assert sorted(aftermath.leftovers(place)) == [".build.01234567.addax-part", "ccXY.s"]


def test_processes_that_live_on_are_seen(place):
    environment = {**os.environ, "ADDAX_CACHE": f"{place}/cache"}
    with subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({NAP})"], env=environment) as process:
        try:
            end = time.monotonic() + NAP / 10
            while not aftermath.survivors(place):  # a new process has our environment until it begins
                assert time.monotonic() < end
        finally:
            process.kill()
    assert aftermath.survivors(place) == []
