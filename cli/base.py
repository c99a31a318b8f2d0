"""What all verbs share: the group they stand in, their common options, and how they show what they found."""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from .. import __version__

__all__ = ["DEFAULT_BITS", "MISMATCH", "PATH", "cli", "listing", "show", "verb", "with_options"]

PATH = click.Path(path_type=Path)
MISMATCH = 3
"""Exit status of a verb that found RTL and golden model to differ."""
DEFAULT_BITS = 8
"""Bits of weights and features, where nothing else is asked for."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="addax")
def cli() -> None:
    """From a PyTorch network without multiplications to a verified, costed FPGA accelerator."""


def verb(function: Callable[..., int | None]) -> click.Command:
    """Register a verb and give it the options that all have."""

    @click.option("--debug", is_flag=True, help="Show tracebacks.")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON value on standard output, nothing else.")
    @functools.wraps(function)
    def wrapped(debug: bool, **options: Any) -> int:
        return function(**options) or 0

    return cli.command(function.__name__.rstrip("_"))(wrapped)


def with_options(options: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    """A decorator that gives a verb more options, in their order."""

    def wrap(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return wrap


def show(value: Any, as_json: bool, text: Callable[[Console], None]) -> None:
    """Print ``value`` as JSON, or what ``text`` prints for people."""
    if as_json:
        click.echo(json.dumps(value))
    else:
        text(Console(highlight=False))


def listing(title: str, rows: dict[str, Any]) -> Callable[[Console], None]:
    """A table of names and values, as `show` wants it."""

    def text(console: Console) -> None:
        table = Table(title=title, title_justify="left", show_header=False)
        for name, value in rows.items():
            table.add_row(name, str(value))
        console.print(table)

    return text
