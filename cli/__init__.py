"""The command line: one function per verb, thin over what the packages do. ``python -m addax.cli`` runs it, too."""

from .main import main

__all__ = ["main"]
