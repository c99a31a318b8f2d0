"""What a circuit of constants is made of: sums, tables, clamps and ranks of registers, counted node by node."""

from ....hdl.dataflow.build import StageBuild
from ....hdl.dataflow.kinds.layer import LayerStage
from ..counting import Structure, add_clamp

__all__ = ["add_constants"]

_CELLS = {"xc7": ("LUT6_2", "CARRY4", 4), "xcup": ("LUT6_2", "CARRY8", 8), "ecp5": ("", "CCU2C", 2)}
"""Table and carry cell of a sum in each fabric, and how many bits the latter adds."""


def add_constants(found: Structure, stage: LayerStage, build: StageBuild) -> None:
    """Add what stands for weights, sums and activation of ``stage`` under ``build``.

    Left to synthesis, a sum is a carry chain with a table for each bit, as the subtraction in a lane is, whose
    coefficients therefore hold for it; in the cells of a fabric their number is known, and where words are counted in
    front of chains, which synthesis then leaves as they are.
    """
    lanes, circuit = found.of("lanes"), stage.circuit(build.plan, build.fabric)
    for name, count in circuit.counts(build.plan.reach).items():
        kind, _, bits = name.partition("/")
        if kind == "ff":
            lanes["tree.ff"] += count
        elif kind == "table":
            lanes[f"table of {bits}"] += count
        elif kind == "less":
            lanes[f"less of {bits}"] += count
        elif build.plan.compress and build.fabric not in _CELLS:
            lanes[f"chain of {bits}"] += count
        elif build.fabric not in _CELLS:
            lanes[f"subtract/{bits}"] += count
        else:
            table, carry, each = _CELLS[build.fabric]
            lanes[carry] += -(-int(bits) // each) * count
            if table:
                lanes[table] += int(bits) * count
    for result in circuit.results:
        if any(circuit.clamps(result)):
            left = circuit.graph.nodes[result.total.node].format.bits - result.shift
            add_clamp(found.of("activation"), stage.y, left, left, 1)
