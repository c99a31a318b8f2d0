"""Stages that multiply a window with weights, in any kernel."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Module, Value
from numpy.typing import NDArray

from ....quant.formats import Format
from ....quant.ops.base import Ints, Shape
from ...activation.turn import fetch_in_turn
from ...bus.reload import port_of
from ...bus.service import StageService
from ...cells.known import FABRICS
from ...constant.circuit import ConstantCircuit, ConstantLayer, circuit_of
from ...lanes.array import FoldedArray
from ...lanes.shape import ArrayShape
from ...lanes.structures import OFFSET, STRUCTURES, default_structure
from ...maps.direct import DirectShape
from ...maps.window import WindowBuffer
from ...memory.image import Image, Rom
from ..layout import pad_image, pad_values, weight_image, weight_values
from ..plan import StagePlan
from .build import StageBuild
from .constant import DEFAULT_REACH, ConstantComponent, DirectRhythm, constant_layer, no_constants
from .images import StageImages
from .rhythm import Rhythm
from .stage import Geometry, divisors
from .sums import WindowStage
from .window_component import WindowComponent

__all__ = ["LayerStage"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerStage(WindowStage):
    """A convolution or dense layer with its activation; ``kind`` is its kernel.

    Attributes
    ----------
    weight : (O, I / groups, Kh, Kw) in the order of the pixel stream
    flattened : shape of the map that a dense layer reads as one pixel of many channels, else None
    groups : of the convolution
    fixed : no other weights can be loaded, so that they may be part of the circuit
    """

    weight: Ints
    weight_format: Format
    flattened: Shape | None
    groups: int
    fixed: bool = False

    @property
    def aspects(self) -> dict[str, Any]:
        """The aspects of every stage with a window; groups of the convolution, and the format of its weights."""
        return super().aspects | {"groups": self.groups, "weight_format": self.weight_format}

    @property
    def geometry(self) -> tuple[Any, ...]:
        """The geometry of every stage with a window; the groups of the convolution, since folds divide them."""
        return *super().geometry, self.groups

    @property
    def macs(self) -> int:
        """Products per image: every weight of a filter once for each output value."""
        return int(np.prod(self.weight.shape[1:])) * int(np.prod(self.result))

    @property
    def weight_width(self) -> int:
        """Bits of one weight, by the format of the weights."""
        return self.weight_format.bits

    @property
    def weight_bits(self) -> int:
        """Bits of all weights, each stored once."""
        return self.weight.size * self.weight_format.bits

    def folds(self) -> list[dict[str, int]]:
        """Divisors of the channels of a group, or all of them and several groups; one tap and line, or all."""
        inputs, filters = (n // self.groups for n in (self.source[0], self.result[0]))
        # All taps of a side at once can follow a stride of no more than what they cover, see `WindowShape`.
        view = self.view
        lines, taps = (
            [1, side] if side > 1 and stride <= side * dilation else [1]
            for side, stride, dilation in zip(view.kernel, view.strides, view.dilations, strict=True)
        )
        parts = [(simd, pe, 1) for simd in divisors(inputs) for pe in divisors(filters)]
        parts += [(inputs, filters, blocks) for blocks in divisors(self.groups)[1:]]
        return [
            {"pe": pe, "simd": simd, "taps": tap, "lines": line, "blocks": blocks}
            for simd, pe, blocks in parts for tap in taps for line in lines
        ]  # fmt: skip

    def chunks(self, plan: StagePlan) -> int:
        """Steps in which the channels of one tap are read: six channels of a group with SIMD 3 are read in two."""
        return self.source[0] // self.groups // plan.simd

    def segments(self, plan: StagePlan) -> int:
        """Parts of the channels that are read one after the other: groups of the convolution over ``plan.blocks``."""
        return self.groups // plan.blocks

    def sums(self, plan: StagePlan) -> int:
        """Sums that the array makes at once: one for each of its output channels."""
        return plan.pe * plan.blocks

    def lanes(self, plan: StagePlan) -> int:
        """Lanes of the array, each of which makes one term per cycle: PE x SIMD x taps x lines x blocks."""
        return plan.pe * plan.simd * plan.taps * plan.lines * plan.blocks

    def rom_words(self, plan: StagePlan) -> dict[str, int]:
        """The memories of every stage with a window; a word of weights for each step of a pixel."""
        window = self.shape(plan)
        return {"memory": window.groups * window.steps} | super().rom_words(plan)

    def array(self, plan: StagePlan, fabric: str) -> ArrayShape:
        """The array, one for each block."""
        structure = plan.structure or default_structure(self.kind)
        return ArrayShape(
            kernel=self.kind, structure=structure, fabric=fabric, pin=plan.simd * plan.taps * plan.lines,
            pout=plan.pe, x=self.x, w=self.weight_format,
        )  # fmt: skip

    @cached_property
    def constants(self) -> ConstantLayer:
        """What a circuit of its weights computes."""
        return constant_layer(self)

    def circuit(self, plan: StagePlan, fabric: str) -> ConstantCircuit:
        """The circuit of its weights, where they are constants."""
        return circuit_of(self.constants, FABRICS[fabric].arity, compress=plan.compress and fabric == "generic")

    def direct_shape(self) -> DirectShape | None:
        """What takes beats in where a circuit of constants looks at one pixel only; None where it looks at more."""
        view = self.view
        if view.kernel != (1, 1) or view.strides != (1, 1) or any(view.pads):
            return None
        channels, height, width = self.source
        return DirectShape(channels=channels, height=height, width=width, bits=self.x.bits)

    def drafted(self, plan: StagePlan) -> StagePlan:
        """``plan`` with as few units and rows as never cost a cycle; a circuit of constants where it can be one."""
        draft = super().drafted(plan)
        return draft if no_constants(self, draft) else replace(draft, reach=DEFAULT_REACH)

    def geometry_of(self, plan: StagePlan) -> Geometry:
        """What takes its beats in."""
        direct = self.direct_shape() if plan.reach else None
        return self.shape(plan) if direct is None else direct

    def rhythm(self, build: StageBuild) -> Rhythm:
        """A group for each beat where a circuit of constants looks at one pixel; else as the ring of rows allows."""
        return DirectRhythm(build) if isinstance(build.window, DirectShape) else super().rhythm(build)

    def array_latency(self, plan: StagePlan, fabric: str) -> int:
        """Cycles from operands to sums in the array; of a circuit of constants to features."""
        return len(self.circuit(plan, fabric).cuts(plan.reach)) if plan.reach else self.array(plan, fabric).latency

    def unit_latency(self, plan: StagePlan) -> int:
        """Cycles from sums to features, which a circuit of constants has in its array."""
        return 0 if plan.reach else super().unit_latency(plan)

    def check(self, plan: StagePlan) -> None:
        """Divisors, and a structure of its kernel."""
        name = self.name
        filters = self.result[0] // self.groups
        if filters % plan.pe:
            own = f"{filters} channels" + (" of a group" if self.groups > 1 else "")
            raise ValueError(f"pe of {name!r} must divide {own}, not be {plan.pe}")
        if self.groups % plan.blocks:
            raise ValueError(f"blocks of {name!r} must divide {self.groups} groups, not be {plan.blocks}")
        if plan.blocks > 1 and (plan.pe, plan.simd) != (filters, self.source[0] // self.groups):
            raise ValueError(f"several blocks of {name!r} must have all channels of their groups")
        known = [s for s in STRUCTURES[self.kind] if s not in OFFSET]
        if plan.structure and plan.structure not in known:
            raise ValueError(f"structure of {name!r} must be one of {', '.join(known)}, not {plan.structure!r}")
        if plan.reach and (why := no_constants(self, plan)):
            raise ValueError(f"reach of {name!r} must be 0, not {plan.reach}: {why}")
        if plan.compress and not plan.reach:
            raise ValueError(f"compress of {name!r} must be false where memories hold its weights")

    def filters(self, weight: NDArray[np.int64]) -> NDArray[np.int64]:
        """The weights of this stage, in its order, as those of the operation: the inverse of what `stages_of` did."""
        if self.flattened is None:
            return weight
        channels, height, width = self.flattened
        return weight.reshape(-1, height, width, channels).transpose(0, 3, 1, 2).reshape(len(weight), -1, 1, 1)

    def images(self, build: StageBuild, prefix: str) -> dict[str, Image]:
        """Weights in front of the activation's, which are part of a circuit of constants, and the padding."""
        found = {}
        if not build.plan.reach:
            found = {"weights": weight_image(self, build, prefix), **super().images(build, prefix)}
        return found | ({"pad": pad_image(build, self.pad, prefix)} if self.padding else {})

    def held(self, build: StageBuild, images: Mapping[str, Image]) -> dict[str, dict[str, Any]]:
        """Weights and padding that the memories hold, and what the activation holds, see `Stage.held`."""
        own: dict[str, Any] = {"pad": pad_values(build, images["pad"])} if "pad" in images else {}
        if build.plan.reach:
            return {self.name: own}
        own["weight"] = self.filters(weight_values(self, build, images["weights"].words))
        return {self.name: own, **super().held(build, images)}

    def component(
        self, build: StageBuild, images: StageImages, *, prefix: str | None, service: StageService | None = None
    ) -> "LayerComponent | ConstantComponent":
        """Window, weights and arrays."""
        if build.plan.reach:
            return ConstantComponent(self, build, images, prefix=prefix, service=service)
        return LayerComponent(self, build, images, prefix=prefix, service=service)


