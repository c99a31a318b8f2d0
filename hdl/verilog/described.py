"""What the modules of an Amaranth component are: their order, what their classes say of them, and their ports."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Elaboratable, Fragment, Module
from amaranth.lib import wiring

__all__ = ["Described", "described"]

_NUMBER = re.compile(r"\$\d+(?=\.|$)")
"""What Amaranth puts behind a name that something else has."""
_LONGEST = 110


class _Elaborated(Elaboratable):
    """A component that is elaborated once, so that what it became can be asked afterwards."""

    def __init__(self, component: Any):
        self._component = component
        self.fragment = Fragment.get(component, None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._component, name)

    def elaborate(self, platform: Any) -> Fragment:
        return self.fragment


@dataclass(frozen=True, kw_only=True, eq=False)
class Described:
    """A component, and what is known of its modules by their names in RTLIL, instances joined by dots."""

    component: Any
    origins: dict[str, Any]
    places: dict[str, int]

    def place(self, module: str) -> tuple[int, str]:
        """Where ``module`` stands among the others in the order in which they are made; a key to sort by."""
        return self.places.get(_NUMBER.sub("", module), len(self.places)), module

    def said(self, module: str) -> str:
        """The first sentence of what the class of ``module`` says of itself; empty where it says nothing."""
        origin = self.origins.get(_NUMBER.sub("", module))
        text = "" if origin is None else inspect.cleandoc(type(origin).__doc__ or "")
        paragraph = " ".join(text.partition("\n\n")[0].split()).replace("``", "").replace("`", "")
        sentence = re.match(r".*?[.:](?= |$)|.*", paragraph)
        found = sentence[0].rstrip(".:") if sentence else ""
        return found if len(found) <= _LONGEST else f"{found[:_LONGEST].rpartition(' ')[0]} ..."

    def ports(self, module: str) -> list[str]:
        """Names of the ports that the component of ``module`` declares, in its order."""
        origin = self.origins.get(_NUMBER.sub("", module))
        if not isinstance(origin, wiring.Component):
            return []
        return ["__".join(map(str, path)) for path, _, _ in origin.signature.flatten(origin)]


def described(component: Any, name: str) -> Described:
    """Elaborate ``component``, whose top module is to be called ``name``."""
    elaborated = _Elaborated(component)
    origins, places = {}, {}
    for place, (path, fragment) in enumerate(_walk(elaborated.fragment, name)):
        places[path] = place
        made = [origin for origin in fragment.origins or () if not isinstance(origin, Module | Fragment)]
        if made:
            origins[path] = made[-1]
    origins[name] = component
    return Described(component=elaborated, origins=origins, places=places)


def _walk(fragment: Any, path: str) -> Iterator[tuple[str, Any]]:
    """All fragments by their paths, each before those in it."""
    yield path, fragment
    for inner, name, _ in fragment.subfragments:
        yield from _walk(inner, f"{path}.{name or 'U'}")
