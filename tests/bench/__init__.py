"""Benchmarks. Helpers of tests are on the path of modules from here on, as pytest has them."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "support" / room) for room in ("programs", "graphs", "pages")]
