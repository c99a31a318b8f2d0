"""Changes that papers claim against a multiplier, and what the same change is here."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..kernels.published import published
from ..power.scopes import SCOPES

__all__ = ["claims_beside"]

_SCOPED = {"logic": "lut_change", "power": "power_mw_change", "kernel": "lut_change"}
"""Which of a scope's changes answers a claim of what."""
_LANES, _ARRAYS, _WHOLE = SCOPES[0].name, SCOPES[1].name, SCOPES[-1].name
_ANSWERS = {"kernel": (_LANES,), "logic": (_ARRAYS, _WHOLE), "power": (_ARRAYS, _WHOLE)}
"""Scopes that answer it: a paper's circuit is lanes and trees, what one builds is the whole."""


def claims_beside(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The published claims about the kernels of a comparison, each beside what was found here.

    Parameters
    ----------
    rows : of a comparison whose rows have ``scopes``

    Returns
    -------
    ``claim``, ``paper``, ``ours`` and ``note`` in words; ``ours`` says so where nothing was measured.
    """
    known = {row["kernel"]: row for row in rows}
    base = known.get("mult")
    return [
        {
            "claim": f"{claim['kernel']}: {claim['of']}",
            "paper": _range(claim["low"], claim["high"]),
            "ours": _ours(claim["of"], known[claim["kernel"]], base),
            "note": f"{claim['source']}; {claim['terms']}",
        }
        for claim in published()["claim"]
        if claim["kernel"] in known and base is not None
    ]


def _ours(what: str, row: Mapping[str, Any], base: Mapping[str, Any] | None) -> str:
    assert base is not None
    if what in _SCOPED:
        found = [scope for scope in row["scopes"] if scope[_SCOPED[what]] is not None]
        shown = [scope for scope in found if scope["scope"] in _ANSWERS[what]]
        return "; ".join(f"{scope['scope']} {100 * scope[_SCOPED[what]]:+.1f} %" for scope in shown) or "not modelled"
    key = {"speed": "fmax_mhz", "energy": "energy_per_image_uj"}[what]
    if not row[key] or not base[key]:
        return "not measured"
    return f"{100 * (row[key] / base[key] - 1):+.1f} %" + (" of the whole device" if what == "energy" else "")


def _range(low: float, high: float) -> str:
    return f"{low:+g} %" if low == high else f"{low:+g} to {high:+g} %"
