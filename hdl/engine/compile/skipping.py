"""What is computed only where pixels ask for it: bands of the tensors among which an arg-max chooses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ....common.errors import UserError
from ..plan import MOST_PREDICATES, EnginePlan
from ..records import Across, Unit
from .advice import built_with
from .bands import Band
from .reading.layers import EngineLayer, EngineNetwork

__all__ = ["Condition", "Skip", "conditions_of", "in_order_of_need", "skips_of"]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A layer is needed only where the numbers of ``mask``, a stored tensor, are ``number``."""

    mask: str
    number: int


@dataclass(frozen=True, kw_only=True)
class Skip:
    """A band of a layer is needed only if ``number`` is in one of ``bands`` bands of ``mask`` from ``first`` on; those
    of all masks together are counted from ``entry``, its first one, on."""

    mask: str
    number: int
    first: int
    bands: int
    entry: int


def conditions_of(network: EngineNetwork) -> dict[str, Condition]:
    """The layers of ``network`` that only one choice needs, and what they need for that.

    Those are the layers of its branches, if a branch stands in one place and its number is that of no other; and what
    nothing but such layers reads.
    """
    made = {layer.name: layer for layer in network.layers}
    readers: dict[str, list[EngineLayer]] = {}
    for layer in network.layers:
        for name in layer.reads:
            for part in network.stored(name):
                readers.setdefault(part, []).append(layer)
    # Rows of what is read word by word are no rows of what it is read from.
    moved = {name for move in network.moves.values() for name in move.tensors}
    found: dict[str, Condition] = {}
    for layer in reversed(network.layers):
        after = readers.get(layer.name, [])
        if layer.shuffle > 1 or layer.across is not Across.NOTHING or layer.name == network.output or not after:
            continue
        if layer.name in moved:
            continue
        needs = {_needed(layer.name, reader, made, found) for reader in after}
        if len(needs) == 1 and (need := needs.pop()) is not None:
            found[layer.name] = need
    return found


def _needed(
    name: str, reader: EngineLayer, made: Mapping[str, EngineLayer], found: Mapping[str, Condition]
) -> Condition | None:  # fmt: skip
    """Where ``reader`` needs the tensor ``name``; None where it always does."""
    if reader.unit is not Unit.CHOICE:
        # What joins as one pixel is needed for all bands, and so are tokens that are weights.
        whole = reader.hold and reader.residual == name
        return None if whole or reader.other == name else found.get(reader.name)
    mask, *branches = reader.stacked
    maker, places = made.get(mask), [place for place, branch in enumerate(branches) if branch == name]
    if maker is None or maker.across is not Across.NUMBER or len(places) != 1:
        return None
    # Numbers behind that of the last branch stand for it.
    more = places[0] == len(branches) - 1 and len(maker.multiplier) > len(branches)
    return None if more else Condition(mask=mask, number=places[0])


def in_order_of_need(network: EngineNetwork, conditions: Mapping[str, Condition]) -> EngineNetwork:
    """``network`` whose layers under a condition stand in front of the choice that needs them, behind its mask; the
    numbers of masks are kept."""
    masks = {condition.mask for condition in conditions.values()}
    layers: list[EngineLayer] = []
    waiting: list[EngineLayer] = []
    for layer in network.layers:
        if layer.name in conditions:
            waiting.append(layer)
            continue
        if layer.unit is Unit.CHOICE:
            own = [one for one in waiting if conditions[one.name].mask == layer.stacked[0]]
            layers += own
            waiting = [one for one in waiting if one not in own]
        layers.append(replace(layer, marks=True) if layer.name in masks else layer)
    return replace(network, layers=tuple(layers))


def skips_of(
    network: EngineNetwork, conditions: Mapping[str, Condition], bands: Mapping[str, Sequence[Band]], plan: EnginePlan
) -> dict[str, tuple[Skip, ...]]:  # fmt: skip
    """For each layer under a condition what each of its bands needs: the bands of the mask that lie beside it, or
    beside bands that read it.

    Raises
    ------
    UserError
        where masks have more bands than are kept.
    """
    entries: dict[str, int] = {}
    count = 0
    for layer in network.layers:
        if layer.marks:
            entries[layer.name] = count
            count += len(bands[layer.name])
    if count > plan.predicates:
        raise UserError(
            f"the numbers of {count:,} bands say what is skipped; the engine keeps {plan.predicates:,}; "
            f"{built_with('predicates', 1 << (count - 1).bit_length(), MOST_PREDICATES)}"
        )
    rows: dict[str, list[tuple[int, int]]] = {}
    for layer in reversed(network.layers):
        if layer.name in conditions:
            readers = [one for one in network.layers if _reads(one, layer.name, network)]
            rows[layer.name] = [
                _ends(band, layer.name, readers, bands, rows, network) for band in bands[layer.name]
            ]  # fmt: skip
    found = {}
    for name, condition in conditions.items():
        mask = bands[condition.mask]
        own = []
        for begin, end in rows[name]:
            beside = [k for k, band in enumerate(mask) if band.row < end and begin < band.row + band.rows]
            own.append(Skip(
                mask=condition.mask, number=condition.number, first=beside[0], bands=len(beside),
                entry=entries[condition.mask],
            ))  # fmt: skip
        found[name] = tuple(own)
    return found


def _reads(layer: EngineLayer, name: str, network: EngineNetwork) -> bool:
    return any(name == read or name in [part.tensor for part in network.views.get(read, ())] for read in layer.reads)


def _ends(
    band: Band, name: str, readers: Sequence[EngineLayer], bands: Mapping[str, Sequence[Band]],
    rows: Mapping[str, list[tuple[int, int]]], network: EngineNetwork,
) -> tuple[int, int]:  # fmt: skip
    """From which row of the mask to which one ``band`` of ``name`` is needed, if the number is there."""
    found = []
    for reader in readers:
        for number, own in enumerate(bands[reader.name]):
            begin, end = own.first_taken, own.first_taken + own.taken
            if reader.residual is not None and _is(reader.residual, name, network):
                begin, end = min(begin, own.row), max(end, own.row + own.rows)
            if begin < band.row + band.rows and band.row < end:
                chosen = reader.unit is Unit.CHOICE
                found.append((band.row, band.row + band.rows) if chosen else rows[reader.name][number])
    # What no band reads is needed where it stands, which costs nothing but keeps the order.
    return (min(begin for begin, _ in found), max(end for _, end in found)) if found else (0, 1)


def _is(read: str, name: str, network: EngineNetwork) -> bool:
    return name == read or name in [part.tensor for part in network.views.get(read, ())]
