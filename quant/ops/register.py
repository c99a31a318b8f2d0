"""Registers: what one consumer of Programs does for every kind of operation.

A consumer (the golden model, an export, ..) holds one `Register` and fills it in its own room. A kind of operation from
outside the package registers itself in the same way.
"""

from collections.abc import Callable, ItemsView, Iterator
from typing import Generic, TypeVar

from .base import Op

__all__ = ["Register"]

Entry = TypeVar("Entry")


class Register(Generic[Entry]):
    """One entry for every kind of operation; subclasses of a kind share its entry.

    Parameters
    ----------
    consumer : who asks, as a message names it: "the golden model"
    """

    def __init__(self, consumer: str):
        self.consumer = consumer
        self._entries: dict[type[Op], Entry] = {}

    def __contains__(self, kind: type[Op]) -> bool:
        return kind in self._entries

    def __iter__(self) -> Iterator[type[Op]]:
        return iter(self._entries)

    def items(self) -> ItemsView[type[Op], Entry]:
        """Kinds and their entries."""
        return self._entries.items()

    def register(self, kind: type[Op], entry: Entry) -> None:
        """Let ``kind`` have ``entry``; raises ``ValueError`` where it has one."""
        if kind in self._entries:
            raise ValueError(f"{self.consumer} knows operation {kind.__name__} already")
        self._entries[kind] = entry

    def handles(self, *kinds: type[Op]) -> Callable[[Entry], Entry]:
        """A decorator that makes what it decorates the entry of all ``kinds``."""

        def keep(entry: Entry) -> Entry:
            for kind in kinds:
                self.register(kind, entry)
            return entry

        return keep

    def remove(self, kind: type[Op]) -> None:
        """Forget ``kind``; a ``KeyError`` where it was never registered."""
        del self._entries[kind]

    def find(self, op: Op) -> Entry | None:
        """The entry of ``op``, or None where its kind is not registered."""
        return next((self._entries[kind] for kind in type(op).__mro__ if kind in self._entries), None)

    def of(self, op: Op) -> Entry:
        """The entry of ``op``.

        Raises
        ------
        TypeError
            by the name of the operation, where its kind is not registered.
        """
        entry = self.find(op)
        if entry is None:
            raise TypeError(f"unknown operation {type(op).__name__}: {self.consumer} cannot do {op.name!r}")
        return entry
