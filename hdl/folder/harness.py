"""The harness and the plain test bench around an accelerator, from nothing but a description of its streams.

They are Verilog of the simulation, but are made here and not in `sim`: a BUILD is whole, and its plain test bench runs,
where `sim` and its tools are not installed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..interface import Interface
from ..verilog.keywords import is_identifier
from .verilog import path_macro, rendered

__all__ = ["HARNESS_BEATS", "Harness", "images_held"]

HARNESS_BEATS = 1 << 20
"""Input beats that a harness can hold: simulations of more images run in parts, each of which fills the pipeline."""
LEAST_IMAGES = 8
"""Images that a harness can hold, however large they are: enough to see a steady interval."""


def images_held(interface: Interface, vectors: int) -> int:
    """Images that the memories of a harness have room for, at least ``vectors``.

    The larger stream counts: 1,048,576 beats are 1,337 images of 784 beats. A classifier's answers are never it.
    """
    most = interface.beats if interface.program.classifies else max(interface.beats, interface.answers)
    return max(LEAST_IMAGES, vectors, HARNESS_BEATS // most)


@dataclass(frozen=True, kw_only=True)
class Harness:
    """What a simulation of an accelerator needs to know of it.

    Attributes
    ----------
    interface : its two streams
    prefix : name of its top module, which the names of the modules and files here begin with
    capacity : images that the harness has room for
    settle : cycles of reset more than the four that every design gets, see `family.Design.settle`
    tied : further ports of the top, each with the Verilog expression that it is tied to, "" for an output that is left
        open; none where the top has its streams alone

    Raises
    ------
    ValueError
        when the prefix is no identifier, or a number is impossible.
    """

    interface: Interface
    prefix: str
    capacity: int
    settle: int = 0
    tied: Sequence[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        if not is_identifier(self.prefix):
            raise ValueError(f"prefix must be a Verilog identifier that is no reserved word, not {self.prefix!r}")
        if self.capacity < 1 or self.settle < 0:
            raise ValueError(f"no harness holds {self.capacity} images or settles for {self.settle} cycles")

    def verilog(self) -> str:
        """The module ``PREFIX_harness``: clock, reset, images from ``stimulus.mem``, stalls, ``results.mem``."""
        return rendered(
            "harness.v.j2", prefix=self.prefix, capacity=self.capacity, settle=self.settle, tied=self.tied,
            path=path_macro(self.prefix), handshake=self.interface.handshake, **self.interface.facts,
        )  # fmt: skip

    def bench(self, *, images: int, watchdog: int, sources: Sequence[str] = ()) -> str:
        """The module ``PREFIX_testbench``, which compares every output beat with ``expected.mem``.

        Parameters
        ----------
        images : in ``stimulus.mem``, at most ``capacity``
        watchdog : cycles without an output beat after which it gives up
        sources : files to compile besides those of the bench, the harness and the top

        Raises
        ------
        ValueError
            when the harness does not hold so many images.
        """
        if not 1 <= images <= self.capacity:
            raise ValueError(f"a harness of {self.capacity} images cannot hold {images}")
        return rendered(
            "testbench.v.j2", prefix=self.prefix, images=images, watchdog=watchdog, path=path_macro(self.prefix),
            cells=list(sources), handshake=self.interface.handshake, **self.interface.facts,
        )  # fmt: skip
