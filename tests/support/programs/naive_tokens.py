"""Operations on tokens as loops over Python integers, for `naive`."""


def naive_matmul(op, shapes, a, b):
    """Every sum by its definition; ``shapes`` are those of ``a`` and of ``b``."""
    (_, height, width), (channels, rows, tokens) = shapes
    each, result = channels // op.heads, {}

    def f(x, y):
        return x * y if op.kernel == "mult" else -abs(x - y)

    for g in range(op.heads):
        for h in range(height):
            row = h if rows > 1 else 0
            for i in range(width):
                if op.form == "scores":
                    for j in range(tokens):
                        pairs = [(a[g * each + d, h, i], b[g * each + d, row, j]) for d in range(each)]
                        result[g * tokens + j, h, i] = sum(f(x, y) for x, y in pairs)
                else:
                    for d in range(each):
                        pairs = [(a[g * tokens + j, h, i], b[g * each + d, row, j]) for j in range(tokens)]
                        result[g * each + d, h, i] = sum(f(x, y) for x, y in pairs)
    return result


NAIVE_TOKENS = {
    "MatMul": lambda op, program, tensors: naive_matmul(
        op, [program.shape(name) for name in op.sources], *(tensors[name] for name in op.sources)
    ),
}
"""The result of each kind of operation, of Program and the tensors before it."""
