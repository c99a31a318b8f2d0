"""An engine for drivers to drive that is not there: registers as `engine_map` has them, memory, the second executor."""

import numpy as np
from addax.hdl.engine.control import engine_map
from engine_executor import Executor

MEMORY = 0x4000_0000
"""Where the memory of the engine begins."""


class FakeEngine:
    """The port of an engine that runs an image when it is started.

    Attributes
    ----------
    registers : values by name
    error : with which the next runs end, instead of running anything
    looks : times that a run is still found busy
    stuck : registers whose writes are lost
    faster : somebody else starts it just before whoever asks
    """

    def __init__(self, plan, size=1 << 20):
        self.plan, self.map = plan, engine_map(plan)
        self.registers = {register.name: register.value or 0 for register in self.map}
        self.memory = bytearray(size)
        self.error, self.looks, self.stuck, self.faster = 0, 0, (), False
        self.left = 0

    @property
    def busy(self):
        return self.left > 0

    @property
    def irq(self):
        return bool(self.registers["control"] & 2 and self.registers["events"] & 4)

    def read_register(self, offset):
        register = next(r for r in self.map if r.offset <= offset < r.offset + 4 * r.words)
        if register.name == "status":
            value = self.busy | (self.registers["events"] & 4) >> 1 | self.error << 8
            self.advance()
            return value
        return self.registers[register.name] >> 8 * (offset - register.offset) & 0xFFFFFFFF

    def write_register(self, offset, value):
        name = next(r.name for r in self.map if r.offset == offset)
        if name in self.stuck:
            return
        if name == "events":
            self.registers[name] &= ~value
        elif name == "control":
            self.registers[name] = value & 2
            if value & 1:
                self.start()
        else:
            self.registers[name] = value

    def start(self):
        if self.busy or self.faster:
            self.registers["events"] |= 2
            return
        self.left = self.looks
        if not self.busy:
            self.end()

    def advance(self):
        """A look at the status: a run comes nearer to its end."""
        if self.busy:
            self.left -= 1
            if not self.busy:
                self.end()

    def end(self):
        if not self.error:
            self.execute()
        self.registers["events"] |= 4
        self.registers["cycles"] = 0x1_2345_6789

    def finish(self):
        """Let the run end; returns whether the interrupt is up."""
        while self.busy:
            self.advance()
        return self.irq

    def execute(self):
        at = self.registers["base"] * self.plan.word_bytes - MEMORY
        words = np.frombuffer(self.memory, np.uint8)[at:].reshape(-1, self.plan.word_bytes)
        Executor(self.plan, words, self.registers["first"]).run()

    def read_memory(self, address, count):
        assert MEMORY <= address <= address + count <= MEMORY + len(self.memory)
        return bytes(self.memory[address - MEMORY :][:count])

    def write_memory(self, address, data):
        assert MEMORY <= address <= address + len(data) <= MEMORY + len(self.memory)
        self.memory[address - MEMORY : address - MEMORY + len(data)] = data
