"""An operating system that lets nothing be written."""

import os

import pytest


@pytest.fixture
def denied(monkeypatch):
    """Make the operating system say that nothing may be written, also when the tests run as root."""
    monkeypatch.setattr(os, "access", lambda path, mode, **options: False)
