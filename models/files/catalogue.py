"""The zoo as a list: for every network its paper, what it costs, and the checkpoints that come with addax."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ..layers.kernels import KERNELS, Kernels
from ..nets.counting import Counts
from ..nets.zoo import NETWORKS, counts_of, network_called, shipped_checkpoints
from .checkpoint import read_checkpoint

__all__ = ["catalogue"]


def catalogue(
    name: str | None = None, *, kernel: str | None = None, among: Iterable[str] | None = None
) -> list[dict[str, Any]]:  # fmt: skip
    """One entry for each network, or for that called ``name``.

    Each has ``name``, ``paper``, ``category``, ``survey`` (None where it is no transformer), ``kernel``, ``shape``,
    ``classes``; ``parameters`` and ``macs`` with that kernel, and ``terms``, the latter by kernel, ``attention`` and
    ``elements``, as `Counts` has them; ``checkpoint`` and ``accuracy`` of the one that has this kernel, or None; and
    ``checkpoints``, all that come along, each with ``kernel``, ``data``, ``accuracy`` and ``checkpoint``.

    Parameters
    ----------
    kernel : with which they are counted; each with the one that it is known for unless given
    among : networks of the list; all unless given

    Raises
    ------
    UserError
        for an unknown name or kernel, or where the network called ``name`` has no form with ``kernel``. In a list of
        all, the counts of such a network are None.
    """
    if name is not None:
        entry = network_called(name)
        return [_entry(entry.name, kernel or entry.kernel)]
    try:
        Kernels.of(kernel or KERNELS[0])
    except ValueError as error:
        raise UserError(str(error)) from error
    entries = [network_called(own) for own in (NETWORKS if among is None else among)]
    return [_entry(entry.name, kernel or entry.kernel, among_others=True) for entry in entries]


def _entry(name: str, kernel: str, *, among_others: bool = False) -> dict[str, Any]:
    entry = NETWORKS[name]
    try:
        counts: Counts | None = counts_of(name, kernel=kernel)
    except UserError:
        if not among_others:
            raise
        counts = None
    trained = [_trained(path) for path in shipped_checkpoints(name).values()]
    own = next((row for row in trained if row["kernel"] == kernel), {"checkpoint": None, "accuracy": None})
    return {
        "name": name, "paper": entry.paper, "category": entry.category, "survey": entry.survey, "kernel": kernel,
        "shape": list(entry.shape), "classes": entry.classes, "parameters": counts and counts.parameters,
        "macs": counts and counts.macs,
        "terms": dict(counts.terms) if counts else None, "attention": counts and counts.attention,
        "elements": dict(counts.elements) if counts else None,
        "checkpoint": own["checkpoint"], "accuracy": own["accuracy"], "checkpoints": trained,
    }  # fmt: skip


def _trained(path: Path) -> dict[str, Any]:
    _, recipe = read_checkpoint(path)
    return {
        "kernel": recipe.kernel, "data": recipe.data, "accuracy": recipe.accuracy, "checkpoint": str(path),
    }  # fmt: skip
