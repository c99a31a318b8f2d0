"""The memories of a stage and their contents."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ...memory.image import Image
from .build import StageBuild

__all__ = ["StageImages", "stage_images", "stage_tensors"]


@dataclass(frozen=True, kw_only=True)
class StageImages:
    """Memory contents of one stage.

    Attributes
    ----------
    contents : by what they hold, in the order of their numbers; see `Stage.images`
    fixed : what the memories would say of all channels alike is built into the RTL
    """

    contents: Mapping[str, Image] = field(default_factory=lambda: MappingProxyType({}))
    fixed: bool = False

    def __getitem__(self, name: str) -> Image:
        return self.contents[name]

    def get(self, name: str) -> Image | None:
        """The memory that holds ``name``; None where the stage has none."""
        return self.contents.get(name)

    def all(self) -> tuple[Image, ...]:
        """All of them."""
        return tuple(self.contents.values())


def stage_images(build: StageBuild, *, fixed: bool, prefix: str = "addax") -> StageImages:
    """The memory contents of ``build``. Names begin with ``prefix``, so that two accelerators can share a folder."""
    return StageImages(contents=build.stage.images(build, f"{prefix}_{build.stage.name}_"), fixed=fixed)


def stage_tensors(build: StageBuild, images: StageImages) -> dict[str, dict[str, Any]]:
    """What ``images``, of the memories of ``build``, hold: fields of operations, by the operation's name, in the terms
    of the Program. The inverse of `stage_images`."""
    return build.stage.held(build, images.contents)
