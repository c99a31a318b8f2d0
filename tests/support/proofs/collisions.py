"""What memories without collision logic must never do, as assertions for the proofs of what holds them."""

import pytest
from addax.hdl.memory.ring import NO_COLLISION
from amaranth.hdl import Assert
from amaranth.lib import memory


def submodule_without_collisions(m, dut, platform):
    """Make ``dut`` a submodule of ``m``; assert that no memory of it reads, with a clock, a word that it writes.

    Such a read is undefined where synthesis was told that it never comes.
    """
    made = []

    class Recorded(memory.Memory):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "Memory", Recorded)
        m.submodules.dut = dut.elaborate(platform)
    for ram in (ram for ram in made if NO_COLLISION.items() <= ram.attrs.items()):
        for write in ram.write_ports:
            for read in ram.read_ports:
                if read.domain != "comb":
                    m.d.comb += Assert(~(write.en.any() & read.en & (write.addr == read.addr)))
