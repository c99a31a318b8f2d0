"""Random small engines: every width of memory, buffers of any size, any burst and number of bursts on their way."""

import numpy as np
from addax.hdl.engine.plan import EnginePlan

SHAPES = ((4, 16, 64), (8, 8, 64), (8, 16, 128), (8, 16, 64), (16, 8, 128), (16, 16, 256), (16, 8, 64))
"""Pin, bits of an element, bits of memory."""


def random_engine(seed):
    """An engine whose buffers are small enough that most networks go in several bands."""
    rng = np.random.default_rng(seed)
    pin, bits, memory_bits = SHAPES[seed % len(SHAPES)]
    word, burst = pin * bits // 8, int(rng.choice([2, 4, 8, 16]))
    return EnginePlan(
        device="ecp5-85k", pin=pin, pout=pin, bits=bits, memory_bits=memory_bits, burst=burst,
        outstanding=int(rng.integers(1, 9)), pixels=int(rng.choice([32, 64, 128])),
        feature_bytes=word * int(rng.choice([256, 512, 1024])), weight_bytes=word * int(rng.choice([64, 128, 512])),
        kernels=tuple(rng.permutation(["adder", "mult", "shift"]).tolist()),
        control=str(rng.choice(["none", "axi-lite", "wishbone"])),
    )  # fmt: skip
