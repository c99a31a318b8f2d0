# amaranth: UnusedElaboratable=no
"""Bitstreams: one that unpacks again, found in the cache the second time, and every reason not to make one."""

import json
from dataclasses import replace

import pytest
from addax.cli import main
from addax.common.errors import UserError
from addax.hdl.board.boards import board
from addax.hdl.folder.generate import generate
from addax.reports.devices.devices import device
from addax.reports.devices.resources import Resources
from addax.reports.synth import bitstream
from addax.reports.synth.bitstream import BOARD, board_part, make_bitstream, shortage
from addax.reports.synth.synth import synthesise
from addax.reports.tools.run import find_tool, run_tool
from networks import random_images, random_plan, random_program

ULX3S = board("ulx3s-45f")


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    program = random_program(300)
    return generate(
        program, random_plan(program, 300), tmp_path_factory.mktemp("bits") / "build",
        vectors=random_images(program, 1, 300),
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(build):
    """The whole way, once."""
    steps = []
    return make_bitstream(build, ULX3S, build.path.parent / "bits", step=steps.append), steps


@pytest.mark.slow
def test_the_bitstream_unpacks_to_a_configuration_of_the_board_s_device(made, tmp_path):
    """Read by another program than wrote it, which checks the checksums inside."""
    result, steps = made

    run_tool([find_tool("yowasp-ecpunpack"), "--input", result.file.name, "--textcfg", "top.config"],
             result.file.parent, "ecpunpack")  # fmt: skip

    config = (result.file.parent / "top.config").read_text()
    assert config.startswith(".device LFE5U-45F\n") and "Part: LFE5U-45F-6CABGA381" in config
    assert steps == ["synthesis", "place and route"]
    assert result.keys["bytes"] == result.file.stat().st_size > 10_000


@pytest.mark.slow
def test_what_is_told_of_it(build, made):
    """Resources are those of the accelerator and of the top, counted as reports count them; every pin is placed."""
    result, _ = made
    keys = result.keys
    accelerator = synthesise(build, device(ULX3S.device)).total

    for name in ("lut", "ff", "bram", "dsp", "carry"):
        assert keys[name] >= getattr(accelerator, name), name
    assert keys["lut"] - accelerator.lut == keys["board_lut"] > 100
    assert keys["bram"] - accelerator.bram == 1, "the room for images is a block RAM"
    used = {name: cells["used"] for name, cells in keys["utilization"].items()}
    assert used["TRELLIS_IO"] == 4 + len(ULX3S.leds) + len(ULX3S.high)
    assert used["DP16KD"] == keys["bram"] and used["MULT18X18D"] == keys["dsp"]
    assert used["TRELLIS_FF"] == keys["ff"]
    assert keys["fmax_mhz"] >= keys["clock_mhz"] == 25
    assert keys["serial"]["image_bytes"] == build.program.input.shape[0] * build.manifest["beats"] * build.plan.pixels
    assert json.loads((result.file.parent / "bitstream.json").read_text()) == keys
    assert {path.name for path in result.file.parent.iterdir()} >= {"addax.bit", "addax_top.v", "ulx3s-45f.lpf"}


@pytest.mark.slow
def test_the_second_time_it_comes_from_the_cache_by_the_command(build, made, monkeypatch, capsys, tmp_path):
    first, _ = made
    monkeypatch.setattr(bitstream, "run_tool", None)
    out = tmp_path / "again"

    assert main(["bitstream", str(build.path), "--board", "ulx3s-45f", "-o", str(out), "--json"]) == 0

    keys = json.loads(capsys.readouterr().out)
    assert keys == {**first.keys, "bitstream": str(out / "addax.bit")}
    assert (out / "addax.bit").read_bytes() == first.file.read_bytes()


@pytest.mark.slow
@pytest.mark.guard
def test_a_design_that_does_not_fit_says_what_is_missing_before_it_is_placed(build, monkeypatch, tmp_path):
    small = replace(device(ULX3S.device), lut=100, dsp=0)
    monkeypatch.setattr(bitstream, "device", lambda name: small)
    monkeypatch.setattr(bitstream, "_place_and_pack", None)

    with pytest.raises(UserError, match=r"^build does not fit ulx3s-45f: [\d,]+ LUT4 of 100, [\d,]+ too many; "):
        make_bitstream(build, ULX3S, tmp_path / "bits")

    assert not (tmp_path / "bits").exists()


def test_a_shortage_names_what_is_short_alone():
    target = device("ecp5-25k")

    assert shortage(Resources(lut=24288, ff=24288, bram=56, dsp=28), target) == ""
    assert shortage(Resources(lut=30000, bram=57), target) == (
        "30,000 LUT4 of 24,288, 5,712 too many; 57 18-kbit block RAMs of 56, 1 too many"
    )


@pytest.mark.slow
def test_a_design_that_is_too_slow_is_refused(build, made, monkeypatch, tmp_path):
    def place(*_, **__):
        (tmp_path / "report.json").write_text(json.dumps({"fmax": {"clk": {"achieved": 24.94}}, "utilization": {}}))
        return tmp_path

    monkeypatch.setattr(bitstream, "_place_and_pack", place)

    with pytest.raises(UserError, match=r"^build misses the clock of ulx3s-45f: 24\.9 of 25 MHz with seed 1; try"):
        make_bitstream(build, ULX3S, tmp_path / "bits")

    assert not (tmp_path / "bits").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--board", "ulx3s-85f"], "build is for ecp5-45k, ulx3s-85f carries an ecp5-85k: generate it with --device"),
        (["--board", "ulx3s"], "unknown board 'ulx3s'; known: ulx3s-85f"),
        (["--board", "ulx3s-45f", "--baud", "4000000"], "ulx3s-45f: baud must be an integer in 1..3,125,000"),
    ],
)
def test_mistakes_end_in_one_line(build, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(bitstream, "map_parts", None)

    assert main(["bitstream", str(build.path), *arguments]) == 1

    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_what_the_board_adds_is_a_part_of_its_own(build):
    """So that the accelerator's parts are those of `addax report`, and found in its cache."""
    part = board_part(build, bitstream.top_verilog(build, ULX3S, baud=1_000_000))

    assert part.name == BOARD and part.top == "addax_top" and part.files == ()
    assert "(* blackbox *)\nmodule addax (" in part.text and "pipeline" not in part.text
