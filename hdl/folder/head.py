"""The comment at the head of an accelerator's Verilog: what whoever instantiates it has to know."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from ... import __version__
from ..family import Design, Envelope
from ..streams.packet import packet_layout
from .verilog import path_macro, rendered

__all__ = ["head_of"]

_BUSES = {"axi-lite": "AXI4-Lite, s_axil_*", "wishbone": "Wishbone B4, wb_*"}
_HANDSHAKES = {
    True: "AXI4-Stream: a beat passes in a cycle with tvalid and tready; either side may stop at any time",
    False: "none: a beat is there in a cycle with tvalid; the source may pause, nothing holds answers up",
}
_COLUMNS = ("stage", "kind", "result", "at once", "cycles", "instance")
_RIGHT = ("cycles",)


def head_of(design: Design, plan: Envelope, prefix: str) -> str:
    """The comment. It depends on Plan, shapes and formats, as the Verilog does, and on the version of addax."""
    facts = [*_facts(design, plan, prefix)]
    return rendered(
        "head.v.j2", prefix=prefix, facts=facts, wide=max(len(name) for name, _ in facts), table=_table(design)
    )  # fmt: skip


def _facts(design: Design, plan: Envelope, prefix: str) -> Iterator[tuple[str, str]]:
    """What is said, line by line."""
    interface, schedule = design.interface, design.schedule
    packet = packet_layout(interface.program, interface.elements)
    yield "Clock", "aclk, rising edge"
    yield "Reset", "aresetn, synchronous, active low, two cycles or more; registers begin with the same values"
    yield "Handshake", _HANDSHAKES[interface.handshake]
    yield "Images", f"s_axis: {interface.beats:,} beats of {interface.data_in} bits each"
    yield "", interface.input_layout["order"]
    yield "Answers", f"m_axis: {interface.answers:,} beats of {interface.data_out} bits for each image"
    yield from (("", part) for part in packet["order"].split("; "))
    if design.registers is not None:
        yield "Registers", f"{_BUSES[plan.control]}: see registers.json and {prefix}.h"
    yield "Latency", f"{schedule.latency:,} cycles from the first beat of an image to the last of its answer, unstopped"
    yield "Interval", f"{schedule.interval:,} cycles from image to image"
    if design.memories:
        yield "Memories", f"{len(design.memories)} files, {prefix}_*.mem; the macro {path_macro(prefix)} may say where"
    yield "Plan", f"{plan.family}, {schedule.lanes:,} lanes, for {plan.device} at {plan.clock_mhz:g} MHz: see plan.json"
    yield "Written by", f"addax {__version__}"


def _table(design: Design) -> list[str]:
    """A row for each stage, under a head, in columns."""
    instances = {part.name: f"{design.inner}.{part.instance}" for part in design.parts}
    cycles = {stage.name: f"{stage.interval:,}" for stage in design.schedule.stages}
    rows: list[Sequence[str]] = [_COLUMNS]
    for layer in design.layers:
        fold = ", ".join(f"{key} {count}" for key, count in layer.fold.items() if count > 1) or "1"
        shape = " x ".join(map(str, layer.result))
        rows.append((layer.name, layer.kind, shape, fold, cycles.get(layer.name, ""), instances.get(layer.name, "")))
    wide = [max(map(len, column)) for column in zip_longest(*rows)]
    return [
        "  ".join(
            text.rjust(width) if name in _RIGHT else text.ljust(width)
            for name, text, width in zip(_COLUMNS, row, wide, strict=True)
        ).rstrip()
        for row in rows
    ]
