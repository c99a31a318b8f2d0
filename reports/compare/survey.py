"""The survey on visual transformers as a living table: every transformer of the zoo in its category, with each kernel,
counted in torch and modelled on one engine."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...hdl.engine.plan import EnginePlan
from ...models.files.catalogue import catalogue
from ...models.nets.transformers.survey import SURVEY
from ...models.nets.zoo import NETWORKS, counts_of
from ..engine.modelled import VECTOR, modelled
from ..page.survey import survey_page
from ..power.asic45 import BUFFER_SOURCE, SOURCE
from .told import write_document

__all__ = ["SURVEY_ENGINE", "SURVEY_KERNELS", "survey_document", "write_survey"]

SURVEY_KERNELS = ("mult", "mult,*.scores=adder", "adder")
"""Kernels with which every transformer is counted: ordinary, with adder attention, and with adders wherever they may
stand; the context of attention is a product in all of them."""
SURVEY_ENGINE = EnginePlan(device="xczu7ev", clock_mhz=200.0)
"""On which they are modelled, unless another build is named."""
_MODELLED = ("cycles", "lane_utilization", "attention_cycles", "vector_cycles", "bytes_read", "bytes_written")


def survey_document(
    category: str | None = None, *, kernel: str | None = None, plan: EnginePlan = SURVEY_ENGINE,
    build: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What the page and the table show.

    Parameters
    ----------
    category : one of `SURVEY`; all unless given
    kernel : each with this one alone; with all of `SURVEY_KERNELS` unless given
    plan, build : the engine, and the name of its folder, if it has one

    Returns
    -------
    ``categories`` (``word``, ``what``), ``engine`` (``name``, ``vector``, ``plan``), ``energy`` (its sources), and
    ``rows``, one for each network and kernel: the keys of `catalogue`, and ``attention_share`` of the MACs, ``cycles``,
    ``lane_utilization``, ``attention_cycles``, ``vector_cycles``, ``bytes_read``, ``bytes_written``, ``energy_uj`` and
    ``energy_by`` (``lanes``, ``buffers``), modelled by `modelled`; None where the network has no form with the kernel,
    or the engine's lanes lack one.

    Raises
    ------
    UserError
        for a kernel that no network has.
    """
    words = list(SURVEY) if category is None else [category]
    placed = [name for word in words for name, entry in NETWORKS.items() if entry.survey == word]
    kernels = SURVEY_KERNELS if kernel is None else (kernel,)
    found = {own: {row["name"]: row for row in catalogue(kernel=own, among=placed)} for own in kernels}
    rows = [{**found[own][name], **_costs(name, own, plan)} for name in placed for own in kernels]
    lanes = f"{plan.pin} x {plan.pout} lanes of {', '.join(plan.kernels)}, {plan.bits} bit"
    name = f"{lanes}, memory of {plan.memory_bits} bit, {plan.device} at {plan.clock_mhz:g} MHz"
    return {
        "categories": [{"word": word, "what": SURVEY[word]} for word in words],
        "engine": {"name": name if build is None else f"{build}: {name}", "vector": VECTOR, "plan": plan.to_json()},
        "energy": {"lanes": SOURCE, "buffers": BUFFER_SOURCE}, "rows": rows,
    }  # fmt: skip


def _costs(name: str, kernel: str, plan: EnginePlan) -> dict[str, Any]:
    empty: dict[str, Any] = dict.fromkeys(("attention_share", *_MODELLED, "energy_uj", "energy_by"))
    try:
        counts = counts_of(name, kernel=kernel)
    except UserError:
        return empty
    share = {**empty, "attention_share": counts.attention / counts.macs}
    if not set(counts.terms) <= set(plan.kernels):
        return share
    run = modelled(plan, counts.works)
    values = (
        run.cycles, counts.macs / plan.lanes / run.cycles, run.attention, run.vector, run.read * plan.word_bytes,
        run.written * plan.word_bytes,
    )  # fmt: skip
    energy = {"lanes": run.lanes_pj / 1e6, "buffers": run.buffers_pj / 1e6}
    return share | dict(zip(_MODELLED, values, strict=True)) | {"energy_uj": run.energy_uj, "energy_by": energy}


def write_survey(document: Mapping[str, Any], out: Path, provenance: Mapping[str, Any]) -> Sequence[Path]:
    """Write ``survey.json`` and ``survey.html`` into the folder ``out``, whole or not at all; returns both.

    Raises
    ------
    UserError
        where ``out`` is something else, or cannot be written.
    """
    return write_document("survey", document, survey_page, out, provenance)
