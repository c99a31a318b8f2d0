"""The harness and the plain test bench know an accelerator by its streams only: one that nothing here made will do."""

import pytest
from addax.hdl.folder.harness import LEAST_IMAGES, Harness, images_held
from addax.hdl.folder.vectors import hex_lines, sample_vectors
from addax.hdl.interface import Interface
from addax.quant import golden
from passthrough import identity
from plain_bench import icarus, needs_icarus

TOP = """module own (input aclk, aresetn, input [15:0] s_axis_tdata, input s_axis_tvalid, output s_axis_tready,
    output [15:0] m_axis_tdata, output m_axis_tvalid, input m_axis_tready, output m_axis_tlast,
    input [3:0] spare, output open);
    reg [3:0] beat = 0;
    assign m_axis_tdata = s_axis_tdata ^ spare;
    assign m_axis_tvalid = s_axis_tvalid;
    assign s_axis_tready = m_axis_tready;
    assign m_axis_tlast = beat == 11;
    assign open = beat[0];
    always @(posedge aclk) if (s_axis_tvalid && s_axis_tready) beat <= m_axis_tlast ? 0 : beat + 1;
endmodule
"""
"""Wires written by hand, with a pin that must be tied to zero and one that is left open."""


def said_of(folder, top, *arguments, spare="4'd0"):
    """What the plain test bench says of ``top`` with five images."""
    program, images = identity(), sample_vectors(identity(), 5)
    streams = Interface(program=program, elements=2)
    harness = Harness(interface=streams, prefix="own", capacity=5, tied=[("spare", spare), ("open", "")])
    expected = streams.expected(golden.run(program, images).output)
    for name, text in {
        "own.v": top,
        "own_harness.v": harness.verilog(),
        "own_testbench.v": harness.bench(images=5, watchdog=100),
        "stimulus.mem": hex_lines(streams.pack(images), streams.data_in),
        "expected.mem": hex_lines(expected, streams.data_out + 1),
    }.items():
        (folder / name).write_text(text)
    return icarus(folder, *arguments, prefix="own").text


@needs_icarus
@pytest.mark.parametrize("spare, says", [("4'd0", "PASS: 5 images, 60 beats"), ("4'd1", "FAIL: 60 wrong beats")])
def test_a_top_of_anybodys_is_driven_and_checked(tmp_path, spare, says):
    assert says in said_of(tmp_path, TOP, spare=spare)


@needs_icarus
def test_a_beat_that_waits_is_watched(tmp_path):
    """Data that are right whenever the sink takes them, and others before: no score is wrong, the stream is."""
    fickle = TOP.replace("s_axis_tdata ^ spare", "s_axis_tdata ^ spare ^ {16{!m_axis_tready}}")
    assert fickle != TOP

    assert "PASS" in said_of(tmp_path, TOP, "+stall=20000")
    assert "PASS" in said_of(tmp_path, fickle)  # nobody waits
    assert "FAIL: a beat that waited was changed or taken back" in said_of(tmp_path, fickle, "+stall=20000")


@needs_icarus
def test_a_reset_in_the_middle_of_an_image_shows_what_it_leaves_out(tmp_path):
    """The counter of beats keeps its place in the image that was broken off, unless reset begins it anew."""
    whole = TOP.replace("if (s_axis", "if (!aresetn) beat <= 0; else if (s_axis")
    assert whole != TOP

    assert "FAIL" in said_of(tmp_path, TOP, "+reset=7")
    for after in (1, 7, 12, 31, 59):
        assert "PASS: 5 images, 60 beats" in said_of(tmp_path, whole, f"+reset={after}"), after


@pytest.mark.parametrize("wrong", [{"prefix": "wire"}, {"capacity": 0}, {"settle": -1}])
def test_an_impossible_description_is_refused(wrong):
    fields = {"interface": Interface(program=identity(), elements=2), "prefix": "own", "capacity": 5}
    with pytest.raises(ValueError):
        Harness(**fields | wrong)
    with pytest.raises(ValueError, match="a harness of 5 images cannot hold 6"):
        Harness(**fields).bench(images=6, watchdog=100)


def test_room_is_for_the_larger_stream_and_for_what_is_asked():
    """Twelve beats in and twelve out per image; a huge image still gets a few."""
    small, huge = (Interface(program=identity(shape), elements=1) for shape in ((1, 3, 4), (1, 1024, 2048)))

    assert images_held(small, 5) == 2**20 // 12
    assert images_held(small, 10**6) == 10**6
    assert images_held(huge, 5) == LEAST_IMAGES
    assert images_held(Interface(program=identity((2, 3, 4)), elements=1), 5) == 2**20 // 24  # one channel a beat
