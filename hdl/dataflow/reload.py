"""Other weights in the same hardware: which Programs fit a build, and the Program that stands in memory files."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from ...common.errors import UserError
from ...quant.program import Op, Program
from ..activation.entry import entry_of
from ..memory.image import Image
from .build import StageBuild, bind
from .kinds.images import StageImages, stage_tensors
from .plan import Plan

__all__ = ["check_fits", "program_holding"]

_UNSAID = {"slopes": 1}
"""What a stage means that does not mention an aspect."""


def check_fits(program: Program, own: Program, plan: Plan) -> None:
    """Refuse a ``program`` whose weights the hardware of ``own`` under ``plan`` cannot hold.

    Raises
    ------
    UserError
        when it needs memories of another shape, other formats, or the hardware was made for fixed weights.
    """
    if plan.fixed_weights:
        raise UserError("this build is sized for its own weights; generate it without --fixed-weights")
    if _ends(program) != _ends(own):
        raise UserError("the program does not fit the build: it has another input or other scores than the build")
    if not _same_entry(entry_of(program), entry_of(own)):
        raise UserError("the program does not fit the build: its input operation, a part of the RTL, is another")
    ours, theirs = ([build.stage for build in bind(p, plan)] for p in (own, program))
    for have, want in zip(theirs, ours, strict=True):
        theirs_say, ours_say = have.aspects, want.aspects
        for aspect in ours_say | theirs_say:
            found, wanted = (said.get(aspect, _UNSAID.get(aspect)) for said in (theirs_say, ours_say))
            if found != wanted:
                hint = "; quantise it with --shifts shared" if aspect in ("channelwise", "shift_format") else ""
                raise UserError(
                    f"the program does not fit the build: {aspect} of {want.name} is {found}, "
                    f"the RTL is made for {wanted}{hint}"
                )


def program_holding(
    program: Program, stages: Sequence[tuple[StageBuild, StageImages]], memories: Mapping[str, Image]
) -> Program:
    """``program`` with the integers that stand in ``memories`` instead of its own.

    Parameters
    ----------
    stages : its builds, and their memories as generated
    memories : by their files; one for each of those

    Raises
    ------
    ValueError
        when they make no Program.
    """
    changed: dict[str, Op] = {}
    for build, images in stages:
        held = replace(images, contents={what: memories[image.file] for what, image in images.contents.items()})
        for name, values in stage_tensors(build, held).items():
            changed[name] = replace(program.by_name[name], **values)
    return replace(program, ops=tuple(changed.get(op.name, op) for op in program.ops))


def _ends(program: Program) -> tuple[Any, ...]:
    ends = (program.input.name, program.output)
    return program.classifies, *((program.shape(name), program.format(name)) for name in ends)


def _same_entry(one: Op | None, other: Op | None) -> bool:
    if one is None or other is None:
        return one is other
    return type(one) is type(other) and all(
        np.array_equal(getattr(one, item.name), getattr(other, item.name)) for item in fields(one)
    )
