"""Tables of runs that take long: a line is added when a run ends, and those that stand are not run again."""

import csv

__all__ = ["append", "done"]


def done(path):
    """Rows that stand in ``path``."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append(path, fields, row):
    """Add one row to ``path``, behind a head of ``fields`` where there is none."""
    fresh = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fields, lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)
