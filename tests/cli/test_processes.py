"""The command line as a process: an interrupt leaves neither a simulator nor half a file; the demo."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from marks import GUARD, guarded

ADDAX = [sys.executable, "-m", "addax.cli"]


def heed_interrupts():
    """In a new process: tests that run in the background of a shell hand on that they ignore interrupts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("whom", guarded(["group", "main", "killed"], "main", "killed"))
def test_no_simulator_outlives_an_interrupt(run, build, tmp_path, whom):
    """Two simulators at work; Ctrl-C in the terminal, a signal to addax alone, and its sudden death."""
    assert run("simulate", build, "--data", "digits", "--images", "1")[0] == 0  # compiled, so that simulators start
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [*ADDAX, "simulate", str(build), "--data", "digits", "--stall", "99", "--jobs", "2"],
        env={**os.environ, "TMPDIR": str(scratch)}, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True, text=True, preexec_fn=heed_interrupts,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while len(list(scratch.glob("*/*/ends.mem"))) < 2:
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.1)
        if whom == "group":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT if whom == "main" else signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        assert process.returncode == (-signal.SIGKILL if whom == "killed" else 130), err
        if whom != "killed":
            assert err.strip() == "addax: interrupted"
            assert list(scratch.iterdir()) == []
        deadline = time.monotonic() + 20
        while left := _working_in(scratch):
            assert time.monotonic() < deadline, left
            time.sleep(0.1)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _working_in(folder):
    """Processes whose folder is below ``folder``, or was before it vanished."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if str(entry.readlink()).startswith(str(folder)):
                found.append(entry.parent.name)
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "lenet5", "--epochs", "500", "-o", "c.safetensors"],
        pytest.param(["simulate", "BUILD", "--data", "digits", "--stall", "0.9"], marks=GUARD),
        pytest.param(["demo", "-o", "demo"], marks=GUARD),
    ],
    ids=["train", "simulate", "demo"],
)
def test_an_interrupt_ends_with_130_and_leaves_nothing_half_written(build, tmp_path, arguments):
    """Ctrl-C reaches the whole process group, as from a terminal."""
    environment = {**os.environ, "ADDAX_CACHE": str(tmp_path / "cache")}
    work = tmp_path / "work"
    work.mkdir()
    process = subprocess.Popen(
        [*ADDAX, *[{"BUILD": str(build)}.get(a, a) for a in arguments]], cwd=work, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True,
        preexec_fn=heed_interrupts,
    )  # fmt: skip
    time.sleep(6)
    assert process.poll() is None, process.communicate()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert [p for p in work.rglob("*") if p.name.startswith(".")] == []
    assert not (work / "c.safetensors").exists()
    caches = [p for p in Path(environment["ADDAX_CACHE"]).rglob("*") if p.is_dir() and p.name.startswith(".")]
    assert caches == []


def test_the_status_of_an_interrupt_is_ours_wherever_it_came(tmp_path):
    """Python remembers an interrupt that passed through an `exec`, and ends by the signal as if none had caught it."""
    (tmp_path / "interrupted.py").write_text(
        "import importlib, sys\n"
        "way = importlib.import_module('addax.cli.main')\n"
        "def verb(**given): exec('raise KeyboardInterrupt')\n"
        "way.cli.main = verb\n"
        "way.main(['devices'])\n"  # loads what is loaded at the first message, which runs an `exec` of its own
        "sys.exit(way.main(['devices']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "interrupted"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.stderr.splitlines() == ["addax: interrupted"] * 2
    assert done.returncode == 130


@pytest.mark.slow
@pytest.mark.guard
def test_the_demo_verb_is_the_whole_way(tmp_path):
    """The command of the README, in a process of its own, whose table the README shows as it is today."""
    done = subprocess.run(
        [*ADDAX, "demo", "-o", str(tmp_path / "demo"), "--json"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["mismatches"] == 0 and value["bit_exact"] and value["images"] == 360
    assert value["cycles_per_image"] == value["predicted_cycles_per_image"]
    assert min(value["accuracy_float"], value["accuracy_int8"]) >= 0.985
    assert value["accuracy_rtl"] == value["accuracy_int8"]
    assert value["lut"] > 1000 and value["power_mw"]["dynamic"] > 0
    assert Path(value["report"]).is_file()
    cells = " / ".join(f"{value[key]:,}" for key in ("lut", "ff", "bram", "dsp"))
    assert f"LUT / FF / block RAM / DSP │ {cells} " in (Path(__file__).parents[2] / "README.md").read_text()
