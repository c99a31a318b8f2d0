"""A bitstream of a BUILD for a board: the top around it, synthesis, place and route, packing. Cached by content."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...common.cache import cached, digest, reading
from ...common.errors import UserError
from ...common.files import atomic_directory, write_json, write_text
from ...hdl.board.boards import Board, constraints
from ...hdl.board.serial import SerialFormat
from ...hdl.board.top import top_name, top_verilog
from ...hdl.board.uart import FRAME
from ...hdl.folder.build import Build
from ..devices.devices import Device, device
from ..devices.parts import VerilogPart, cut
from ..devices.resources import Resources
from ..tools.run import find_tool, run_tool, tool_version
from .place import placer
from .synth import Synthesis, joined, map_parts, parts_of

__all__ = ["BOARD", "DEFAULT_BAUD", "Bitstream", "board_part", "make_bitstream", "shortage"]

KIND = "bitstream"
DEFAULT_BAUD = 1_000_000
"""25 clock cycles of a 25 MHz board to the bit, and a third of the 3 MHz that USB bridges of FTDI divide: exact at both
ends."""
BOARD = "board"
"""What reports call all that the top adds to the accelerator."""
_PACKER = "yowasp-ecppack"
_CONFIG = "top.config"
_BITS = "top.bit"


@dataclass(frozen=True, kw_only=True)
class Bitstream:
    """A finished bitstream.

    Attributes
    ----------
    keys : the flat values that scripts read
    file : what goes onto the board
    """

    keys: dict[str, Any]
    file: Path


def make_bitstream(
    build: Build,
    board: Board,
    out: str | Path,
    *,
    baud: int = DEFAULT_BAUD,
    seed: int = 1,
    step: Callable[[str], None] = lambda text: None,
) -> Bitstream:
    """Put ``build`` on ``board`` and write bitstream, top, constraints and ``bitstream.json`` into the folder ``out``.

    Parameters
    ----------
    baud : of the serial line
    seed : of place and route
    step : told what begins

    Raises
    ------
    UserError
        when the build is for another device, does not fit, or misses the clock of the board; when a tool is missing or
        fails.
    """
    out = Path(out)
    top, target, pins = _top_of(build, board, baud=baud), device(board.device), constraints(board)
    step("synthesis")
    synthesis = map_parts([*parts_of(build), board_part(build, top)], build.path, target)
    if missing := shortage(synthesis.total, target):
        raise UserError(f"{build.path.name} does not fit {board.name}: {missing}")
    step("place and route")
    netlist = joined(synthesis.netlists, top_name(build))
    folder = _place_and_pack(netlist, pins, board, target, top=top_name(build), seed=seed)
    fmax, used = _placed(folder)
    if fmax < board.clock_mhz:
        raise UserError(
            f"{build.path.name} misses the clock of {board.name}: {fmax:.1f} of {board.clock_mhz:g} MHz with seed "
            f"{seed}; try another --seed"
        )
    file = out / f"{build.prefix}.bit"
    keys: dict[str, Any] = {
        "board": board.name,
        "device": target.name,
        "bitstream": str(file),
        "bytes": (folder / _BITS).stat().st_size,
        **_sizes(synthesis),
        "utilization": used,
        "clock_mhz": board.clock_mhz,
        "fmax_mhz": fmax,
        "seed": seed,
        **_line(build, board, baud),
        "tools": _tools(synthesis, target),
    }
    with atomic_directory(out, KIND) as made:
        shutil.copy(folder / _BITS, made / file.name)
        write_text(made / f"{top_name(build)}.v", top)
        write_text(made / f"{board.name}.lpf", pins)
        write_json(made / "bitstream.json", keys)
    return Bitstream(keys=keys, file=file)


def _top_of(build: Build, board: Board, *, baud: int) -> str:
    """Verilog of the top around ``build``; refuses a build for another device, or a line that the board cannot have."""
    if build.plan.device != board.device:
        raise UserError(
            f"{build.path.name} is for {build.plan.device}, {board.name} carries an {board.device}: "
            f"generate it with --device {board.device}"
        )
    try:
        return top_verilog(build, board, baud=baud)
    except ValueError as error:
        raise UserError(f"{board.name}: {error}") from error


def _placed(folder: Path) -> tuple[float, dict[str, Any]]:
    """The slowest clock's MHz and the cells that are used, from nextpnr's report in ``folder``."""
    with reading(folder, "report of nextpnr"):
        placed = json.loads((folder / "report.json").read_text())
        fmax = min(float(clock["achieved"]) for clock in placed["fmax"].values())
        return fmax, {name: cells for name, cells in placed["utilization"].items() if cells["used"]}


def _sizes(synthesis: Synthesis) -> dict[str, int]:
    """Cells of the whole design, and how many lookup tables of them the board's top takes."""
    total = {key: getattr(synthesis.total, key) for key in ("lut", "ff", "bram", "dsp", "carry")}
    return {**total, "board_lut": synthesis.parts[BOARD].lut}


