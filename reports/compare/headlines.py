"""Headline claims of the papers beside what is counted or measured here.

What is published stands in ``headlines.toml``; the zoo counts networks, and a comparison (``compare.json`` of ``addax
compare``) answers what is said of kernels.
"""

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...common.reading import read_json
from ...models.nets.zoo import counts_of
from ..kernels.published import PAPER, published
from ..page.headlines import headlines_page
from .told import write_document

__all__ = ["headlines_document", "published_papers", "write_headlines"]

_COMPARE = "addax compare lenet5 --device ecp5-85k --power --place"
_TERMS = {"network": str, "device": str, "bits": int, "clock_mhz": float}
"""Terms of a comparison that are told, and what they are."""
_ADDER = ("2101.10015", "AdderNet hardware")


@cache
def _headlines() -> list[dict[str, Any]]:
    return tomllib.loads(Path(__file__).with_name("headlines.toml").read_text())["headline"]


def published_papers() -> tuple[str, ...]:
    """Numbers in arXiv of the papers whose claims are known, that of the AdderNet hardware first."""
    return (_ADDER[0], *dict.fromkeys(claim["paper"] for claim in _headlines()))


def headlines_document(paper: str | None = None, compared: Path | None = None) -> dict[str, Any]:
    """Claims of all papers, or of one.

    Parameters
    ----------
    compared : ``compare.json`` of ``addax compare``, for the claims about kernels

    Returns
    -------
    ``rows``: ``paper``, ``name``, ``claim``, ``unit``, ``low`` and ``high`` as published; ``ours``, a number in the
    same unit, or None; ``answer``, ours in words where a claim has several answers; ``off``, how far ours lies outside
    of what is published, in points where the unit is %, else in % of it; ``command``, which measures it, or None with
    ``why``; ``source``. And ``compared``, the terms of the comparison.

    Raises
    ------
    UserError
        for a paper without claims, and a file that is no comparison.
    """
    if paper is not None and paper not in published_papers():
        raise UserError(f"no claims of {paper!r}; known: {', '.join(published_papers())}")
    terms, answers = ({}, {}) if compared is None else _answers(compared)
    rows = [*_kernel_rows(answers), *(_counted(claim) for claim in _headlines())]
    return {"rows": [row for row in rows if paper in (None, row["paper"])], "compared": terms}


def write_headlines(document: Mapping[str, Any], out: Path, provenance: Mapping[str, Any]) -> Sequence[Path]:
    """Write ``claims.json`` and ``claims.html`` into the folder ``out``, whole or not at all; returns both.

    Raises
    ------
    UserError
        where ``out`` is something else, or cannot be written.
    """
    return write_document("claims", document, headlines_page, out, provenance)


def _row(paper: str, name: str, claim: Mapping[str, Any], **found: Any) -> dict[str, Any]:
    """A row of the document; what is not ``found`` is None."""
    low, high, ours = claim.get("low"), claim.get("high"), found.get("ours")
    off = None if low is None or high is None or ours is None else _off(ours, low, high, claim["unit"])
    return {
        "paper": paper, "name": name, "claim": claim["claim"], "unit": claim["unit"], "low": low, "high": high,
        "ours": ours, "answer": found.get("answer"), "off": off, "command": found.get("command"),
        "why": claim.get("why"), "source": claim["source"],
    }  # fmt: skip


def _counted(claim: Mapping[str, Any]) -> dict[str, Any]:
    """A claim that counting a network of the zoo answers, or one network against another; or one that nothing does."""
    if "network" not in claim:
        return _row(claim["paper"], claim["name"], claim)
    names = [claim["network"], *([claim["against"]] if "against" in claim else [])]
    counts = [float(getattr(counts_of(name), claim["of"])) for name in names]
    ours = counts[0] if len(counts) == 1 else 100 * (counts[0] / counts[1] - 1)
    command = "; ".join(f"addax zoo {name}" for name in names)
    return _row(claim["paper"], claim["name"], claim, ours=ours, command=command)


def _off(ours: float, low: float, high: float, unit: str) -> float:
    nearest = min(max(ours, low), high)
    return ours - nearest if unit == "%" else 100 * (ours / nearest - 1)


def _kernel_rows(answers: Mapping[str, str]) -> list[dict[str, Any]]:
    """What the abstract of the AdderNet hardware paper says of its kernel, answered where there is a comparison."""
    rows = []
    for claim in published()["claim"]:
        if PAPER in claim["source"]:
            name = f"{claim['kernel']}: {claim['of']}"
            told = {**claim, "claim": f"{name}, against a multiplier", "unit": "%"}
            rows.append(_row(*_ADDER, told, answer=answers.get(name), command=_COMPARE))
    return rows


def _answers(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The terms of a comparison, and its own figures by what is claimed: those of the first paper that claims it."""
    found = read_json(path, "compare.json of 'addax compare'")
    try:
        terms = {key: kind(found["terms"][key]) for key, kind in _TERMS.items()}
        own = {str(claim["claim"]): str(claim["ours"]) for claim in reversed(found["claims"]) if PAPER in claim["note"]}
    except KeyError as error:
        raise UserError(f"{path} is not a compare.json of 'addax compare': it has no {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path} is not a compare.json of 'addax compare': {error}") from error
    if not own:
        raise UserError(f"{path} has no kernels beside mult, so it answers no claim; compare adder,mult")
    return terms, own
