"""Frozen dataclasses as TOML and back: one table for each, ``kind`` where there is a choice."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from ...common.errors import UserError
from ...common.reading import read_regular

__all__ = ["as_toml", "as_values", "built", "one_of", "read_toml"]

T = TypeVar("T")
_TOML_BYTES = 1 << 20


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The values of a TOML file; ``what`` names the kind of file in the message of a `UserError`."""
    try:
        return tomllib.loads(read_regular(path, limit=_TOML_BYTES).decode())
    except OSError as error:
        raise UserError(f"cannot read {what} {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is no TOML: {error}") from error


def built(made: type[T], values: Any, where: str) -> T:
    """A dataclass ``made`` of the values of its table; raises `UserError` for keys that it does not have, or what its
    constructor refuses, with ``where`` in front."""
    if not isinstance(values, Mapping):
        raise UserError(f"{where} must be a table, not {values!r}")
    known = [field.name for field in fields(made)]  # type: ignore[arg-type]
    if unknown := [key for key in values if key not in known]:
        raise UserError(f"{where} has no {unknown[0]!r}; known: {', '.join(known)}")
    try:
        return made(**values)
    except TypeError as error:
        raise UserError(f"{where}: {error}") from error
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def one_of(kinds: Sequence[type[Any]], values: Any, where: str) -> Any:
    """One of several dataclasses, chosen by the ``kind`` of its table; raises `UserError` as `built`."""
    if not isinstance(values, Mapping):
        raise UserError(f"{where} must be a table, not {values!r}")
    known = {made.kind: made for made in kinds}
    own = dict(values)
    kind = own.pop("kind", None)
    if kind not in known:
        raise UserError(f"the kind of {where} must be one of {', '.join(known)}, not {kind!r}")
    return built(known[kind], own, f"{where} ({kind})")


def as_values(value: Any) -> Any:
    """Tables, arrays and plain values of a dataclass; what is None is left out."""
    if is_dataclass(value) and not isinstance(value, type):
        kind = {"kind": value.kind} if hasattr(value, "kind") else {}
        own = {field.name: getattr(value, field.name) for field in fields(value)}
        return kind | {name: as_values(held) for name, held in own.items() if held is not None}
    return [as_values(item) for item in value] if isinstance(value, tuple | list) else value


def as_toml(values: Mapping[str, Any]) -> str:
    """TOML of plain values, arrays of them, tables and arrays of tables, which stand behind the plain values."""
    lines = [f"{name} = {_plain(held)}" for name, held in values.items() if not _is_table(held)]
    for name, held in values.items():
        if _is_table(held):
            tables = [held] if isinstance(held, Mapping) else held
            mark = f"[{name}]" if isinstance(held, Mapping) else f"[[{name}]]"
            for table in tables:
                lines += ["", mark, *(f"{key} = {_plain(inner)}" for key, inner in table.items())]
    return "\n".join(lines) + "\n"


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and bool(value) and isinstance(value[0], Mapping))


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, str):
        escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in value)
        return f'"{escaped}"'
    if isinstance(value, int | float):
        return repr(value)
    raise TypeError(f"{value!r} has no form in a recipe")
