"""Figures that others have published, with their sources, read from ``published.toml``."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["abstract", "published"]

PAPER = "arXiv 2101.10015"
"""The AdderNet hardware paper."""


@cache
def published() -> dict[str, list[dict[str, Any]]]:
    """What others have published: ``claim`` and ``design``, with sources."""
    return tomllib.loads(Path(__file__).with_name("published.toml").read_text())


def abstract(of: str) -> tuple[float, float]:
    """The change against a multiplier that the abstract of the `PAPER` claims: lowest and highest, per cent.

    Parameters
    ----------
    of : ``kernel``, ``logic``, ``speed`` or ``power``
    """
    (claim,) = (one for one in published()["claim"] if one["of"] == of and PAPER in one["source"])
    return claim["low"], claim["high"]
