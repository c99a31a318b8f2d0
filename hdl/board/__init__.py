"""Boards: pins, the serial line, the top around an accelerator."""
