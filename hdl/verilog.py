"""The one emitter of Verilog: a component as text that means the same in Verilog-2005 and in SystemVerilog."""

import os
import re
from typing import Any

__all__ = ["LINT", "runs_at_once", "to_verilog", "without_lint"]

_DECLARED = re.compile(r"^  reg (\\\$auto\$verilog_backend\S+)  = 0;\n", re.MULTILINE)
"""How yosys declares the register that is to make every ``always @*`` block of a module run once."""
_READ = re.compile(r"\\\$auto\$verilog_backend\S+ ")
_BLOCK = re.compile(r"^( *)always @\*.*\n(?:\1  if \((\S+) \) begin end\n)?", re.MULTILINE)
_FIRE = r"\$fire "
"""What that register is called here; its blank belongs to the name."""

LINT = ("WIDTHEXPAND", "WIDTHTRUNC", "CASEINCOMPLETE", "CASEOVERLAP", "UNSIGNED", "CMPCONST", "UNOPTFLAT", "INITIALDLY")
"""What Verilator warns of in text that yosys wrote, though Verilog defines it: operands of several widths; a ``case``
behind a default assignment, with patterns in order; a comparison that is always true because a parameter says so; loops
through different bits of one signal; and `_FIRE`."""


def to_verilog(component: Any, name: str) -> str:
    """Verilog of an Amaranth component, whose top module is called ``name``.

    The text depends on the component alone: Amaranth's own yosys writes it, whatever is on PATH.
    """
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
    from amaranth.back import verilog

    return runs_at_once(verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True))


def without_lint(text: str) -> str:
    """``text`` with marks that keep Verilator from warning of `LINT` in it, and only in it."""
    marks = ["lint_save", *(f"lint_off {rule}" for rule in LINT)]
    before = "".join(f"/* verilator {mark} */\n" for mark in marks)
    return f"{before}{text}/* verilator lint_restore */\n"


def runs_at_once(text: str) -> str:
    """Verilog of yosys in which every ``always @*`` block runs at the beginning, in SystemVerilog too.

    Such a block runs when something that it reads changes, so one that reads constants, or registers that keep their
    first values, never would. yosys lets each read a register with an initial value: taking that value is a change in
    Verilog-2005, where declarations are initialised while blocks may wait already, but not in SystemVerilog, where that
    is done before any block begins. A nonblocking assignment takes place when all blocks wait, in both.

    Raises
    ------
    ValueError
        when a block reads no such register: yosys writes them otherwise than this function expects.
    """
    registers = set(_DECLARED.findall(text))
    if stray := [block[0] for block in _BLOCK.finditer(text) if block[2] not in registers]:
        raise ValueError(f"yosys wrote a block that might never run: {stray[0].strip()}")
    text = _DECLARED.sub(lambda _: f"  reg {_FIRE};\n  initial {_FIRE}<= 1'b1;\n", text)
    return _READ.sub(lambda _: _FIRE, text)
