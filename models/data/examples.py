"""What a network learns from, a batch at a time: images in memory, or files that are read while it learns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ...common.errors import UserError
from .pictures import ClassFiles, class_files, read_image
from .sets import Images, is_class_folder, load

__all__ = ["Examples", "HeldExamples", "LabelledExamples", "StreamedExamples", "examples"]

HELD_BYTES = 1 << 30
"""Pixels of class folders that are held in memory; more are read from the files in every epoch."""
_AHEAD = 2
"""Batches that each process has read ahead, at most."""


class Examples(Protocol):
    """Inputs with their targets, by number.

    Attributes
    ----------
    shape : (C, H, W) of every input
    """

    @property
    def shape(self) -> tuple[int, int, int]: ...  # noqa: D102
    def __len__(self) -> int: ...

    def batches(self, order: Sequence[NDArray[np.int64]]) -> Iterator[tuple[Tensor, Tensor]]:
        """One batch for every array of numbers in ``order``: inputs (B, C, H, W), uint8 where they are pixels, and
        targets (B, ..), likewise."""
        ...


class LabelledExamples(Examples, Protocol):
    """Images whose targets are class indices.

    Attributes
    ----------
    classes : how many classes the labels tell apart
    """

    @property
    def classes(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class HeldExamples:
    """Images with their class indices, in memory."""

    images: Images

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        return self.images.shape

    @property
    def classes(self) -> int:
        """One more than the largest label."""
        return int(self.images.y.max()) + 1

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, order: Sequence[NDArray[np.int64]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels (B, C, H, W) uint8 and class indices (B,) of every batch."""
        for chosen in order:
            yield torch.from_numpy(self.images.x[chosen]), torch.from_numpy(self.images.y[chosen])


@dataclass(frozen=True, kw_only=True)
class StreamedExamples:
    """Pictures of class folders that are read when their batch comes.

    At most two batches for each process that reads are in memory at a time.

    Attributes
    ----------
    found : the files and their class indices
    shape : (C, H, W) that every picture must have
    workers : processes that read; 0: the one that trains
    """

    found: ClassFiles
    shape: tuple[int, int, int]
    workers: int = 2

    @property
    def classes(self) -> int:
        """The number of class folders."""
        return len(self.found.names)

    def __len__(self) -> int:
        return len(self.found.files)

    def batches(self, order: Sequence[NDArray[np.int64]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels (B, C, H, W) uint8 and class indices (B,) of every batch.

        Raises
        ------
        UserError
            for a file that is gone, broken or of another size: it is named.
        """
        loader = DataLoader(
            _Files(self.found, self.shape), batch_sampler=[chosen.tolist() for chosen in order], collate_fn=_together,
            num_workers=self.workers, prefetch_factor=_AHEAD if self.workers else None,
            generator=torch.Generator(),  # of its own, so that the global one stays where it is
        )  # fmt: skip
        for got in loader:
            if isinstance(got, str):
                raise UserError(got)
            yield got


class _Files(Dataset[Any]):
    def __init__(self, found: ClassFiles, shape: tuple[int, int, int]):
        self.found, self.shape = found, shape

    def __len__(self) -> int:
        return len(self.found.files)

    def __getitem__(self, index: int) -> Any:
        """Pixels and label; what is wrong with the file as text, for an error keeps its line only in one process."""
        try:
            return read_pixels(self.found.files[index], self.shape), int(self.found.y[index])
        except UserError as error:
            return str(error)


def _together(items: list[Any]) -> Any:
    if wrong := [item for item in items if isinstance(item, str)]:
        return wrong[0]
    return torch.from_numpy(np.stack([x for x, _ in items])), torch.tensor([y for _, y in items])


def read_pixels(path: Path, shape: tuple[int, int, int] | None = None) -> NDArray[np.uint8]:
    """(C, H, W) of a picture; raises `UserError` where it cannot be read or has another shape than ``shape``."""
    pixels = read_image(path)[0]
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if shape is not None and pixels.shape != shape:
        raise UserError(f"{path} is {_text(pixels.shape)}, but the other images are {_text(shape)}: sizes must agree")
    return np.ascontiguousarray(pixels)


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) + " (channels x height x width)"


def examples(
    source: str | Path, split: str, *, shape: tuple[int, int, int] | None = None, workers: int = 2,
    held_bytes: int = HELD_BYTES,
) -> LabelledExamples:  # fmt: skip
    """One split of what `load` reads, to learn from.

    Parameters
    ----------
    workers : processes that read pictures, where they are not held in memory
    held_bytes : pixels of class folders that are

    Raises
    ------
    UserError
        as `load`; of pictures that are not held only the first is looked at now.
    """
    if is_class_folder(source):
        found = class_files(Path(source), split)
        if found.files:
            first = read_pixels(found.files[0])
            if shape is not None and first.shape != shape:
                raise UserError(f"images of {source} are {_text(first.shape)}, but the network takes {_text(shape)}")
            if first.size * len(found.files) > held_bytes:
                channels, height, width = first.shape
                return StreamedExamples(found=found, shape=(channels, height, width), workers=workers)
    return HeldExamples(images=load(source, split, shape=shape))
