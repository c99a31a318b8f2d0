"""Progress on standard error: bars and steps for people, silence for pipes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)  # fmt: skip

__all__ = ["bar", "meter", "stderr", "steps"]

stderr = Console(stderr=True, highlight=False)


@contextmanager
def bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar while the block runs; call what it yields with how much was done."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        task = progress.add_task(label, total=total)
        yield lambda done: progress.advance(task, done)


@contextmanager
def meter(label: str) -> Iterator[Callable[[int, int, str], None]]:
    """Show a progress bar with figures; call what it yields with how much is done, of how much, and the figures."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    remaining = TimeRemainingColumn(compact=True)
    with Progress(*columns, remaining, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total, text: progress.update(
            task, completed=done, total=total, description=f"{label}: {text}"
        )


@contextmanager
def steps(label: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done while the block runs; call what it yields when the next step begins."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        task = progress.add_task(label, total=None)
        yield lambda text: progress.update(task, description=f"{label}: {text}")
