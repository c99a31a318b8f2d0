"""A generated Verilog file cut into parts that are synthesised each by itself: the stages, and what joins them.

Every part is flattened and mapped alone, so a report can say what each stage costs, a changed stage leaves the others
in the cache, and no run of a tool ever sees more than one stage. Nothing is optimised across the border of a part, so
the sum over the parts is the whole design, and at most a few tables more than synthesis in one piece would give.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...common.errors import UserError
from ...hdl.blocks import BlockOf

__all__ = ["VerilogPart", "cut", "instances_below"]

_MODULE = re.compile(r"^module\s+(?:\\(\S+)|([A-Za-z_]\w*))", re.MULTILINE)
_INSTANCE = re.compile(r"^  (\\\S+|[A-Za-z_]\w*) +(?:#\(\n(?:    .*\n)*  \) )?(\\\S+|[A-Za-z_]\w*) *\(", re.MULTILINE)
"""How an instance begins, with its parameters or without: the module, and what it is called."""
_END = re.compile(r"^endmodule\b[^\n]*\n?", re.MULTILINE)
_PORT = re.compile(r"^\s*(?:input|output)\b.*;$")
_UNNAMED = re.compile(r"(?<![\w$'.\\])_(?!\d+_\b)(\w+)")
"""A net without a name in the source; those between two underscores are yosys' own, and it knows them."""
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
    shells : modules of other parts that it instantiates
    block_of : how its cells are sorted into blocks; None for a part that is counted as one piece
    outer : whether its ports are the whole design's
    """

    name: str
    top: str
    text: str
    files: tuple[str, ...]
    shells: tuple[str, ...] = ()
    block_of: BlockOf | None = None
    outer: bool = False


def cut(
    text: str, *, top: str, inner: Sequence[tuple[str, Sequence[str]]], rest: str, shared: Iterable[str] = ()
) -> list[VerilogPart]:
    """Cut ``text``.

    Parameters
    ----------
    top : the top module
    inner : name of each part, and the names of the instances on the way from the top to it; the modules below it are
        its own
    rest : name of the part that holds everything else
    shared : modules that every part may instantiate

    Raises
    ------
    UserError
        when a module or an instance is not there.
    """
    modules = _modules(text)
    if missing := [module for module in (top, *shared) if module not in modules]:
        raise UserError(f"the Verilog has no module {', '.join(missing)}")
    inside = {module: _instances(body) for module, body in modules.items()}
    common = "".join(modules[name] for name in shared)
    parts, left, shells = [], dict(modules), {}
    for name in shared:
        del left[name]
    for name, way in inner:
        module = _found(top, way, inside)
        below = _below(module, inside)
        own = [left.pop(key) for key in list(left) if key in below]
        shells[module] = _shell(modules[module])
        parts.append(_part(name, module, "".join(own) + common))
    whole = _part(rest, top, "".join(left.values()) + "".join(shells.values()) + common)
    return [*parts, replace(whole, shells=tuple(shells), outer=True)]


def _part(name: str, top: str, text: str) -> VerilogPart:
    """A part. Its nets without a name of their own begin with a dollar, so that yosys calls cells after the others."""
    hidden = _UNNAMED.sub(r"\\$\1 ", text)
    return VerilogPart(name=name, top=top, text=hidden, files=tuple(dict.fromkeys(_FILE.findall(text))))


def instances_below(text: str, top: str) -> dict[tuple[str, ...], str]:
    """Modules of all instances below ``top`` whose modules are in ``text``, by the instances on the way to them."""
    modules = _modules(text)
    inside = {module: _instances(body) for module, body in modules.items()}
    found: dict[tuple[str, ...], str] = {}

    def visit(module: str, way: tuple[str, ...]) -> None:
        for instance, kind in inside[module].items():
            if kind in inside:
                found[*way, instance] = kind
                visit(kind, (*way, instance))

    visit(top, ())
    return found


def _instances(module: str) -> dict[str, str]:
    """Modules of the instances in the text of a module, by their names."""
    return {name.removeprefix("\\"): kind.removeprefix("\\") for kind, name in _INSTANCE.findall(module)}


def _found(top: str, way: Sequence[str], inside: Mapping[str, Mapping[str, str]]) -> str:
    """The module that the instances ``way`` lead to."""
    module = top
    for instance in way:
        if instance not in inside[module] or inside[module][instance] not in inside:
            raise UserError(f"the Verilog has no module {'.'.join([top, *way])}")
        module = inside[module][instance]
    return module


def _below(module: str, inside: Mapping[str, Mapping[str, str]]) -> set[str]:
    """``module`` and all that it holds."""
    return {module}.union(*(_below(kind, inside) for kind in inside[module].values() if kind in inside))


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
