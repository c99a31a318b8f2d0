"""A first power model: toggles seen in simulation times an energy per toggle. Modelled, not measured."""

from dataclasses import dataclass

from ..common.errors import UserError
from ..hdl.dataflow import STAGE
from ..sim.activity import Activity
from .devices import Device
from .synth import INTERCONNECT, PACKET

__all__ = ["Power", "estimate_power"]

NOTE = "modelled: simulated toggles times assumed capacitances; read within a factor of two"


@dataclass(frozen=True, kw_only=True)
class Power:
    """Average power at a clock, and energy per image.

    Attributes
    ----------
    static_mw, dynamic_mw : dynamic is nets and clock together
    energy_per_image_uj : total power times the time of an image in the steady state
    parts_mw : dynamic power of nets per stage, and of the clock
    """

    static_mw: float
    dynamic_mw: float
    energy_per_image_uj: float
    parts_mw: dict[str, float]

    @property
    def total_mw(self) -> float:
        """Static and dynamic."""
        return self.static_mw + self.dynamic_mw


def estimate_power(activity: Activity, target: Device, *, clock_mhz: float, flip_flops: int, interval: int) -> Power:
    """``P = C V^2 / 2`` per toggle of a net, ``C V^2`` per clock cycle and flip-flop.

    Parameters
    ----------
    interval : cycles per image in the steady state

    Returns
    -------
    power in mW: pF x V^2 x MHz is uW.

    Raises
    ------
    UserError
        when the device has no coefficients.
    """
    model = target.power
    if model is None:
        raise UserError(f"no power coefficients for {target.name} yet; leave out --power")
    square = model.voltage**2
    per_cycle = {name: count / activity.cycles for name, count in activity.toggles.items()}
    parts: dict[str, float] = {}
    for name, toggles in per_cycle.items():
        part = name.removeprefix(STAGE) if name.startswith(STAGE) or name == PACKET else INTERCONNECT
        parts[part] = parts.get(part, 0.0) + toggles * 0.5 * model.net_pf * square * clock_mhz / 1000
    parts["clock tree"] = flip_flops * model.clock_pf_per_ff * square * clock_mhz / 1000
    dynamic = sum(parts.values())
    seconds = interval / (clock_mhz * 1e6)
    return Power(
        static_mw=model.static_mw,
        dynamic_mw=dynamic,
        energy_per_image_uj=(model.static_mw + dynamic) * seconds * 1000,
        parts_mw=parts,
    )
