"""A generated Verilog file cut into parts that are synthesised each by itself: the stages, and what joins them.

Every part is flattened and mapped alone, so a report can say what each stage costs, a changed stage leaves the others
in the cache, and no run of a tool ever sees more than one stage. Nothing is optimised across the border of a part, so
the sum over the parts is the whole design, and at most a few tables more than synthesis in one piece would give.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...common.errors import UserError
from ...hdl.blocks import BlockOf

__all__ = ["VerilogPart", "cut"]

_MODULE = re.compile(r"^module\s+(?:\\(\S+)|([A-Za-z_]\w*))", re.MULTILINE)
_END = re.compile(r"^endmodule\b[^\n]*\n?", re.MULTILINE)
_PORT = re.compile(r"^\s*(?:input|output)\b.*;$")
_FILE = re.compile(r'"([^"/]+\.mem)"')


@dataclass(frozen=True, kw_only=True)
class VerilogPart:
    """Verilog of one part.

    Attributes
    ----------
    name : what reports call it
    top : its top module
    text : its modules, and empty ones for the parts that it instantiates
    files : memory files that it reads
    block_of : how its cells are sorted into blocks; None for a part that is counted as one piece
    outer : whether its ports are the whole design's
    """

    name: str
    top: str
    text: str
    files: tuple[str, ...]
    block_of: BlockOf | None = None
    outer: bool = False


def cut(
    text: str, *, top: str, inner: Sequence[tuple[str, str]], rest: str, shared: Iterable[str] = ()
) -> list[VerilogPart]:
    """Cut ``text``.

    Parameters
    ----------
    top : the top module
    inner : name and module of each part; the modules below it have names that begin with its own and a dot
    rest : name of the part that holds everything else
    shared : modules that every part may instantiate

    Raises
    ------
    UserError
        when a module is not there.
    """
    modules = _modules(text)
    if missing := [module for module in (top, *(module for _, module in inner), *shared) if module not in modules]:
        raise UserError(f"the Verilog has no module {', '.join(missing)}")
    common = "".join(modules[name] for name in shared)
    parts, left, shells = [], dict(modules), []
    for name in shared:
        del left[name]
    for name, module in inner:
        own = [left.pop(key) for key in list(left) if key == module or key.startswith(f"{module}.")]
        shells.append(_shell(modules[module]))
        parts.append(_part(name, module, "".join(own) + common))
    parts.append(_part(rest, top, "".join(left.values()) + "".join(shells) + common, outer=True))
    return parts


def _part(name: str, top: str, text: str, *, outer: bool = False) -> VerilogPart:
    return VerilogPart(name=name, top=top, text=text, files=tuple(dict.fromkeys(_FILE.findall(text))), outer=outer)


def _modules(text: str) -> dict[str, str]:
    """Text of every module by its name."""
    found = {}
    place = 0
    while (begin := _MODULE.search(text, place)) is not None:
        end = _END.search(text, begin.end())
        if end is None:
            raise UserError("the Verilog ends inside a module")
        found[begin[1] or begin[2]] = text[begin.start() : end.end()]
        place = end.end()
    return found


def _shell(module: str) -> str:
    """``module`` without anything in it: its ports only."""
    head, _, body = module.partition(";\n")
    ports = [line for line in body.splitlines() if _PORT.match(line)]
    return "\n".join(["(* blackbox *)", f"{head};", *ports, "endmodule", ""])
