"""A simulated engine that software drives: a `hdl.engine.driver.port.EnginePort` with a memory that looks closely."""

import ctypes
import shutil
from enum import IntEnum, IntFlag
from pathlib import Path

from ..common.cache import cached, digest
from ..common.errors import UserError
from ..common.processes import run_tool
from ..hdl.folder.engine import EngineBuild
from .cells import cell_models
from .verilator import BUILD_ARGS, find_verilator, tool_environment

__all__ = ["MemorySetting", "SimulatedEngine", "Violation"]

_SOURCE = Path(__file__).with_name("engine_port.cpp")
_MODEL = "Vengine"
_VERILATE = ("--cc", "--build", *BUILD_ARGS, "-CFLAGS", "-fPIC -O1")
_COMPILE = ("-std=c++20", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror")


class MemorySetting(IntEnum):
    """What the memory of a simulated engine does.

    ``LATENCY`` cycles to an answer; ``STALL`` per cent of the cycles in which a handshake stalls; ``SEED`` of those;
    ``FAIL_READ``, ``FAIL_WRITE`` the beat, counted from here on, that is answered with ``RESPONSE`` (2 SLVERR, 3
    DECERR), 0 for none; ``LOW``, ``HIGH`` between which addresses the engine may read, and write from ``WRITE_LOW`` on;
    ``PER_ACCESS`` cycles that go by before a read of a register.
    """

    LATENCY = 0
    STALL = 1
    SEED = 2
    FAIL_READ = 3
    FAIL_WRITE = 4
    RESPONSE = 5
    LOW = 6
    HIGH = 7
    WRITE_LOW = 8
    PER_ACCESS = 9


class Violation(IntFlag):
    """What an engine must never do: leave its area, break a rule of AXI4, leave its control bus without an answer."""

    OUTSIDE = 1
    PAGE_CROSSED = 2
    UNSTABLE = 4
    WRONG_LAST = 8
    UNASKED = 16
    BUS = 32


class SimulatedEngine:
    """An engine in RTL with a memory of ``size`` bytes from ``origin`` on.

    Time goes on only while registers are read or written, and in `advance`.

    Raises
    ------
    UserError
        for an engine whose registers are not behind AXI4-Lite, and where Verilator or the compiler fails.
    """

    def __init__(self, build: EngineBuild, *, origin: int = 0x4000_0000, size: int = 1 << 20):
        self.build, self.origin, self.size = build, origin, size
        self._library = _library(build)
        self._model = ctypes.c_void_p(self._library.engine_new(ctypes.c_uint64(origin), ctypes.c_uint64(size)))
        self._memory: int = self._library.engine_memory(self._model)

    def close(self) -> None:
        """Let the model go."""
        if self._model:
            self._library.engine_delete(self._model)
            self._model = ctypes.c_void_p()

    def read_register(self, offset: int) -> int:
        """See `EnginePort`; all ones where the bus answers with an error."""
        return int(self._library.engine_read(self._model, ctypes.c_uint32(offset)))

    def write_register(self, offset: int, value: int) -> None:
        """See `EnginePort`."""
        self._library.engine_write(self._model, ctypes.c_uint32(offset), ctypes.c_uint32(value))

    def read_memory(self, address: int, count: int) -> bytes:
        """See `EnginePort`."""
        return ctypes.string_at(self._place(address, count), count)

    def write_memory(self, address: int, data: bytes) -> None:
        """See `EnginePort`."""
        ctypes.memmove(self._place(address, len(data)), data, len(data))

    def _place(self, address: int, count: int) -> int:
        """Where ``count`` bytes from ``address`` on lie in this process."""
        at = address - self.origin
        if not 0 <= at <= at + count <= self.size:
            raise UserError(f"{count:,} bytes from {address:#x} on are not in the memory of the simulated engine")
        return self._memory + at

    def let(self, setting: MemorySetting, value: int) -> None:
        """Change what the memory does."""
        self._library.engine_set(self._model, ctypes.c_int(setting), ctypes.c_uint64(value))

    def advance(self, cycles: int, *, until_rest: bool = False) -> int:
        """Let ``cycles`` go by, or with ``until_rest`` as many as the engine needs to come to rest; how many did."""
        return int(self._library.engine_cycles(self._model, ctypes.c_uint64(cycles), ctypes.c_int(until_rest)))

    def reset(self) -> None:
        """Reset the engine, and forget what is on its way."""
        self._library.engine_reset(self._model)

    @property
    def interrupt(self) -> bool:
        """Whether the interrupt is up."""
        return bool(self._library.engine_irq(self._model))

    @property
    def violations(self) -> Violation:
        """What the engine has done that it must not."""
        return Violation(self._library.engine_violations(self._model))

    @property
    def beats(self) -> tuple[int, int]:
        """Beats that have been read and written."""
        return int(self._library.engine_read_beats(self._model)), int(self._library.engine_write_beats(self._model))


def _library(build: EngineBuild) -> ctypes.CDLL:
    """The model of an engine and what stands around it, compiled once."""
    if build.plan.control != "axi-lite":
        raise UserError(f"only registers behind axi-lite are simulated with a driver, not {build.plan.control}")
    sources = (build.sources[0], *cell_models(build.plan.fabric))
    texts = [path.read_bytes() for path in (*sources, _SOURCE)]
    environment, name = tool_environment(), "engine.so"

    def make(folder: Path) -> None:
        command = [
            "verilator", *_VERILATE, "--prefix", _MODEL, "--top-module", build.prefix, "--Mdir", str(folder / "model"),
            *map(str, sources),
        ]  # fmt: skip
        run_tool(command, folder, "verilator", environment=environment)
        root, model = _verilator_include(), folder / "model"
        parts = [str(path) for path in sorted(model.glob("*.a"))]
        include = [f"-isystem{path}" for path in (model, root, root / "vltstd")]
        run_tool(["g++", *_COMPILE, *include, str(_SOURCE), *parts, "-pthread", "-o", name], folder, "g++")
        shutil.rmtree(model)

    key = digest(find_verilator().version, *_VERILATE, *_COMPILE, build.prefix, *texts)
    folder, _ = cached("engine-port", key, make)
    library = ctypes.CDLL(str(folder / name))
    for function in ("new", "memory"):
        getattr(library, f"engine_{function}").restype = ctypes.c_void_p
    for function in ("cycles", "violations", "read_beats", "write_beats"):
        getattr(library, f"engine_{function}").restype = ctypes.c_uint64
    library.engine_read.restype = ctypes.c_uint32
    return library


def _verilator_include() -> Path:
    """The folder of Verilator's own headers."""
    root = tool_environment().get("VERILATOR_ROOT")
    if root is None:
        root = run_tool(["verilator", "--getenv", "VERILATOR_ROOT"], Path.cwd(), "verilator").strip()
    return Path(root) / "include"
