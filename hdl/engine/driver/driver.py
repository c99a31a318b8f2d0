"""A driver of an engine in Python: the states and answers of the one in C."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from ....common.errors import UserError
from ..compile.image import Compiled
from ..control import engine_identity, engine_map
from ..plan import PAGE_BYTES, EnginePlan
from .codes import OF_HARDWARE, DriverError
from .port import EnginePort

__all__ = ["EngineDriver", "EngineState"]

ADDRESSES = (1 << 32) - 1
"""Of words that the register ``base`` names."""


class EngineState(IntEnum):
    """What an engine has come to. Whatever needs a state can be done in the later ones, but not in a run."""

    OPEN = 1
    LOADED = 2
    READY = 3
    DONE = 4
    RUNNING = 5


class EngineDriver:
    """Loads images into the memory of an engine, runs them, and reads what they stored.

    Whatever it refuses raises `DriverError`, a `UserError` of one line with its code, and changes nothing.

    Parameters
    ----------
    plan : of the engine; another one at the port is refused
    port : see `EnginePort`
    memory : first byte of the engine's memory, a multiple of 4 KiB
    size : bytes of that memory
    limit : cycles behind which the engine gives a run up, 1 to 2**32 - 1; 0 for none

    Raises
    ------
    DriverError
        NO_ENGINE, OTHER_VERSION, OTHER_BUILD, NO_ROOM for a memory out of its reach, RUNNING.
    """

    def __init__(self, plan: EnginePlan, port: EnginePort, *, memory: int, size: int, limit: int = 0):
        if not 0 <= limit <= ADDRESSES:
            raise UserError(f"limit must be 0 to {ADDRESSES:,} cycles, not {limit:,}")
        self.plan, self.port, self.memory, self.size, self.limit = plan, port, memory, size, limit
        self.map = engine_map(plan)
        self.image: Compiled | None = None
        self._state = EngineState.OPEN
        self._ending: str | None = None
        for name, code in (("magic", "NO_ENGINE"), ("map_version", "OTHER_VERSION"), ("build", "OTHER_BUILD")):
            found, expected = self._get(name), self.map[name].value or 0
            if found != expected:
                raise DriverError(code, f"{name} is {found:#x}, not {expected:#x}")
        if memory % PAGE_BYTES or memory < 0 or memory + size > ADDRESSES * plan.word_bytes:
            raise DriverError("NO_ROOM", f"{size:,} bytes from {memory:#x} on")
        if self._status("busy"):
            raise DriverError("RUNNING")

    @property
    def state(self) -> EngineState:
        """What the engine has come to, as the driver knows."""
        return self._state

    def load(self, image: Compiled) -> None:
        """Write the words of ``image`` that are no tensors.

        Raises
        ------
        DriverError
            IMAGE_OF_OTHER_BUILD, NO_ROOM, RUNNING.
        """
        self._needs(EngineState.OPEN)
        if engine_identity(image.plan) != engine_identity(self.plan):
            raise DriverError("IMAGE_OF_OTHER_BUILD")
        if image.words.nbytes > self.size:
            raise DriverError("NO_ROOM", f"the image needs {image.words.nbytes:,} bytes, there are {self.size:,}")
        self.port.write_memory(self.memory, image.constants.tobytes())
        self.image, self._state, self._ending = image, EngineState.LOADED, None

    def verify(self) -> None:
        """Raise `DriverError`, CHANGED, unless memory holds what was loaded."""
        expected = self._loaded(EngineState.LOADED).constants.tobytes()
        found = self.port.read_memory(self.memory, len(expected))
        if found != expected:
            at = next(k for k, (one, other) in enumerate(zip(found, expected, strict=True)) if one != other)
            raise DriverError("CHANGED", f"byte {at:,} of the image")

    def write_input(self, pixels: NDArray[np.integer]) -> None:
        """Write a (C, H, W) image into the area of the input, where it stays for further runs.

        Raises
        ------
        DriverError
            SIZE, VALUE, ORDER, RUNNING.
        """
        image = self._loaded(EngineState.LOADED)
        source = image.network.program.input
        pixels = np.asarray(pixels)
        if pixels.shape != tuple(source.shape):
            raise DriverError("SIZE", f"the input is {source.shape}, not {pixels.shape}")
        held = image.network.format(source.name)
        if pixels.min() < held.lo or pixels.max() > held.hi:
            raise DriverError("VALUE", f"{pixels.min()}..{pixels.max()}, not {held.lo}..{held.hi}")
        self.port.write_memory(self._address(image.network.input), image.stored(pixels).tobytes())
        self._state, self._ending = EngineState.READY, None

    def start(self) -> None:
        """Begin a run; its end raises the interrupt.

        Raises
        ------
        DriverError
            ORDER, RUNNING also where somebody else has started the engine, REGISTERS.
        """
        image = self._loaded(EngineState.READY)
        if self._status("busy"):
            raise DriverError("RUNNING")
        places = {
            "base": self.memory // self.plan.word_bytes, "first": image.first, "words": len(image.words),
            "kept": len(image.constants), "limit": self.limit,
        }  # fmt: skip
        for name, value in places.items():
            self._put(name, value)
            if (found := self._get(name)) != value:
                raise DriverError("REGISTERS", f"{name} is {found:#x}, not {value:#x}")
        self._put("events", sum(field.mask for field in self.map["events"].fields))
        control = self.map["control"]
        # Before the start: the interrupt of a short run comes before this method ends.
        self._state, self._ending = EngineState.RUNNING, None
        self._put("control", control.field("start").mask | control.field("interrupt").mask)
        if self._get("events") & self.map["events"].field("busy").mask:
            self._state = EngineState.READY
            raise DriverError("RUNNING", "somebody else started the engine")

    def poll(self) -> bool:
        """Whether the run has ended.

        Raises
        ------
        DriverError
            how it ended where not well: READ_REFUSED, WRITE_REFUSED, OUTSIDE, LATE, UNKNOWN; ORDER where there was
            none.
        """
        if self._state is EngineState.RUNNING:
            status = self._get("status")
            if status & self.map["status"].field("busy").mask:
                return False
            self._end(status)
        if self._ending is None:
            raise DriverError("ORDER")
        if self._ending != "OK":
            raise DriverError(self._ending)
        return True

    def wait(self, polls: int) -> None:
        """Look at most ``polls`` times whether the run has ended.

        Raises
        ------
        DriverError
            as `poll`, and TIMEOUT; then the run still goes on: wait again, or reset the engine and make a new driver.
        """
        if not any(self.poll() for _ in range(polls)):
            raise DriverError("TIMEOUT", f"{polls:,} looks")

    def handle_interrupt(self) -> bool:
        """Take the interrupt back; whether it was of this engine. `poll` and `wait` tell how the run has ended."""
        status = self._get("status") if self._state is EngineState.RUNNING else 0
        if not status & self.map["status"].field("done").mask:
            return False
        self._end(status)
        return True

    def tensor(self, name: str | None = None) -> NDArray[np.int64]:
        """A stored tensor (C, H, W) behind a run, the result unless said; `Compiled.intact` names those that there are.

        Raises
        ------
        DriverError
            ORDER, RUNNING.
        """
        image = self._loaded(EngineState.DONE)
        name = image.network.output if name is None else name
        if name not in image.intact:
            raise DriverError("ORDER", f"no tensor {name!r} stands in memory; known: {', '.join(image.intact)}")
        layout = image.layouts[name]
        data = self.port.read_memory(self._address(name), layout.words * self.plan.word_bytes)
        return layout.unpack(np.frombuffer(data, np.uint8).reshape(layout.words, -1))

    def run(self, pixels: NDArray[np.integer], *, polls: int = 1_000_000) -> NDArray[np.int64]:
        """The result of the loaded network for a (C, H, W) image; raises as the steps do."""
        self.write_input(pixels)
        self.start()
        self.wait(polls)
        return self.tensor()

    @property
    def cycles(self) -> int:
        """Clock cycles of the last run."""
        self._needs(EngineState.OPEN)
        return self._get("cycles")

    def _end(self, status: int) -> None:
        field = self.map["status"].field("error")
        error = (status & field.mask) >> field.bit
        self._put("events", self.map["events"].field("done").mask)
        self._ending = OF_HARDWARE.get(error, "UNKNOWN") if error else "OK"
        self._state = EngineState.READY if error else EngineState.DONE

    def _needs(self, least: EngineState) -> None:
        if self._state is EngineState.RUNNING:
            raise DriverError("RUNNING")
        if self._state < least:
            raise DriverError("ORDER", f"the engine is {self._state.name.lower()}, not {least.name.lower()}")

    def _loaded(self, least: EngineState) -> Compiled:
        self._needs(least)
        assert self.image is not None
        return self.image

    def _address(self, tensor: str) -> int:
        assert self.image is not None
        return self.memory + self.image.areas[tensor] * self.plan.word_bytes

    def _get(self, name: str) -> int:
        register = self.map[name]
        # The low word first: reading it latches the high one.
        words = [self.port.read_register(register.offset + 4 * k) for k in range(register.words)]
        return sum(word << 32 * k for k, word in enumerate(words))

    def _put(self, name: str, value: int) -> None:
        self.port.write_register(self.map[name].offset, value)

    def _status(self, field: str) -> int:
        return self._get("status") & self.map["status"].field(field).mask
