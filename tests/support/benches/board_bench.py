"""Digits through the pins of a board with a whole accelerator."""

import cocotb
from board_line import KNOWN, Line, equal_known
from cocotb.triggers import Timer

TIMEOUT = {"timeout_time": 1, "timeout_unit": "sec"}


@cocotb.test(**TIMEOUT)
@cocotb.parametrize((("mismatch", "gap", "images"), [(0.0, 0.0, None), (0.02, 0.0, 3), (-0.02, 0.0, 3), (0.0, 3.0, 3)]))
async def digits_through_the_line(dut, mismatch, gap, images):
    """Every score, for bytes back to back and with gaps, from a PC whose clock differs by 2 % either way."""
    images = images or len(KNOWN["images"])
    line = Line(dut, mismatch=mismatch, gap=gap)
    await line.send_break()
    assert equal_known(await line.converse(KNOWN["images"][:images]), images)
    assert line.nothing_lost()
    assert int(dut.high.value) == 1


@cocotb.test(**TIMEOUT)
async def a_break_in_the_middle_of_an_image_begins_anew(dut):
    line = Line(dut)
    await line.send_break()
    await line.send(line.form.pack(KNOWN["images"][:2])[: line.form.image_bytes * 3 // 2])
    await line.send_break()
    assert line.sink.empty()
    assert equal_known(await line.converse(KNOWN["images"][:2]), 2)


@cocotb.test(**TIMEOUT)
async def the_button_begins_anew(dut):
    line = Line(dut)
    await line.send(line.form.pack(KNOWN["images"][:1])[:7])
    await line.source.wait()
    dut.button_n.value = 0
    await Timer(2, "us")
    dut.button_n.value = 1
    await Timer(2, "us")
    assert equal_known(await line.converse(KNOWN["images"][:1]), 1)
