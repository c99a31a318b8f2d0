"""GhostSR from a trained network: which filters of each convolution are computed, the others becoming moved copies."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Generator, Tensor, nn

from ..layers.ghost import GhostConv2d
from .edsr import EDSRBlock

__all__ = ["cluster_from_dense", "intrinsic_filters"]

_ROUNDS = 100
"""Of k-means at most; tens are enough for a few hundred filters."""


def intrinsic_filters(filters: Tensor, count: int, *, seed: int = 0) -> tuple[list[int], list[int]]:
    """The filters that stand for all: k-means of the flattened filters, and in each cluster the one nearest to its
    centre (Nie et al. 2021 say no more of it). The first centres are drawn by k-means++; ties go to the lowest number.

    Parameters
    ----------
    filters : (O, ..)
    count : of clusters, 1 .. O
    seed : of the first centres

    Returns
    -------
    numbers of ``count`` filters, all different, by cluster; and the cluster of every filter

    Raises
    ------
    ValueError
        for another count.
    """
    points = filters.detach().flatten(1).double().cpu()
    if not 1 <= count <= len(points):
        raise ValueError(f"of {len(points)} filters 1..{len(points)} can be chosen, not {count}")
    centres = _first_centres(points, count, Generator().manual_seed(seed % (1 << 63)))
    of = _nearest(points, centres)
    for _ in range(_ROUNDS):
        centres = torch.stack([points[of == k].mean(0) if (of == k).any() else centres[k] for k in range(count)])
        before, of = of, _nearest(points, centres)
        if torch.equal(before, of):
            break
    return _chosen(points, centres, of), of.tolist()


def _first_centres(points: Tensor, count: int, random: Generator) -> Tensor:
    """Filters, each drawn with the square of its distance from those before it as weight."""
    chosen = [int(torch.randint(len(points), (1,), generator=random))]
    while len(chosen) < count:
        far = (points[:, None] - points[chosen]).square().sum(2).min(1).values
        far[chosen] = 0
        if not far.any():  # the others equal filters that are centres already
            far = torch.ones_like(far).index_fill_(0, torch.tensor(chosen), 0)
        chosen.append(int(torch.multinomial(far, 1, generator=random)))
    return points[chosen]


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    return (points[:, None] - centres).square().sum(2).argmin(1)


def _chosen(points: Tensor, centres: Tensor, of: Tensor) -> list[int]:
    """By cluster the nearest of its filters; of a cluster without any, the nearest of those that nobody took."""
    far = (points[:, None] - centres).square().sum(2)
    full = [k for k in range(len(centres)) if bool((of == k).any())]
    taken: dict[int, int] = {}
    for k in (*full, *(k for k in range(len(centres)) if k not in full)):
        own = far[:, k].clone()
        if k in full:
            own[of != k] = torch.inf
        own[list(taken.values())] = torch.inf
        taken[k] = int(own.argmin())
    return [taken[k] for k in range(len(centres))]


@torch.no_grad()
def cluster_from_dense(ghost: nn.Module, dense: nn.Module, *, seed: int = 0) -> None:
    """Give the network ``ghost``, in place, what it can have of ``dense``, a trained one of the same sizes and kernels
    without ghosts.

    Each `GhostConv2d` gets the filters of the convolution at its path that `intrinsic_filters` chooses. A chosen filter
    stays the channel that it was, if this is one that is computed; the others fill what is free, in order. The second
    convolution of a block reads the channels of the first where they now are; a moved copy is read in the place of a
    filter of the same cluster, where there is one left. Moves stay as they are, to be learned; all other layers are
    copied.

    Raises
    ------
    ValueError
        where ``ghost`` has no ghosts, or tensors of ``dense`` do not fit; then nothing was changed.
    """
    layers = {path: layer for path, layer in ghost.named_modules() if isinstance(layer, GhostConv2d)}
    if not layers:
        raise ValueError("only a network with ghost convolutions starts from clusters of filters")
    given = dense.state_dict()
    inside = tuple(f"{path}." for path in layers)
    found = {name: value for name, value in given.items() if not name.startswith(inside)}
    orders: dict[str, list[int]] = {}
    for path, layer in layers.items():
        own = {name.removeprefix(f"{path}."): value for name, value in given.items() if name.startswith(f"{path}.")}
        made, orders[path] = _ghost_tensors(path, layer, own, seed)
        found |= {f"{path}.primary.{name}": value for name, value in made.items()}
    for first, second in _pairs(ghost):
        for name in [name for name in found if name.startswith(f"{second}.primary.") and found[name].ndim == 4]:
            found[name] = found[name][:, orders[first]]
    _check(ghost, found)
    ghost.load_state_dict(found, strict=False)


def _ghost_tensors(
    path: str, layer: GhostConv2d, own: Mapping[str, Tensor], seed: int
) -> tuple[dict[str, Tensor], list[int]]:
    """Rows of the dense tensors ``own`` for the computed part of ``layer`` at ``path``; and, of each of its channels,
    which dense one it stands for."""
    filters = next((value for value in own.values() if value.ndim == 4), None)
    computed = next(value for value in layer.primary.state_dict().values() if value.ndim == 4)
    wanted = len(computed) + layer.ghosts
    if filters is None or len(filters) != wanted:
        raise ValueError(
            f"at {path!r} a convolution of {wanted} filters is wanted, not "
            f"{'none' if filters is None else len(filters)}"
        )
    chosen, cluster = intrinsic_filters(filters, len(computed), seed=seed)
    places = _places(chosen)
    rest = [number for number in range(wanted) if number not in set(chosen)]
    ghosts: list[int | None] = []
    for number in places[: layer.ghosts]:
        same = next((other for other in rest if cluster[other] == cluster[number]), None)
        ghosts.append(same)
        if same is not None:
            rest.remove(same)
    order = [*places, *(rest.pop(0) if number is None else number for number in ghosts)]
    return {name: value[places] if value.ndim else value for name, value in own.items()}, order


def _places(chosen: Iterable[int]) -> list[int]:
    """The chosen filters in the order of the computed channels."""
    numbers = sorted(chosen)
    kept = [number for number in numbers if number < len(numbers)]
    others = iter(number for number in numbers if number >= len(numbers))
    return [number if number in set(kept) else next(others) for number in range(len(numbers))]


def _pairs(ghost: nn.Module) -> Sequence[tuple[str, str]]:
    """Paths of the first and the second convolution of each block of ghosts."""
    return [
        (f"{path}.body.0", f"{path}.body.2")
        for path, block in ghost.named_modules()
        if isinstance(block, EDSRBlock) and isinstance(block.body[0], GhostConv2d)
    ]  # fmt: skip


def _check(ghost: nn.Module, found: Mapping[str, Tensor]) -> None:
    """Raise ``ValueError`` where ``found`` lacks a tensor of ``ghost`` other than moves, or has one more, or one of
    another shape."""
    own = {name: value for name, value in ghost.state_dict().items() if not name.endswith(".shift.choice")}
    if odd := sorted(own.keys() ^ found.keys()):
        raise ValueError(f"it has other layers: {odd[0]!r} stands in one network only")
    for name, value in own.items():
        if found[name].shape != value.shape:
            raise ValueError(f"{name!r} is {tuple(found[name].shape)}, and {tuple(value.shape)} is wanted")
