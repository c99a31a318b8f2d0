"""Integers of a format side by side in a word, the first one lowest."""


def packed(values, fmt):
    return sum(fmt.encode(value) << (k * fmt.bits) for k, value in enumerate(values))


def unpacked(word, fmt, count):
    values = [(word >> (k * fmt.bits)) & ((1 << fmt.bits) - 1) for k in range(count)]
    return [v - (1 << fmt.bits) if fmt.signed and v >> (fmt.bits - 1) else v for v in values]
