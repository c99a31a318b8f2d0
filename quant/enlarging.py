"""Integer networks that make images larger or better, on whole pictures: what they make, and how near it is to the
picture that it should be.

A Program has one input size. The integers of convolutional networks are the same for images of any size, so each
picture has a Program of its own size, `Program.resized`, and no seams between tiles. Those of a transformer are of one
size: larger pictures are put together of overlapping tiles, as the float network has it.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..common.errors import UserError
from ..models.data.bicubic import enlarge
from ..models.data.pairs import PicturePairs
from ..models.data.picture_tasks import PictureTask, picture_task
from ..models.data.quality import as_bytes, psnr, ssim
from ..models.nets.transformers.patches import by_tiles, tile_overlap
from ..models.training.loop import to_float
from . import golden
from .program import TASK_NAME, Program

__all__ = ["PictureEvaluation", "PictureScores", "enlarged", "evaluate_pictures"]


@dataclass(frozen=True, kw_only=True)
class PictureScores:
    """How near images are to the large pictures, by their luma without a border of ``scale`` pixels, or as their task
    has it.

    Attributes
    ----------
    psnr_db : decibels; of several pictures the mean
    ssim : structural similarity, likewise
    """

    psnr_db: float
    ssim: float


@dataclass(frozen=True, kw_only=True)
class PictureEvaluation:
    """A Program that enlarges by ``scale``, or at scale 1 makes better, on whole pictures, beside others that do.

    Attributes
    ----------
    names : of the pictures
    integers, bicubic, floats : scores of every picture: by the golden model, by bicubic scaling, which at scale 1
        leaves a picture as it was given, and by the float network; empty where that was not found
    seconds : that the golden model took
    """

    scale: int
    names: tuple[str, ...]
    integers: tuple[PictureScores, ...]
    bicubic: tuple[PictureScores, ...]
    floats: tuple[PictureScores, ...]
    seconds: float

    @property
    def ways(self) -> dict[str, tuple[PictureScores, ...]]:
        """Scores of every picture by the name of who made them."""
        found = {"integers": self.integers, "float": self.floats, self.plain: self.bicubic}
        return {name: scores for name, scores in found.items() if scores}

    @property
    def plain(self) -> str:
        """What pictures are called that no network made: ``bicubic``, and at scale 1 ``input``."""
        return "input" if self.scale == 1 else "bicubic"

    def mean(self, scores: tuple[PictureScores, ...]) -> PictureScores:
        """The mean over pictures."""
        return PictureScores(
            psnr_db=float(np.mean([entry.psnr_db for entry in scores])),
            ssim=float(np.mean([entry.ssim for entry in scores])),
        )

    def keys(self) -> dict[str, Any]:
        """The values that scripts read."""
        own, plain = self.mean(self.integers), self.mean(self.bicubic)
        real = self.mean(self.floats) if self.floats else None
        return {
            "images": len(self.names), "scale": self.scale,
            "psnr_db": own.psnr_db, "ssim": own.ssim,
            "psnr_db_float": real and real.psnr_db, "ssim_float": real and real.ssim,
            f"psnr_db_{self.plain}": plain.psnr_db, f"ssim_{self.plain}": plain.ssim,
            "images_per_second": len(self.names) / max(self.seconds, 1e-9),
            "pictures": [
                {"name": name, **{way: asdict(scores[k]) for way, scores in self.ways.items()}}
                for k, name in enumerate(self.names)
            ],
        }  # fmt: skip


def enlarged(program: Program, low: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What ``program`` makes of an image (C, H, W) of any size: pixels, (C, scale * H, scale * W).

    One that has a task, takes squares and has operations that are of one size takes a larger image apart into squares
    that overlap by `tile_overlap`.

    Raises
    ------
    UserError
        where it has operations that are of one size and no task, or an image is smaller than its squares.
    """
    _, height, width = low.shape
    _, side, other = program.input.shape
    try:
        return _pixels(program.resized(height, width), low[None])[0]
    except UserError:
        if TASK_NAME not in program.metadata or side != other or program.enlargement is None:
            raise

    def square(x: Tensor) -> Tensor:
        return torch.from_numpy(_pixels(program, x.numpy()))

    x = torch.from_numpy(low)[None]
    return by_tiles(square, x, tile=side, overlap=tile_overlap(side), scale=program.enlargement)[0].numpy()


def _pixels(program: Program, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What ``program`` makes of images of its own size, as bytes."""
    scaled = golden.run(program, images).output * (255 * program.steps[program.output])
    return np.floor(scaled + 0.5).clip(0, 255).astype(np.uint8)


def evaluate_pictures(
    program: Program, pairs: PicturePairs, *, module: nn.Module | None = None,
    progress: Callable[[], None] = lambda: None,
) -> PictureEvaluation:  # fmt: skip
    """Enlarge the small image of every pair, or make it better, by the golden model, by bicubic scaling, and by the
    float network.

    Parameters
    ----------
    module : the float network that ``program`` was made of, in evaluation mode, where there is one
    progress : called after every picture
    """
    scale, seconds = pairs.scale, 0.0
    task = picture_task(program.metadata.get(TASK_NAME), scale=scale)
    scores: dict[str, list[PictureScores]] = {"integers": [], "bicubic": [], "floats": []}
    for pair in pairs.pairs:
        begin = time.perf_counter()
        made = {"integers": torch.from_numpy(enlarged(program, pair.low))}
        seconds += time.perf_counter() - begin
        made["bicubic"] = torch.from_numpy(pair.low if scale == 1 else enlarge(pair.low, scale))
        if module is not None:
            with torch.no_grad():
                made["floats"] = as_bytes(module(to_float(pair.low[None])))[0]
        for name, image in made.items():
            scores[name].append(_scored(image, torch.from_numpy(pair.high), task))
        progress()
    return PictureEvaluation(
        scale=scale, names=tuple(pair.name for pair in pairs.pairs), seconds=seconds,
        **{name: tuple(found) for name, found in scores.items()},
    )  # fmt: skip


def _scored(image: Tensor, wanted: Tensor, task: PictureTask) -> PictureScores:
    near, likeness = (
        float(measure(image[None], wanted[None], task.border, colour=task.colour)) for measure in (psnr, ssim)
    )
    return PictureScores(psnr_db=near, ssim=likeness)
