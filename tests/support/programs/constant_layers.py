"""Random layers of constants, and what they compute in plain loops."""

import random

from addax.hdl.constant.circuit import ConstantLayer, Levelled, Scaled
from addax.quant.formats import Format, unsigned

KERNELS = ("adder", "mult", "xnor", "shift")


def random_layer(seed, *, kernel=None, bits=8, features=9, rows=5):
    """A layer of up to so many rows, of features with up to ``bits`` bits."""
    rng = random.Random(seed)
    kernel = kernel or rng.choice(KERNELS)
    x = unsigned(1) if kernel == "xnor" else Format(bits=rng.randint(1, bits), signed=rng.random() < 0.5)
    weight = {
        "xnor": lambda: rng.choice([-1, 1]), "adder": lambda: rng.randint(x.lo, x.hi),
        "mult": lambda: rng.randint(-8, 7) * (rng.random() < 0.7),
        "shift": lambda: rng.choice([0, 1, -1, 2, -4, 8, -64]),
    }[kernel]  # fmt: skip
    count = rng.randint(1, features)
    weights = tuple(tuple(weight() for _ in range(count)) for _ in range(rng.randint(1, rows)))
    if rng.random() < 0.5:
        y = Format(bits=rng.randint(2, 8), signed=rng.random() < 0.3)
        shift = rng.randint(0, 14)
        made = Scaled(
            multipliers=tuple(rng.choice([1, -1, rng.randint(-300, 300)]) for _ in weights),
            offsets=tuple(rng.randint(-30000, 30000) for _ in weights), shifts=tuple(shift for _ in weights),
            lo=y.lo, hi=y.hi,
        )  # fmt: skip
    else:
        y, levels = unsigned(2), rng.randint(1, 3)
        made = Levelled(
            thresholds=tuple(tuple(sorted(rng.randint(-40, 40) for _ in range(levels))) for _ in weights),
            falling=tuple(rng.random() < 0.5 for _ in weights),
        )
    return ConstantLayer(kernel=kernel, x=x, y=y, weights=weights, activation=made)


def some_features(layer, count, seed):
    """So many lists of features, those at the ends of their format among them."""
    rng, x, inputs = random.Random(seed), layer.x, len(layer.weights[0])
    anything = [[rng.randint(x.lo, x.hi) for _ in range(inputs)] for _ in range(count)]
    return [[x.lo] * inputs, [x.hi] * inputs, *anything]


def sum_of(layer, row, features):
    """The accumulator of a row."""
    total = 0
    for x, w in zip(features, layer.weights[row], strict=True):
        total += {"adder": -abs(x - w), "xnor": (1 if x else -1) * w}.get(layer.kernel, x * w)
    return total


def results_of(layer, features):
    """What a layer gives, operation by operation."""
    found, made = [], layer.activation
    for row in range(len(layer.weights)):
        acc = sum_of(layer, row, features)
        if isinstance(made, Scaled):
            y = (acc * made.multipliers[row] + made.offsets[row]) // 2 ** made.shifts[row]
            found.append(max(made.lo, min(made.hi, y)))
        else:
            reached = len([level for level in made.thresholds[row] if acc >= level])
            found.append(len(made.thresholds[row]) - reached if made.falling[row] else reached)
    return found


def definition_of(layer):
    """A layer as a Verilog module with the ports of its array: every product and every sum, one after the other."""
    x, y, inputs, rows = layer.x, layer.y, len(layer.weights[0]), range(len(layer.weights))
    kind = "signed " if x.signed else ""
    lines = [
        f"module definition(input [{inputs * x.bits - 1}:0] x, input valid,"
        f" output [{len(rows) * y.bits - 1}:0] y, output done);",
        "assign done = valid;",
    ]
    for k in range(inputs):
        lines.append(f"wire {kind}[{x.bits - 1}:0] x_{k} = x[{k * x.bits} +: {x.bits}];")
        lines.append(f"wire signed [39:0] x{k} = x_{k};")
    made = layer.activation
    for row in rows:
        term = {
            "adder": "-(x{k} > ({w}) ? x{k} - ({w}) : ({w}) - x{k})", "xnor": "(x{k} != 0 ? ({w}) : -({w}))",
        }.get(layer.kernel, "x{k} * ({w})")  # fmt: skip
        terms = " + ".join(term.format(k=k, w=f"40'sd{abs(w)} * {1 if w >= 0 else -1}") for k, w in
                           enumerate(layer.weights[row]))  # fmt: skip
        lines.append(f"wire signed [39:0] acc{row} = {terms};")
        if isinstance(made, Scaled):
            lines.append(
                f"wire signed [39:0] whole{row} = (acc{row} * ({made.multipliers[row]}) + ({made.offsets[row]}))"
                f" >>> {made.shifts[row]};"
            )
            value = f"(whole{row} < ({made.lo}) ? {made.lo} : whole{row} > ({made.hi}) ? {made.hi} : whole{row})"
        else:
            value = " + ".join(f"(acc{row} >= ({level}) ? 1 : 0)" for level in made.thresholds[row])
            value = f"{len(made.thresholds[row])} - ({value})" if made.falling[row] else value
        lines.append(f"wire signed [39:0] y{row} = {value};")
        lines.append(f"assign y[{row * y.bits} +: {y.bits}] = y{row}[{y.bits - 1}:0];")
    return "\n".join([*lines, "endmodule"])
