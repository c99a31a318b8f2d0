"""Kernels for GPUs on a machine without one: Triton's interpreter runs them on tensors in memory."""

import importlib
import sys

KERNELS = "addax.models.compute.gpu_kernels"


def interpreted_kernels(monkeypatch):
    """The module of the kernels. How they run is settled when it is imported, and asked again at every call."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    return sys.modules.get(KERNELS) or importlib.import_module(KERNELS)
