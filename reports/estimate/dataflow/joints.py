"""What stands beside the stages, counted: converters of widths, forks, and the packet."""

from math import lcm

from ....hdl.dataflow.joints import End, Joint
from ..counting import Structure, add_counter, bits_of
from ..structure import structure

__all__ = ["joint_structure", "packet_structure"]


@structure.register
def packet_structure(end: End) -> Structure:
    """The counts of the packet that ends a classifier: the score that is compared, the best so far, its class, and
    which one is coming; none of a raw result, which passes as it is."""
    found, score, classes = Structure(), end.score, end.classes
    if score is None:
        return found
    counts = found.of("lanes")
    counts["packet.ff"] += 2 * score.bits + 1 + bits_of(max(2, classes))
    counts[f"pool_max/{score.bits}"] += 1
    counts["pool_out"] += score.bits
    add_counter(found, "window", "packet", classes + 1)
    return found


@structure.register
def joint_structure(joint: Joint) -> Structure:
    """The counts of what stands between a stage and those that read it."""
    found, bits, have, want, readers = Structure(), joint.bits, joint.have, joint.want, joint.readers
    counts = found.of("queue")
    whole = lcm(have, want)
    if whole > have:
        counts["gather.ff"] += whole * bits + bits_of(whole // have + 1)
        counts[f"gather/{bits_of(whole // have + 1)}"] += 1
    if whole > want:
        counts["gather.ff"] += whole * bits + bits_of(whole // want + 1)
        counts["narrow"] += whole * bits
    if readers > 1:
        counts["gather.ff"] += readers
        counts["forks"] += readers
    return found
