"""The whole way on the embedded network and data: quantise, generate, simulate every test image, synthesise, report."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from ..common.processes import stop_all
from ..hdl.family import PlanRequest
from ..hdl.folder.families import family_of
from ..hdl.folder.generate import generate
from ..models import data
from ..quant.quantize import evaluate, float_accuracy, quantize
from ..sim.activity import measure_activity
from ..sim.cosim import simulate, simulator_name
from .devices.devices import device
from .page.report import POWER_IMAGES, make_report
from .synth.synth import synthesise

__all__ = ["Demo", "run_demo"]

NETWORK, KERNEL, BITS, DATA, DEVICE, CLOCK_MHZ = "lenet5", "adder", 8, "digits", "ecp5-45k", 50.0
ARCH = "dataflow"
VECTORS = 4


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What the demo shows: values by name, and whether RTL and golden model agree on every score."""

    keys: dict[str, Any]
    bit_exact: bool


def run_demo(out: str | Path, *, step: Callable[[str], None] = lambda text: None) -> Demo:
    """Run the demo; the BUILD and its report are written under ``out``.

    Simulation and synthesis run side by side; both are found again in the cache by later runs.
    """
    out = Path(out)
    step("quantising")
    float_share = float_accuracy(NETWORK, KERNEL, DATA)
    program = quantize(NETWORK, kernel=KERNEL, weights=None, bits=BITS, data_source=DATA)
    images = data.load(DATA, "test", shape=program.input.shape)
    quantised = evaluate(program, images)
    step("generating Verilog")
    plan = family_of(ARCH).plan(program, PlanRequest(device=device(DEVICE).name, clock_mhz=CLOCK_MHZ))
    build = generate(program, plan, out / "build", vectors=images.x[:VECTORS])
    step("simulating and synthesising")
    some = images.x[:POWER_IMAGES]
    with ThreadPoolExecutor(2) as pool:
        synthesis = pool.submit(synthesise, build, device(DEVICE))
        try:
            outcome = simulate(build, images.x)
            measure_activity(build, some)
            synthesis.result()
        except KeyboardInterrupt:
            stop_all([synthesis])
            raise
    on = f"share of {len(images)} test images"
    share = float((outcome.classes == images.y).mean())
    report = make_report(
        build, out / "report", synth=True, power_images=some, command="addax demo",
        extra={
            "accuracy_float": (float_share, on, "torch", package_version("torch")),
            "accuracy_int8": (quantised.accuracy, on, "golden model", f"addax {package_version('addax')}"),
            "accuracy_rtl": (share, on, "cocotb", f"{package_version('cocotb')} on {simulator_name()}"),
        },
    )  # fmt: skip
    return Demo(
        keys={
            "network": NETWORK,
            "kernel": KERNEL,
            "bits": BITS,
            "images": outcome.images,
            "accuracy_float": float_share,
            "accuracy_int8": quantised.accuracy,
            "accuracy_rtl": share,
            "mismatches": outcome.mismatches,
            "bit_exact": outcome.bit_exact,
            "cycles_per_image": outcome.cycles_per_image,
            "predicted_cycles_per_image": build.schedule.interval,
            "cycles_first_image": outcome.cycles_first_image,
            **{key: report.keys[key] for key in ("lut", "ff", "bram", "dsp", "power_mw", "energy_per_image_uj")},
            "clock_mhz": CLOCK_MHZ,
            "images_per_second": report.keys["images_per_second"],
            "device": DEVICE,
            "build": str(out / "build"),
            "report": str(report.html),
        },
        bit_exact=outcome.bit_exact,
    )
