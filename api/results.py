"""What was found out about a BUILD: by simulation, and by measuring or estimating what it costs."""

from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .display import percent, table

if TYPE_CHECKING:
    from ..hdl.timing import Schedule
    from ..reports.page.report import Report as MadeReport
    from ..sim.cosim import Outcome

__all__ = ["Report", "Simulation"]

_PAGE_HEIGHT = 900


@dataclass(frozen=True, kw_only=True, repr=False)
class Simulation:
    """RTL beside the golden model.

    Attributes
    ----------
    outcome : what the simulators found
    schedule : cycles as predicted
    accuracy : of the RTL; None for images without labels, or where the network is no classifier
    simulator : name and version
    """

    outcome: "Outcome"
    schedule: "Schedule"
    clock_mhz: float
    accuracy: float | None
    simulator: str

    @property
    def images(self) -> int:
        """Images that were simulated."""
        return self.outcome.images

    @property
    def mismatches(self) -> int:
        """Words that differ from the golden model's."""
        return self.outcome.mismatches

    @property
    def bit_exact(self) -> bool:
        """Whether none differs."""
        return self.outcome.bit_exact

    @property
    def cycles_per_image(self) -> int:
        """Steady interval, without stalls."""
        return self.outcome.cycles_per_image

    def keys(self) -> dict[str, Any]:
        """The values that scripts read, as `addax simulate --json` gives them."""
        outcome, timing = self.outcome, self.schedule
        value: dict[str, Any] = {
            "images": outcome.images,
            "mismatches": outcome.mismatches,
            "bit_exact": outcome.bit_exact,
            "accuracy": self.accuracy,
            "cycles_first_image": outcome.cycles_first_image,
            "predicted_cycles_first_image": timing.latency,
            "cycles_per_image": outcome.cycles_per_image,
            "predicted_cycles_per_image": timing.interval,
            "lanes": timing.lanes,
            "lane_utilization": timing.lane_utilization(outcome.cycles_per_image),
            "sim_cycles_per_second": outcome.cycles / max(outcome.seconds, 1e-9),
            "simulator": self.simulator,
            "cached_build": outcome.cached_build,
            "clock_mhz": self.clock_mhz,
            "images_per_second": self.clock_mhz * 1e6 / outcome.cycles_per_image,
            "first_mismatch": outcome.first_mismatch,
            "parts": outcome.parts,
            "cycles": outcome.cycles,
            "source_stalls": outcome.source_stalls,
            "sink_stalls": outcome.sink_stalls,
        }
        if outcome.stages:
            differs = outcome.first_difference
            value["stages"] = [asdict(stage) for stage in outcome.stages]
            value["first_difference"] = (
                None if differs is None else {"stage": differs.stage, **asdict(differs.place)}
            )  # fmt: skip
        return value

    def rows(self) -> dict[str, Any]:
        """What it says to people."""
        outcome, timing, value = self.outcome, self.schedule, self.keys()
        rows = {
            "images": outcome.images,
            "wrong scores" if len(outcome.classes) else "wrong elements": outcome.mismatches,
            **({} if self.accuracy is None else {"accuracy": percent(self.accuracy)}),
            "cycles, first image": f"{outcome.cycles_first_image:,} (predicted {timing.latency:,})",
            "cycles per image": f"{outcome.cycles_per_image:,} (predicted {timing.interval:,})",
            "lanes": f"{timing.lanes}, those of {timing.bottleneck.name} busy {percent(value['lane_utilization'])}",
            f"images/s at {self.clock_mhz:g} MHz": f"{value['images_per_second']:,.0f}",
            "simulated cycles/s": f"{value['sim_cycles_per_second']:,.0f} ({self.simulator})",
        }
        if outcome.source_stalls or outcome.sink_stalls:
            shares = f"{percent(outcome.source_stalls)} / {percent(outcome.sink_stalls)}"
            rows["stalled cycles, source / sink"] = shares
        return rows

    def __repr__(self) -> str:
        verdict = "bit-exact" if self.bit_exact else f"{self.mismatches} words differ from the golden model"
        accuracy = "" if self.accuracy is None else f", accuracy {percent(self.accuracy)}"
        return (
            f"<addax.Simulation {self.images} images: {verdict}{accuracy}, {self.cycles_per_image:,} cycles per image>"
        )

    def _repr_html_(self) -> str:
        return table(f"addax.Simulation, {'bit-exact' if self.bit_exact else 'NOT bit-exact'}", self.rows())


@dataclass(frozen=True, kw_only=True, repr=False)
class Report:
    """What a BUILD costs.

    Attributes
    ----------
    made : figures, the page and the JSON file
    """

    made: "MadeReport"

    @property
    def html(self) -> Path:
        """The page."""
        return self.made.html

    @property
    def json(self) -> Path:
        """Everything that the page shows, as JSON."""
        return self.made.json

    def keys(self) -> dict[str, Any]:
        """The values that scripts read, as `addax report --json` gives them."""
        return dict(self.made.keys)

    def __getitem__(self, key: str) -> Any:
        return self.made.keys[key]

    def rows(self) -> dict[str, str]:
        """What it says to people."""
        k, band, placement = self.made.keys, self.made.power_band_mw, self.made.placement
        rows = {
            "device": k["device"],
            "resources": k["source"] if k["lut"] is not None else "not counted: add --synth",
        }
        if k["estimate_note"]:
            rows["estimate"] = k["estimate_note"]
        counted = ("lut", "lut_paired", "ff", "bram", "dsp", "carry")
        rows |= {name: f"{k[name]:,}" for name in counted if k[name] is not None}
        if placement:
            rows |= _timing_rows(placement)
        if k["cycles_per_image"] is not None:
            rows["cycles per image"] = f"{k['cycles_per_image']:,}"
        if band:
            rows["power, modelled"] = (
                f"{k['power_mw']['total']:.0f} mW ({band[0]:.0f} to {band[1]:.0f}), "
                f"{k['energy_per_image_uj']:.2f} uJ per image"
            )
        return {**rows, "report": k["report"]}

    def __repr__(self) -> str:
        k = self.made.keys
        cells = ", ".join(f"{k[name]:,} {name.upper()}" for name in ("lut", "ff", "bram", "dsp") if k[name] is not None)
        return f"<addax.Report {k['device']}, {k['source']}: {cells or 'not counted'}; {self.html}>"

    def _repr_html_(self) -> str:
        page = escape(self.html.read_text(), quote=True)
        return f'<iframe srcdoc="{page}" style="width:100%;height:{_PAGE_HEIGHT}px;border:0" sandbox></iframe>'


def _timing_rows(placement: Any) -> dict[str, str]:
    """The clock that was reached, how far seeds differ, and where the slowest path runs."""
    reached = placement.seeds_mhz
    spread = f" ({min(reached):.1f} to {max(reached):.1f}, {len(reached)} seeds)" if len(reached) > 1 else ""
    path = ", ".join(f"{piece.name} {piece.delay_ns:.1f} ns" for piece in placement.critical_path)
    return {"Fmax": f"{placement.fmax_mhz:.1f} MHz{spread}", **({"slowest path": path} if path else {})}
