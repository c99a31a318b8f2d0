"""The Verilog of an engine cut into the blocks that reports count, and which of them a cell belongs to."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...hdl.engine.blocks import JOINS, RULES, block_named, block_of_instance
from ...hdl.folder.engine import EngineBuild
from ..devices.parts import VerilogPart, cut, instances_below
from ..devices.resources import Resources
from ..synth.synth import Synthesis

__all__ = ["LARGE_MEMORY", "EngineOwners", "blocks_by_part", "blocks_of", "engine_parts", "without_contents"]

_CONTENTS = re.compile(r"^  initial begin\n(?:    \S+\[\d+\] = \d+'h0+;\n)+  end\n", re.MULTILINE)
LARGE_MEMORY = 1024
"""Words of a memory whose contents take synthesis longer than all else."""


def without_contents(text: str, *, above: int) -> str:
    """Verilog without the first words of memories of more than ``above`` words, which are 0 and never read: yosys takes
    one after the other, and minutes for a large ring."""
    return _CONTENTS.sub(lambda found: found[0] if found[0].count("\n") - 2 <= above else "", text)


def _instances(build: EngineBuild) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The instances that are counted by themselves: name of each in reports, its block and the way to it."""
    ways = instances_below(build.sources[0].read_text(), build.prefix)
    found = {way: block for way in ways if (block := block_of_instance(way)) is not None}
    shared = Counter(found.values())
    return {
        block if shared[block] == 1 else f"{block}: {way[-1]}": (block, way) for way, block in found.items()
    }  # fmt: skip


def engine_parts(build: EngineBuild) -> list[VerilogPart]:
    """The Verilog of ``build`` in parts for `synth.map_parts`: an instance each, then what joins them."""
    instances = _instances(build)
    text = without_contents(build.sources[0].read_text(), above=LARGE_MEMORY)
    inner = [(name, way) for name, (_, way) in instances.items()]
    parts = cut(text, top=build.prefix, inner=inner, rest=JOINS)
    return [replace(part, block_of=RULES.get(instances.get(part.name, (JOINS,))[0])) for part in parts]


def blocks_by_part(synthesis: Synthesis, build: EngineBuild) -> dict[str, dict[str, Resources]]:
    """Cells by block, under the block of the instances that hold them: ``lanes`` has lanes and trees, `JOINS` the ring
    of features too, each other one itself."""
    instances, found = _instances(build), dict[str, dict[str, Resources]]()
    for part, blocks in synthesis.blocks.items():
        block = instances.get(part, (JOINS,))[0]
        own = found.setdefault(block, {})
        for word, cells in blocks.items():
            name = block_named(block, word)
            own[name] = own.get(name, Resources()) + cells
    return found


def blocks_of(synthesis: Synthesis, build: EngineBuild) -> dict[str, Resources]:
    """Cells by block, the instances of a block together."""
    return {name: cells for own in blocks_by_part(synthesis, build).values() for name, cells in own.items()}


@dataclass(frozen=True, kw_only=True)
class EngineOwners:
    """A `synth.owners.CellOwners`: the block of an engine as the part, and no block within it.

    Attributes
    ----------
    blocks : of the instances that are counted by themselves, by the way to each joined by dots
    """

    blocks: Mapping[str, str]

    @classmethod
    def of(cls, build: EngineBuild) -> "EngineOwners":
        """The owners of the cells of ``build``."""
        return cls(blocks={".".join(way): block for block, way in _instances(build).values()})

    def cell(self, name: str) -> tuple[str, str]:
        """The block of the cell with the hierarchical ``name``, and ""."""
        way = next((way for way in self.blocks if name.startswith(f"{way}.")), "")
        block = self.blocks.get(way, JOINS)
        rule = RULES.get(block)
        found = rule.cell(name.removeprefix(f"{way}."), register=True) if rule is not None else ""
        return block_named(block, found), ""
