"""A small accelerator behind the pins of a board: from power-on, and after a break in the middle of an image."""

import cocotb
from board_line import KNOWN, Line, equal_known

TIMEOUT = {"timeout_time": 1, "timeout_unit": "sec"}


@cocotb.test(**TIMEOUT)
async def images_right_after_power_on(dut):
    line = Line(dut)
    await line.wait_bits(5)
    assert equal_known(await line.converse(KNOWN["images"]), len(KNOWN["images"]))
    assert line.nothing_lost() and int(dut.high.value) == 1


@cocotb.test(**TIMEOUT)
async def images_after_a_break(dut):
    line = Line(dut)
    await line.send(line.form.pack(KNOWN["images"][:1])[:-3])
    await line.send_break()
    assert equal_known(await line.converse(KNOWN["images"]), len(KNOWN["images"]))
    assert line.nothing_lost()
