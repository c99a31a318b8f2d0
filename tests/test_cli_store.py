"""What the command line leaves on disk: users' files stay, signals and a full disk leave nothing half-done."""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from addax.cli import main
from addax.common.cache import cached
from addax.quant.files.archive import save_program
from networks import random_program

ADDAX = [sys.executable, "-m", "addax.cli"]
YOSYS = """#!/bin/sh
case $1 in
    -V) echo "Yosys 0.0 (of a test)" ;;
    *) sleep 300 & sleep 300 ;;
esac
"""


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "net.addax"
    save_program(path, random_program(7))
    return path


@pytest.fixture(scope="module")
def made(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "build"
    assert main(["generate", str(net), "--device", "ecp5-85k", "--lanes", "20", "-o", str(path)]) == 0
    return path


@pytest.fixture
def build(made, tmp_path):
    return shutil.copytree(made, tmp_path / "build")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ADDAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def hidden(folder):
    return [path for path in folder.rglob(".*") if "addax-" in path.name]


def test_a_build_is_generated_anew_around_what_the_user_put_there(net, build, tmp_path, capsys):
    """Notes and scripts stay, a report of the old build does not, and an edited plan is used and is not kept twice."""
    assert main(["report", str(build)]) == 0
    (build / "notes.txt").write_text("mine")
    (build / "report" / "remarks.txt").write_text("mine")
    plan = json.loads((build / "plan.json").read_text())
    plan["clock_mhz"] = 33.0
    (build / "plan.json").write_text(json.dumps(plan))
    capsys.readouterr()

    assert main(["generate", str(net), "--plan", str(build / "plan.json"), "-o", str(build)]) == 0

    assert capsys.readouterr().err == ""
    assert json.loads((build / "plan.json").read_text())["clock_mhz"] == 33.0
    assert (build / "notes.txt").read_text() == (build / "report" / "remarks.txt").read_text() == "mine"
    assert sorted(p.name for p in (build / "report").iterdir()) == ["addax.json", "remarks.txt"]
    assert not [path for path in build.rglob("*") if "edited" in path.name]
    assert main(["report", str(build)]) == 0 and (build / "report" / "report.html").is_file()

    (build / "addax.v").write_text("// better")
    assert main(["generate", str(net), "--device", "ecp5-85k", "--lanes", "20", "-o", str(build)]) == 0
    assert "addax.v was edited; it is kept as addax.v.edited" in capsys.readouterr().err
    assert (build / "addax.v.edited").read_text() == "// better" and "module" in (build / "addax.v").read_text()


def test_a_file_of_the_users_with_a_new_files_name_is_refused_by_name(net, build, tmp_path, capsys):
    (build / "other.v").write_text("mine")
    before = {path: path.read_bytes() for path in build.iterdir()}

    assert main(["generate", str(net), "--lanes", "20", "--prefix", "other", "-o", str(build)]) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("addax: ") and "build/other.v was not written by addax" in line
    assert {path: path.read_bytes() for path in build.iterdir()} == before
    assert hidden(tmp_path) == []


def test_an_export_lists_its_own_files_alone(net, tmp_path, capsys):
    for _ in range(2):
        assert main(["export", str(net), "--format", "npz", "-o", str(tmp_path / "out"), "--json"]) == 0
        files = json.loads(capsys.readouterr().out)["files"]
        (tmp_path / "out" / "notes.txt").write_text("mine")
    assert "notes.txt" not in files and {"addax.json", "manifest.json"} < set(files)
    assert (tmp_path / "out" / "notes.txt").is_file()


def until(condition, what):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.05)


def working_in(folder):
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(entry / "cwd").startswith(str(folder)):  # noqa: PTH115
                found.append((entry / "cmdline").read_bytes())
    return found


