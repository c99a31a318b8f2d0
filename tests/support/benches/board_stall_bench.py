"""A board around an accelerator that makes it wait long between images: nothing is lost while the host keeps count."""

import cocotb
from board_line import BAD, CAME, GOES, KNOWN, LOST, Line, equal_known

TIMEOUT = {"timeout_time": 1, "timeout_unit": "sec"}


@cocotb.test(**TIMEOUT)
async def it_works_after_power_on_without_a_break(dut):
    line = Line(dut)
    await line.wait_bits(5)
    assert not line.lit(CAME) and not line.lit(GOES)
    assert equal_known(await line.converse(KNOWN["images"]), len(KNOWN["images"]))
    assert line.nothing_lost() and line.lit(CAME) and line.lit(GOES)


@cocotb.test(**TIMEOUT)
async def more_than_there_is_room_for_is_lost_and_shows(dut):
    """What the host's count protects from; a break puts it right."""
    line = Line(dut)
    await line.send_break()
    data = line.form.pack(KNOWN["images"])
    await line.send(data)
    await line.source.wait()
    await line.wait_bits(2)
    assert len(data) > 2 * line.form.room and line.lit(LOST) and not line.lit(BAD)
    await line.send_break()
    assert line.nothing_lost()
    assert equal_known(await line.converse(KNOWN["images"]), len(KNOWN["images"]))
    assert line.nothing_lost()


@cocotb.test(**TIMEOUT)
async def a_byte_without_stop_bit_shows(dut):
    line = Line(dut)
    await line.send_break()
    for level in (0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 1):
        dut.uart_rx.value = level
        await line.wait_bits(1)
    assert line.lit(BAD) and not line.lit(LOST)
    await line.send_break()
    assert line.nothing_lost()
