"""Names of a Verilog text without escapes: modules after their place, the rest as it is called, with underscores."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from .keywords import KEYWORDS
from .modules import NAME, VerilogModule, VerilogPort, bare

__all__ = ["BETWEEN", "Renamed", "module_name", "plain"]

BETWEEN = "__"
"""Stands between the levels of a module's name; no prefix of a build holds it, so that no two builds share a name."""
_WORD = re.compile(rf'"[^"]*"|\\\S+ |(?<![\w\'$.]){NAME}')
"""A string, which is none of ours, or a name."""
_INSTANCE = re.compile(rf"  ({NAME}) +(?:#\(|({NAME}) ?\()")
"""The line that begins an instance: the module, and the instance where it has no parameters."""
_NAMED = re.compile(rf"  \) ({NAME}) ?\(")
"""The line between the parameters of an instance and its ports."""
_PIN = re.compile(rf"    \.({NAME})\((.*)\)(,?)")
_OTHER = re.compile(r"[^A-Za-z0-9_]")
_ROOT = re.compile(r"[^.\[]*")
_NUMBERED = re.compile(r"(.+?)\$\d+")


def plain(name: str) -> str:
    """A name as a simple identifier: no reserved word, letters, digits and underscores only; two of these stand before
    a field or an element, as before members of streams."""
    found = _OTHER.sub("_", re.sub(r"[.\[]", BETWEEN, name.replace("]", ""))) or "_"
    if found[0].isdigit():
        found = f"_{found}"
    return f"{found}_" if found in KEYWORDS else found


def module_name(top: str, *path: str) -> str:
    """Name of the module at ``path``, names of instances, below the module ``top``."""
    return BETWEEN.join([top, *(_OTHER.sub("_", level) for level in path)])


def _free(wanted: str, taken: set[str]) -> str:
    """``wanted``, or with the first number behind it that nobody has; taken from now on."""
    found, number = wanted, 2
    while found in taken:
        found, number = f"{wanted}_{number}", number + 1
    taken.add(found)
    return found


@dataclass(frozen=True, kw_only=True)
class Renamed:
    """New names for a whole text.

    Attributes
    ----------
    modules : of modules, by their names before
    ports : of the ports of each module, by its name before and theirs
    """

    top: str
    modules: Mapping[str, str]
    ports: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, modules: Sequence[VerilogModule], top: str) -> "Renamed":
        """New names for ``modules``, of which those that come first choose first."""
        names = dict.fromkeys([module.name for module in modules])
        for module in modules:
            kinds = (bare(found[1]) for line in module.body if (found := _INSTANCE.match(line)))
            names |= dict.fromkeys(kind for kind in kinds if kind.startswith(f"{top}."))
        taken: set[str] = set()
        own = {name: _free(module_name(top, *name.split(".")[1:]), taken) for name in names}
        return cls(top=top, modules=own, ports={module.name: _ports(module) for module in modules})

    def module(self, module: VerilogModule) -> VerilogModule:
        """``module`` with all names new."""
        names = _inside(module, self.ports[module.name])
        ports = tuple(_port(port, names) for port in module.ports)
        body, kind = [], None
        for line in module.body:
            text, kind = self._line(line, names, kind)
            body.append(text)
        return replace(module, name=self.modules[module.name], ports=ports, body=tuple(body))

    def _line(self, line: str, names: Mapping[str, str], kind: str | None) -> tuple[str, str | None]:
        """A line with new names, and in which instance the next one stands."""
        new = partial(_WORD.sub, lambda found: _renamed(found[0], names))
        if kind is None:
            begin = _INSTANCE.fullmatch(line)
            if begin is None:
                return new(line), None
            kind = bare(begin[1])
            module = self.modules.get(kind, begin[1])
            return f"  {module} {'#(' if begin[2] is None else f'{_renamed(begin[2], names)} ('}", kind
        if named := _NAMED.fullmatch(line):
            return f"  ) {_renamed(named[1], names)} (", kind
        if pin := _PIN.fullmatch(line):
            own = self.ports.get(kind, {})
            return f"    .{own.get(pin[1], pin[1])}({new(pin[2])}){pin[3]}", kind
        return line, None if line == "  );" else kind


def _renamed(name: str, names: Mapping[str, str]) -> str:
    return names.get(name, name)


def _port(port: VerilogPort, names: Mapping[str, str]) -> VerilogPort:
    return replace(port, name=names.get(port.name, port.name))


def _ports(module: VerilogModule) -> dict[str, str]:
    """New names of ports: as they are called, without the number that something inside made necessary."""
    taken: set[str] = set()
    found = {}
    for port in sorted(module.ports, key=lambda port: _NUMBERED.fullmatch(bare(port.name)) is not None):
        numbered = _NUMBERED.fullmatch(bare(port.name))
        found[port.name] = _free(plain(numbered[1] if numbered else bare(port.name)), taken)
    return found


def _inside(module: VerilogModule, ports: Mapping[str, str]) -> dict[str, str]:
    """New names of everything in ``module``.

    A net that has the name of a port gets the number that the port gave up, and so do its parts, which yosys names
    after it.
    """
    words = [word for word in dict.fromkeys(_words(module.body)) if word not in KEYWORDS]
    instances = {found[2] for line in module.body if (found := _INSTANCE.fullmatch(line)) and found[2]}
    instances |= {found[1] for line in module.body if (found := _NAMED.fullmatch(line))}
    moved = {bare(old): new for old, new in ports.items() if bare(old) != new}
    given = {new: plain(old) for old, new in moved.items() if "$" in old and new not in map(bare, instances)}
    names = dict(ports)
    taken = set(ports.values()) | {word for word in words if not word.startswith("\\") and word not in given}
    for word in words:
        name = bare(word)
        root = _ROOT.match(name)
        assert root is not None
        base = moved.get(root[0]) or given.get(root[0]) or root[0]
        if word not in names and (word.startswith("\\") or base != root[0]):
            names[word] = _free(plain(base + name[root.end() :]), taken)
    return names


def _words(lines: Iterable[str]) -> Iterable[str]:
    """Names in a text, in its order; reserved words are among them."""
    for line in lines:
        if pin := _PIN.fullmatch(line):
            line = pin[2]
        yield from (word for word in _WORD.findall(line) if not word.startswith('"'))