@pytest.mark.parametrize("how", ["TERM", "TERM to all", "INT", "KILL"])
def test_a_signal_ends_addax_and_its_tools_and_nothing_is_left(build, home, tmp_path, how):
    """A supervisor sends SIGTERM; batch systems send it to the whole group, then SIGKILL."""
    yosys = tmp_path / "yosys"
    yosys.write_text(YOSYS)
    yosys.chmod(0o755)
    process = subprocess.Popen(
        [*ADDAX, "report", str(build), "--synth"], cwd=tmp_path, env={**os.environ, "ADDAX_YOSYS": str(yosys)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        until(lambda: len([c for c in working_in(home) if c.startswith(b"sleep")]) >= 2, process.poll)
        (os.killpg if how.endswith("all") else os.kill)(process.pid, signal.Signals[f"SIG{how.split()[0]}"])
        out, err = process.communicate(timeout=30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    until(lambda: not working_in(home), lambda: working_in(home))

    assert not (build / "report").exists()
    if how == "KILL":
        assert process.returncode == -signal.SIGKILL and hidden(home)
        cached("synth", "next", lambda folder: None)
    else:
        assert (process.returncode, out, err.strip()) == (130, "", "addax: interrupted")
    assert hidden(home) == hidden(build) == []


@pytest.mark.parametrize("verb", ["generate", "export", "report"])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(net, build, tmp_path, verb):
    """The system refuses to write more than a kilobyte into a file, as a quota does."""
    arguments = {
        "generate": [str(net), "--lanes", "20", "-o", "build"],
        "export": [str(net), "--format", "npz", "-o", "out"],
        "report": ["build"],
    }[verb]
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [*ADDAX, verb, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("addax: cannot write ") and line.endswith(": File too large"), line
    assert "addax-part" not in line
    assert sorted(tmp_path.rglob("*")) == before


def test_an_output_that_cannot_take_more_is_one_line():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*ADDAX, "cache", "--json"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "addax: cannot write the output: No space left on device\n")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "/x/y"), "cannot use /x/y: Permission denied"),
        (OSError(28, "No space left on device", "/x/y"), "cannot write /x/y: No space left on device"),
        (OSError(30, "Read-only file system"), "cannot write the output: Read-only file system"),
        (OSError(12, "Cannot allocate memory"), "the system refused: Cannot allocate memory"),
        (OSError("12 requested\nand 0 written"), "the system refused: 12 requested and 0 written"),
    ],
)
def test_what_the_system_refuses_is_no_internal_error(net, tmp_path, monkeypatch, capsys, error, line):
    def refused(*arguments, **options):
        raise error

    monkeypatch.setattr("addax.quant.files.archive.load_program", refused)

    assert main(["export", str(net), "--format", "npz", "-o", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"addax: {line}\n"


def test_the_cache_is_shown_pruned_and_cleared(home, capsys):
    def cache(*options):
        assert main(["cache", *options, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    nothing = {"folder": str(home), "entries": 0, "bytes": 0, "kinds": {}, "removed_entries": 0, "removed_bytes": 0}
    assert cache() == nothing
    for kind, size in (("synth", 1000), ("synth", 2000), ("place", 500_000)):
        cached(kind, f"{size:032x}", lambda folder, size=size: (folder / "data").write_bytes(bytes(size)))

    found = cache()
    assert (found["entries"], {name: kind["entries"] for name, kind in found["kinds"].items()}) == (
        3, {"place": 1, "synth": 2},
    )  # fmt: skip
    assert 503_000 < found["bytes"] < 505_000
    assert main(["cache"]) == 0
    table = capsys.readouterr().out
    assert str(home) in table.replace("\n", "") and "synth" in table and "0.5" in table

    assert cache("--prune", "30d")["removed_entries"] == 0
    assert cache("--prune", "450kB")["removed_entries"] == 3, "the largest was used last"
    cached("synth", f"{3:032x}", lambda folder: None)
    assert cache("--clear") == nothing | {"removed_entries": 1, "removed_bytes": 3}
    assert main(["cache", "--clear", "--prune", "1d"]) == main(["cache", "--prune", "much"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "addax: --clear removes everything; leave --prune out",
        "addax: --prune wants days or a size, such as 30d or 5GB, not 'much'",
    ]
