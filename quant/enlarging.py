"""Integer networks that make images larger, on whole pictures: what they make, and how near it is to the large picture.

A Program has one input size. Networks that enlarge are convolutional: their integers are the same for images of any
size, so each picture has a Program of its own size, `Program.resized`, and no seams between tiles.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..models.data.bicubic import enlarge
from ..models.data.pairs import PicturePairs
from ..models.data.quality import as_bytes, psnr, ssim
from ..models.training.loop import to_float
from . import golden
from .program import Program

__all__ = ["PictureEvaluation", "PictureScores", "enlarged", "evaluate_pictures"]


@dataclass(frozen=True, kw_only=True)
class PictureScores:
    """How near images are to the large pictures, by their luma without a border of ``scale`` pixels.

    Attributes
    ----------
    psnr_db : decibels; of several pictures the mean
    ssim : structural similarity, likewise
    """

    psnr_db: float
    ssim: float


@dataclass(frozen=True, kw_only=True)
class PictureEvaluation:
    """A Program that enlarges by ``scale``, on whole pictures, beside others that do.

    Attributes
    ----------
    names : of the pictures
    integers, bicubic, floats : scores of every picture: by the golden model, by bicubic scaling, and by the float
        network; empty where that was not found
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
        found = {"integers": self.integers, "float": self.floats, "bicubic": self.bicubic}
        return {name: scores for name, scores in found.items() if scores}

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
            "psnr_db_bicubic": plain.psnr_db, "ssim_bicubic": plain.ssim,
            "images_per_second": len(self.names) / max(self.seconds, 1e-9),
            "pictures": [
                {"name": name, **{way: asdict(scores[k]) for way, scores in self.ways.items()}}
                for k, name in enumerate(self.names)
            ],
        }  # fmt: skip


def enlarged(program: Program, low: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What ``program`` makes of an image (C, H, W) of any size: pixels, (C, scale * H, scale * W).

    Raises
    ------
    UserError
        where it has operations that are of one size.
    """
    _, height, width = low.shape
    output = golden.run(program.resized(height, width), low[None]).output[0]
    scaled = output * (255 * program.steps[program.output])
    return np.floor(scaled + 0.5).clip(0, 255).astype(np.uint8)


def evaluate_pictures(
    program: Program, pairs: PicturePairs, *, module: nn.Module | None = None,
    progress: Callable[[], None] = lambda: None,
) -> PictureEvaluation:  # fmt: skip
    """Enlarge the small image of every pair by the golden model, by bicubic scaling, and by the float network.

    Parameters
    ----------
    module : the float network that ``program`` was made of, in evaluation mode, where there is one
    progress : called after every picture
    """
    scale, seconds = pairs.scale, 0.0
    scores: dict[str, list[PictureScores]] = {"integers": [], "bicubic": [], "floats": []}
    for pair in pairs.pairs:
        begin = time.perf_counter()
        made = {"integers": torch.from_numpy(enlarged(program, pair.low))}
        seconds += time.perf_counter() - begin
        made["bicubic"] = torch.from_numpy(enlarge(pair.low, scale))
        if module is not None:
            with torch.no_grad():
                made["floats"] = as_bytes(module(to_float(pair.low[None])))[0]
        for name, image in made.items():
            scores[name].append(_scored(image, torch.from_numpy(pair.high), scale))
        progress()
    return PictureEvaluation(
        scale=scale, names=tuple(pair.name for pair in pairs.pairs), seconds=seconds,
        **{name: tuple(found) for name, found in scores.items()},
    )  # fmt: skip


def _scored(image: Tensor, wanted: Tensor, scale: int) -> PictureScores:
    images, large = image[None], wanted[None]
    return PictureScores(psnr_db=float(psnr(images, large, scale)), ssim=float(ssim(images, large, scale)))
