"""The driver in C of an engine, compiled as strictly as a compiler can and given the methods of the one in Python."""

import ctypes as c
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from addax.hdl.engine.driver.codes import DRIVER_CODES, DriverError
from addax.hdl.engine.driver.flat import flat_image
from addax.hdl.engine.driver.header import engine_driver, engine_header

STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion")
NAMES = tuple(DRIVER_CODES)
READ_REGISTER = c.CFUNCTYPE(c.c_uint32, c.c_void_p, c.c_uint32)
WRITE_REGISTER = c.CFUNCTYPE(None, c.c_void_p, c.c_uint32, c.c_uint32)
MOVE = c.CFUNCTYPE(None, c.c_void_p, c.c_uint64, c.c_void_p, c.c_size_t)
PAUSE = c.CFUNCTYPE(None, c.c_void_p)


class Port(c.Structure):
    _fields_ = (
        ("context", c.c_void_p), ("read_register", READ_REGISTER), ("write_register", WRITE_REGISTER),
        ("read_memory", MOVE), ("write_memory", MOVE), ("pause", PAUSE),
    )  # fmt: skip


class Engine(c.Structure):
    _fields_ = (
        ("port", Port), ("memory", c.c_uint64), ("bytes", c.c_uint64), ("limit", c.c_uint32), ("image", c.c_void_p),
        ("state", c.c_int), ("result", c.c_int),
    )  # fmt: skip


@cache
def library_of(plan):
    """The driver of an engine, which is called ``net``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "net.h").write_text(engine_header(plan, "net"))
        (folder / "net_driver.c").write_text(engine_driver(plan, "net"))
        command = ["gcc", "-std=c99", *STRICT, "-O1", "-shared", "-fPIC", "-o", "net.so", "net_driver.c"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        library = c.CDLL(str(folder / "net.so"))
    library.net_text.restype = c.c_char_p
    return library


class CDriver:
    """As `EngineDriver`; ``flat`` are the bytes of an image as they come from a file."""

    def __init__(self, plan, port, *, memory, size, limit=0):
        self.library, self.engine = library_of(plan), Engine(limit=limit)
        self.pauses = 0
        self.port = Port(
            None, READ_REGISTER(lambda _, offset: port.read_register(offset)),
            WRITE_REGISTER(lambda _, offset, value: port.write_register(offset, value)),
            MOVE(lambda _, address, to, count: c.memmove(to, port.read_memory(address, count), count) and None),
            MOVE(lambda _, address, data, count: port.write_memory(address, c.string_at(data, count))),
            PAUSE(lambda _: setattr(self, "pauses", self.pauses + 1)),
        )  # fmt: skip
        self.image, self.held = None, None
        self.call("open", c.byref(self.port), c.c_uint64(memory), c.c_uint64(size))

    def answer(self, name, *arguments):
        """The name of a function's code."""
        return NAMES[getattr(self.library, f"net_{name}")(c.byref(self.engine), *arguments)]

    def call(self, name, *arguments):
        code = self.answer(name, *arguments)
        if code not in ("OK", "BUSY"):
            text = self.library.net_text(NAMES.index(code)).decode()
            assert text == DRIVER_CODES[code]
            raise DriverError(code)
        return code == "OK"

    def load(self, image):
        self.load_flat(flat_image(image))
        self.image = image

    def load_flat(self, flat):
        held = c.create_string_buffer(flat, len(flat))
        self.call("load", held, c.c_size_t(len(flat)))
        self.held = held

    def verify(self):
        self.call("verify")

    def write_input(self, pixels):
        values = np.ascontiguousarray(pixels, np.int32)
        self.call("write_input", values.ctypes.data_as(c.c_void_p), c.c_size_t(values.size))

    def start(self):
        self.call("start")

    def poll(self):
        return self.call("poll")

    def wait(self, polls):
        self.call("wait", c.c_uint32(polls))

    def handle_interrupt(self):
        """Whether it was of this engine, which every answer but one says."""
        return self.answer("handle_interrupt") != "BUSY"

    def tensor(self):
        shape = self.image.layouts[self.image.network.output].shape if self.image else (1,)
        values = np.zeros(shape, np.int64)
        self.read_output(values)
        return values

    def read_output(self, values):
        self.call("read_output", values.ctypes.data_as(c.c_void_p), c.c_size_t(values.size))

    def run(self, pixels, *, polls=1_000_000):
        self.write_input(pixels)
        self.start()
        self.wait(polls)
        return self.tensor()

    @property
    def cycles(self):
        value = c.c_uint64()
        self.call("cycles", c.byref(value))
        return value.value