class LayerComponent(WindowComponent[LayerStage]):
    """A layer in hardware."""

    def outside(self, m: Module, window: WindowBuffer) -> Value | int:
        """Zeros: they are not read, and must not show in the Verilog."""
        return 0

    def array(self, m: Module, window: WindowBuffer) -> tuple[Value, Value]:
        """One array for each block, all with their part of the weights."""
        build, stage, image = self.build, self.stage, self.images["weights"]
        m.submodules.weights = rom = Rom(
            image, prefix=self.prefix, write=port_of(self.reload, image), kind=build.plan.memory
        )  # fmt: skip
        weights = fetch_in_turn(m, rom, window.coming)
        shape = stage.array(build.plan, build.fabric)
        arrays = []
        blocks, own = build.plan.blocks, build.plan.simd * stage.x.bits
        for block in range(blocks):
            array = FoldedArray(shape, total=stage.total)
            m.submodules["array" if blocks == 1 else f"array{block}"] = array
            taps = [
                window.x.word_select(tap * blocks + block, own) for tap in range(build.plan.lines * build.plan.taps)
            ]
            m.d.comb += [
                array.x.eq(Cat(taps)),
                array.w.eq(weights.word_select(block, len(array.w))),
                *(getattr(array, name).eq(getattr(window, name)) for name in ("valid", "first", "last")),
            ]
            arrays.append(array)
        return Cat(array.sums for array in arrays), arrays[0].done
