"""``python gpu_code.py ARCHITECTURE`` compiles the kernels for GPUs as their back end would, for that one (90 is
Hopper), and prints what the innermost loop of each consists of. It needs no GPU: Triton brings the assembler."""

import collections
import json
import re
import subprocess
import sys
from pathlib import Path

CHANNELS = (128, 64, 32, 16)
POINTERS = ("x", "w", "y", "g", "d", "bias")


def innermost(listing):
    """The instructions of each loop that holds no other, as a table of their counts."""
    found = re.findall(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+ )?([A-Z]\w*)[\w.]*(.*?);", listing)
    code = [(int(address, 16), name, rest) for address, name, rest in found]
    backwards = [(int(to[1], 16), at) for at, name, rest in code
                 if name == "BRA" and (to := re.search(r"0x([0-9a-f]+)", rest)) and int(to[1], 16) < at]  # fmt: skip
    alone = [a for a in backwards if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in backwards)]
    return [collections.Counter(name for at, name, _ in code if begin <= at <= end) for begin, end in alone]


def compiled(kernel, constants, architecture, tile):
    """Counts of the innermost loop with most instructions, and the bytes of registers that had to go to memory."""
    import triton
    from triton.backends import nvidia
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    options = tile.options(4)
    warps = options.pop("num_warps")
    constants = {**constants, **options}
    pointer = "*i32" if kernel.__name__ == "byte_distances" else "*fp32"
    kinds = {
        name: "constexpr" if name in constants else pointer if name in POINTERS else "i32" for name in kernel.arg_names
    }
    source = ASTSource(kernel, signature=kinds, constexprs=constants)
    made = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options={"num_warps": warps})
    binary = Path(made.metadata_group[f"{made.metadata.name}.cubin"])
    tool = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
    listing, used = (
        subprocess.run([tool, option, binary], capture_output=True, text=True, check=True).stdout
        for option in ("-sass", "-res-usage")
    )
    loop = max(innermost(listing), key=lambda counts: counts.total())
    return {"loop": dict(loop), "spilled": int(re.search(r"STACK:(\d+)", used)[1])}


def main(architecture):
    from addax.models.compute import gpu_kernels
    from addax.models.compute.gpu import tile_for

    found = {}
    for channels in CHANNELS:
        tile = tile_for(1 << 20, channels, 1)
        sizes = {"INPUTS": channels, "OUTPUTS": channels, "PITCH": channels, "STEP": 1024}
        asm = {"ASM": architecture >= 86}
        for name, constants in (
            ("adder_forward", {**sizes, "BIAS": False}),
            ("adder_features", {**sizes, **asm}),
            ("byte_distances", {"WORDS": 36, "FILTERS": channels, **asm}),
        ):
            kernel = getattr(gpu_kernels, name)
            terms = tile.pixels * tile.channels * 4  # of a thread, in a round of the unrolled loop
            found[f"{name} {channels}"] = {**compiled(kernel, constants, architecture, tile), "terms": terms}
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
