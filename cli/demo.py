"""The verb that shows everything at once: demo."""

from pathlib import Path

import click

from ..api.display import percent
from ..common.console import steps
from .base import MISMATCH, PATH, listing, show, verb

__all__ = ["demo"]


@verb
@click.option("-o", "--out", type=PATH, default=Path("out/demo"), show_default=True, help="Folder of the results.")
def demo(out: Path, as_json: bool) -> int:
    """The whole way on the embedded network and data."""
    from ..reports.demo import run_demo

    with steps("demo") as step:
        result = run_demo(out, step=step)
    k = result.keys
    rows = {
        "accuracy float / int8 / RTL": " / ".join(percent(k[f"accuracy_{kind}"]) for kind in ("float", "int8", "rtl")),
        "images through RTL": f"{k['images']}, {k['mismatches']} wrong scores",
        "cycles per image": f"{k['cycles_per_image']:,} (predicted {k['predicted_cycles_per_image']:,})",
        f"images/s at {k['clock_mhz']:g} MHz": f"{k['images_per_second']:,.0f}",
        f"{k['device']}: LUT / FF / block RAM / DSP": f"{k['lut']:,} / {k['ff']:,} / {k['bram']} / {k['dsp']}",
        "power, modelled": f"{k['power_mw']['total']:.0f} mW ({k['power_mw']['dynamic']:.0f} dynamic), "
        f"{k['energy_per_image_uj']:.2f} uJ/image",
        "report": k["report"],
    }
    show(k, as_json, listing(f"{k['network']}, {k['kernel']} kernel, {k['bits']} bit", rows))
    return 0 if result.bit_exact else MISMATCH
