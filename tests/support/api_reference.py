"""``python tests/support/api_reference.py`` writes docs/api-reference.md from the docstrings of ``addax``."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import addax

FILE = Path(addax.__file__).parent / "docs" / "api-reference.md"
HEAD = "# Reference\n\nOf [addax from Python](api.md), made of docstrings by `python tests/support/api_reference.py`.\n"


def reference() -> str:
    """The page."""
    return HEAD + "".join(f"\n{part}" for name in addax.__all__ for part in told(name, getattr(addax, name)))


def told(name: str, what: object) -> Iterator[str]:
    """A function, or a class and its own public methods and properties, each as a heading and its docstring."""
    if inspect.ismodule(what):
        for inner in what.__all__:
            yield section(f"addax.{name}.{inner}", getattr(what, inner), "##")
        return
    yield section(f"addax.{name}", what, "##")
    if not inspect.isclass(what) or issubclass(what, Exception):
        return
    for member, value in vars(what).items():
        if not member.startswith("_") and inspect.getdoc(value) and (inspect.isfunction(value) or is_property(value)):
            yield section(f"{name}.{member}", value, "###")


def is_property(value: object) -> bool:
    """Whether it is read without a call."""
    return isinstance(value, property) or hasattr(value, "attrname")


def section(name: str, what: object, level: str) -> str:
    """Heading, signature and docstring."""
    call = "" if is_property(what) else signature(what)
    return (
        f"{level} `{name}`\n\n```python\n{name.rpartition('.')[2]}{call}\n```\n\n```text\n{inspect.getdoc(what)}\n```\n"
    )


def signature(what: object) -> str:
    """How it is called; a long one has its arguments on lines of their own."""
    found = inspect.signature(what)
    kept = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values() if p.name != "self"]
    call = str(inspect.Signature(kept))
    return call if len(call) < 100 else "(\n    " + ",\n    ".join(map(str, kept)) + ",\n)"


if __name__ == "__main__":
    FILE.write_text(reference())