def _tools(synthesis: Synthesis, target: Device) -> dict[str, str]:
    """The version of every tool on the way."""
    return {
        synthesis.tool: synthesis.version,
        placer(target): tool_version(find_tool(placer(target)), "nextpnr"),
        _PACKER: tool_version(find_tool(_PACKER), "ecppack"),
    }


def _line(build: Build, board: Board, baud: int) -> dict[str, Any]:
    """The serial line, and how many images per second it and the accelerator let through."""
    form = SerialFormat.of(build)
    line = baud / FRAME / max(form.image_bytes, form.answer_bytes)
    rate = min(line, board.clock_mhz * 1e6 / build.schedule.interval)
    return {"baud": baud, "serial": form.to_json(), "images_per_second": rate}


def board_part(build: Build, top: str) -> VerilogPart:
    """``top``, Verilog of `top_verilog`, without the accelerator, which is synthesised in parts of its own."""
    text = top + build.sources[0].read_text()
    *_, rest = cut(text, top=top_name(build), inner=[("accelerator", ["accelerator"])], rest=BOARD)
    return rest


def shortage(total: Resources, target: Device) -> str:
    """What ``total`` takes more of than ``target`` has, in words; empty when it fits."""
    over = []
    for key in ("lut", "ff", "bram", "dsp"):
        wants, has = getattr(total, key), getattr(target, key)
        if wants > has:
            over.append(f"{wants:,} {getattr(target.units, key)} of {has:,}, {wants - has:,} too many")
    return "; ".join(over)


def _place_and_pack(netlist: Path, pins: str, board: Board, target: Device, *, top: str, seed: int) -> Path:
    """Folder with the bitstream and nextpnr's report."""
    nextpnr, packer = find_tool(placer(target)), find_tool(_PACKER)
    # The catalogue's options place a design without a board around it.
    size = [option for option in target.place.split() if option != "--out-of-context"]
    options = [
        *size, "--package", board.package, "--speed", str(board.speed), "--freq", f"{board.clock_mhz:g}",
        "--seed", str(seed), "--top", top,
    ]  # fmt: skip
    versions = tool_version(nextpnr, "nextpnr"), tool_version(packer, "ecppack")
    key = digest(*versions, *options, pins, netlist.read_bytes())

    def make(folder: Path) -> None:
        shutil.copy(netlist, folder / "netlist.json")
        write_text(folder / "pins.lpf", pins)
        run_tool(
            [nextpnr, *options, "--json", "netlist.json", "--lpf", "pins.lpf", "--textcfg", _CONFIG,
             "--report", "report.json", "--timing-allow-fail", "-q"],
            folder, "nextpnr",
        )  # fmt: skip
        run_tool([packer, "--compress", "--input", _CONFIG, "--bit", _BITS], folder, "ecppack")
        for name in ("netlist.json", _CONFIG):
            (folder / name).unlink()

    folder, _ = cached("bitstream", key, make)
    return folder
