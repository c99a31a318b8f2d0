"""What a run of training has shown so far: a row per epoch, as a table, a CSV file and a plot."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ...common.files import write_text

__all__ = ["EpochRow", "Moment", "write_csv", "write_plot"]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where a run is.

    Attributes
    ----------
    epoch, step : from 0; ``step`` of this epoch has been done
    loss, metric : means over this epoch's images so far
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    metric: float


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """One epoch.

    Attributes
    ----------
    epoch : from 1
    learning_rate : at its end
    loss, metric : means over the training images, while they were trained on
    held_out_loss, held_out_metric : means over images that are not trained on, afterwards; None where there are none
    seconds : that the epoch took
    """

    epoch: int
    learning_rate: float
    loss: float
    metric: float
    held_out_loss: float | None
    held_out_metric: float | None
    seconds: float


def write_csv(path: Path, rows: Sequence[EpochRow], metric: str) -> None:
    """Write a line per epoch, whole or not at all; columns are called by the name of the metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name.replace("metric", metric) for field in fields(EpochRow)])
    writer.writerows(["" if value is None else value for value in asdict(row).values()] for row in rows)
    write_text(path, text.getvalue())


def write_plot(path: Path, rows: Sequence[EpochRow], metric: str) -> None:
    """Draw loss and metric over the epochs as SVG."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    FigureCanvasSVG(figure)
    epochs = [row.epoch for row in rows]
    for axes, name, key in zip(figure.subplots(1, 2), ("loss", metric), ("loss", "metric"), strict=True):
        for label, column in (("trained on", key), ("held out", f"held_out_{key}")):
            values: list[Any] = [getattr(row, column) for row in rows]
            if None not in values:
                axes.plot(epochs, values, label=label, marker="." if len(rows) == 1 else None)
        axes.set(xlabel="epoch", ylabel=name)
        axes.grid(alpha=0.3)
    figure.axes[0].legend()
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    write_text(path, text.getvalue())
