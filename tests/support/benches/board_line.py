"""The PC's end of a board's serial line inside the simulator: cocotbext-uart, which shares nothing with our own."""

import json
import random
from pathlib import Path

import cocotb
import numpy as np
from addax.hdl.board import serial
from addax.hdl.board.serial import Host, SerialFormat
from addax.quant.formats import Format
from cocotb.triggers import Timer
from cocotbext.uart import UartSink, UartSource

JOB = json.loads(Path("job.json").read_text())
KNOWN = np.load("job.npz")
HEARTBEAT, CAME, GOES, LOST, BAD = range(5)
"""LEDs."""


def form_of_job():
    form = SerialFormat(score=Format(**JOB["score"]), **{**JOB["form"], "shape": tuple(JOB["form"]["shape"])})
    serial.BLOCK_RAM = min(serial.BLOCK_RAM, JOB["room"])
    assert form.room == JOB["room"]
    return form


class Line:
    """``mismatch``: how much slower the PC's clock is than the board's."""

    def __init__(self, dut, *, mismatch=0.0, gap=0.0):
        self.dut = dut
        self.form = form_of_job()
        self.gap = gap
        self.bit_ns = (1 + mismatch) * 1e9 / JOB["baud"]
        baud = 1e9 / round(self.bit_ns)
        self.source = UartSource(dut.uart_rx, baud=baud)
        self.sink = UartSink(dut.uart_tx, baud=baud)
        self.rng = random.Random(cocotb.RANDOM_SEED)

    def lit(self, led):
        return int(self.dut.led.value) >> led & 1

    async def wait_bits(self, bits):
        await Timer(round(bits * self.bit_ns), "ns")

    async def send_break(self):
        """From whatever state, as a PC does: nothing is on the line, then it is low for a while."""
        await self.source.wait()
        self.dut.uart_rx.value = 0
        await self.wait_bits(15)
        self.dut.uart_rx.value = 1
        await self.wait_bits(15)
        self.sink.clear()

    async def send(self, data):
        if not self.gap:
            self.source.write_nowait(data)  # back to back
            return
        for byte in data:
            self.source.write_nowait([byte])
            await self.source.wait()
            await self.wait_bits(self.rng.random() * 2 * self.gap)

    async def converse(self, images):
        """Scores and classes of ``images``, each sent as soon as the host may."""
        host = Host(self.form, images)
        sending = cocotb.start_soon(self._keep_sending(host))
        while host.missing:
            await self.sink.wait(1, "sec")
            assert not self.sink.empty(), f"silent; {host.missing} bytes are missing, LEDs {self.dut.led.value}"
            host.take(bytes(self.sink.read_nowait()))
        sending.cancel()
        return host.result()

    async def _keep_sending(self, host):
        while True:
            await self.send(host.give())
            await self.wait_bits(1)

    def nothing_lost(self):
        return not self.lit(LOST) and not self.lit(BAD)


def equal_known(found, images):
    return np.array_equal(found[0], KNOWN["scores"][:images]) and np.array_equal(found[1], KNOWN["classes"][:images])
