"""What may be done to pictures, by name: what is learned and measured, and how near an image is to its target."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ...common.errors import UserError
from ..nets.transformers.ipt import IPT_TASKS
from .degrade import Degradation, GaussianNoise, RainStreaks, degraded_pairs
from .pairs import PicturePairs, load_pairs

__all__ = ["PICTURE_TASKS", "PictureTask", "picture_task"]


@dataclass(frozen=True, kw_only=True)
class PictureTask:
    """One thing that is done to pictures.

    Attributes
    ----------
    scale : how many times larger they become
    degradation : what clean pictures are made worse by, of which they are made again; None: they are made smaller
    beside : whether degraded pictures are taken that lie beside the clean ones
    colour : whether all channels are compared, or the luma
    """

    scale: int
    degradation: Degradation | None = None
    beside: bool = True
    colour: bool = False

    @property
    def border(self) -> int:
        """Pixels on each side that are not compared."""
        return 0 if self.scale == 1 else self.scale

    def clean_pairs(
        self, source: str | Path, split: str, *, channels: int = 3, limit: int | None = None
    ) -> PicturePairs:  # fmt: skip
        """What `load_pairs` reads; clean pictures have not been made worse."""
        return load_pairs(source, split, scale=self.scale, channels=channels, limit=limit, beside=self.beside)

    def fixed_pairs(
        self, source: str | Path, split: str, *, channels: int = 3, limit: int | None = None
    ) -> PicturePairs:  # fmt: skip
        """What `load_pairs` reads; clean pictures are made worse, each in one way for ever."""
        return self.fixed(self.clean_pairs(source, split, channels=channels, limit=limit))

    def fixed(self, pairs: PicturePairs) -> PicturePairs:
        """``pairs``; clean pictures are made worse, each in one way for ever."""
        return pairs if self.degradation is None or not pairs.clean else degraded_pairs(pairs, self.degradation)


PICTURE_TASKS: Mapping[str, PictureTask] = MappingProxyType(
    {
        **{name: PictureTask(scale=scale) for name, scale in IPT_TASKS.items() if scale > 1},
        **{
            f"denoise-{sigma}": PictureTask(
                scale=IPT_TASKS[f"denoise-{sigma}"], degradation=GaussianNoise(sigma=sigma), beside=False, colour=True
            )
            for sigma in (30, 50)
        },
        "derain": PictureTask(scale=IPT_TASKS["derain"], degradation=RainStreaks()),
    }
)
"""Those of `IPT`. Noise is compared in all channels, as papers on denoising do; the rest by the luma."""


def picture_task(name: str | None, *, scale: int) -> PictureTask:
    """The one called ``name``, or, where None is said, that of making pictures ``scale`` times larger.

    Raises
    ------
    UserError
        for an unknown name, and for one of another scale.
    """
    if name is None:
        return PictureTask(scale=scale)
    if name not in PICTURE_TASKS:
        raise UserError(f"unknown task {name!r}; known: {', '.join(PICTURE_TASKS)}")
    found = PICTURE_TASKS[name]
    if found.scale != scale:
        raise UserError(f"the task {name} makes pictures {found.scale} times as large, and the network {scale} times")
    return found
