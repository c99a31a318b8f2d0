# amaranth: UnusedElaboratable=no
"""Boards: pins that are all constrained, tops that fit builds with and without control."""

import re
from dataclasses import replace

import pytest
from addax.common.errors import UserError
from addax.hdl.board.boards import board, board_names, constraints
from addax.hdl.board.top import top_name, top_verilog
from bus_sim import build_of

PORT = re.compile(r"^  (?:input|output) +(?:\[(\d+):0\])? +(\w+),?$", re.MULTILINE)


def ports_of(text, module):
    """Single-bit names of the ports of a Verilog module."""
    body = text[re.search(rf"^module {module} \(", text, re.MULTILINE).start() :]
    found = PORT.findall(body[: body.index("endmodule")])
    return {f"{name}[{k}]" for high, name in found if high for k in range(int(high) + 1)} | {
        name for high, name in found if not high
    }


@pytest.fixture(scope="module", params=["none", "axi-lite", "wishbone"])
def build(request, tmp_path_factory):
    return build_of(tmp_path_factory.mktemp("b") / "build", request.param)


@pytest.mark.parametrize("name", board_names())
def test_every_port_of_the_top_has_its_pin_and_no_pin_is_without_a_port(name, build):
    """nextpnr would put a port without a pin anywhere, and drop a pin without a port silently."""
    target = board(name)
    text = constraints(target)

    ports = ports_of(top_verilog(build, target, baud=1_000_000), top_name(build))

    assert ports >= {"clk", "uart_rx", "uart_tx", "button_n", "led[0]", "led[7]", "high"}
    for kind in ("LOCATE COMP", "IOBUF PORT"):
        named = re.findall(rf'^{kind} "([^"]+)"', text, re.MULTILINE)
        assert set(named) == ports and len(named) == len(ports), kind
    assert all(line.endswith(";") for line in text.splitlines() if line and not line.startswith("#"))


def test_the_pins_of_the_ulx3s():
    """Those of the constraint file that `board` names: a slip here drives a pin that something else drives."""
    text = constraints(board("ulx3s-85f"))

    for port, pin in {
        "clk": "G2", "uart_rx": "M1", "uart_tx": "L4", "button_n": "D6", "led[0]": "B2", "led[1]": "C2",
        "led[2]": "C1", "led[3]": "D2", "led[4]": "D1", "led[5]": "E2", "led[6]": "E1", "led[7]": "H3", "high": "L2",
    }.items():  # fmt: skip
        assert f'LOCATE COMP "{port}" SITE "{pin}";' in text
    assert 'FREQUENCY PORT "clk" 25 MHZ;' in text


def test_the_top_connects_every_port_of_the_accelerator(build):
    """Also those of a bus that nobody is on."""
    top = top_verilog(build, board("ulx3s-85f"), baud=1_000_000)
    instance = re.search(r"^  addax accelerator \((.*?)\);", top, re.MULTILINE | re.DOTALL)[1]

    connected = set(re.findall(r"\.(\w+)\(", instance))
    assert connected == {name.split("[")[0] for name in ports_of(build.sources[0].read_text(), "addax")}
    assert "()" not in instance


def test_an_unknown_board_is_refused():
    with pytest.raises(UserError, match=r"^unknown board 'icebreaker'; known: ulx3s-85f, ulx3s-45f, ulx3s-25f$"):
        board("icebreaker")


def test_one_pin_for_two_ports_is_refused():
    with pytest.raises(ValueError, match="pins of a board must differ, not G2 twice"):
        replace(board("ulx3s-85f"), uart_rx="G2")
    with pytest.raises(ValueError, match="clock_mhz of a board must be positive, not 0"):
        replace(board("ulx3s-85f"), clock_mhz=0)
