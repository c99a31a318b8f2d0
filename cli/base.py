"""What all verbs share: the group they stand in, their common options, and how they show what they found."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from .. import __version__
from ..common.errors import UserError

__all__ = ["DEFAULT_BITS", "MISMATCH", "PATH", "cli", "listing", "percent", "positive", "show", "verb"]

PATH = click.Path(path_type=Path)
MISMATCH = 3
"""Exit status of a verb that found RTL and golden model to differ."""
DEFAULT_BITS = 8
"""Of weights and features, where nothing else is asked for."""


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


def percent(share: float) -> str:
    """``share`` of 1 in percent."""
    return f"{100 * share:.2f} %"


def positive(name: str, value: int | None) -> int | None:
    """``value``, or `UserError` where one is given that is below 1."""
    if value is not None and value < 1:
        raise UserError(f"{name} must be a positive integer, not {value}")
    return value
