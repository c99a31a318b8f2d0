"""What scripts and notebooks use: networks, builds, and what was found out about them."""

from .build import Build, open_build
from .network import Network, load, quantize
from .results import Report, Simulation

__all__ = ["Build", "Network", "Report", "Simulation", "load", "open_build", "quantize"]
