"""addax: from a PyTorch network without multiplications to a verified, costed FPGA accelerator.

``addax.quantize`` makes integers of a network, `Network.generate` hardware of them, `Build.simulate` and `Build.report`
say whether it is right and what it costs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import nn
    from .api import Build, Network, Report, Simulation, load, open_build, quantize
    from .common.errors import UserError
    from .models.data import Images
    from .models.data import load as load_images
    from .quant.builder import ProgramBuilder, lossless_clamp
    from .quant.fold.scheme import Scheme

__version__ = "0.1.0"
__all__ = [
    "Build", "Images", "Network", "ProgramBuilder", "Report", "Scheme", "Simulation", "UserError", "load",
    "load_images", "lossless_clamp", "nn", "open_build", "quantize",
]  # fmt: skip

_HOMES = {
    **dict.fromkeys(("Build", "Network", "Report", "Simulation", "load", "open_build", "quantize"), "api"),
    "Images": "models.data",
    "Scheme": "quant.fold.scheme",
    "UserError": "common.errors",
    **dict.fromkeys(("ProgramBuilder", "lossless_clamp"), "quant.builder"),
}
"""Modules of what is imported when somebody asks for it: torch alone takes a second."""


def __getattr__(name: str) -> Any:
    if name == "nn":
        return import_module(".nn", __name__)
    if name == "load_images":
        return import_module(".models.data", __name__).load
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
