"""The program ``addax``: what it was told, done, and the exit status that says how that went."""

import os
import sys
import traceback
from collections.abc import Sequence

import click

from ..common.errors import UserError
from ..common.interrupts import signals_interrupt
from ..common.processes import end_tools
from ..common.temporary import NO_ROOM
from . import cache, costs, demo, engine, hardware, integers, kernels, networks, simulate  # noqa: F401  they register verbs
from .base import cli

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0 success, 1 a user's mistake, 2 wrong usage, 3 RTL and golden model differ, 130 interrupted by Ctrl-C or by a
    signal that asks to end.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with signals_interrupt():
            return int(cli.main(args=given, prog_name="addax", standalone_mode=False) or 0)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.UsageError as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        end_tools()  # what threads wait for that nobody asks any more
        click.echo("addax: interrupted", err=True)
        # An interrupt that passed through an `exec` (every dataclass that is defined is one) has `python -m` end by the
        # signal instead of with our status, although it was caught; the next `exec` that ends well makes it forget.
        exec("")  # noqa: S102 - a constant
        return 130
    except UserError as error:
        if "--debug" in given:
            traceback.print_exc()
        click.echo(f"addax: {error}", err=True)
        return error.exit_code
    except BrokenPipeError:
        _forget_output()
        return 1
    except OSError as error:
        if "--debug" in given:
            traceback.print_exc()
        _forget_output()
        click.echo(f"addax: {_system_error(error)}", err=True)
        return 1
    except Exception as error:
        if "--debug" in given:
            traceback.print_exc()
        click.echo(f"addax: internal error: {type(error).__name__}: {error} (--debug shows where)", err=True)
        return 1


def _system_error(error: OSError) -> str:
    """What the system refused, in one line."""
    what = " ".join(str(error.strerror or error).split())
    if error.filename is None:
        return f"cannot write the output: {what}" if error.errno in NO_ROOM else f"the system refused: {what}"
    return f"cannot {'write' if error.errno in NO_ROOM else 'use'} {error.filename}: {what}"


def _forget_output() -> None:
    """What cannot be written to standard output now could not be at the end either, where Python would complain."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
