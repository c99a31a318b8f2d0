"""Elements of streams between the parts of an accelerator.

Every stream keeps Amaranth's rules: once ``valid`` is up, it and the payload hold until the transfer, and ``valid``
never waits for ``ready``.
"""
