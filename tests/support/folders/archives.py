"""The bytes of an .addax file, taken apart and edited."""

import json

HEADER = 8
"""A safetensors file begins with the length of its JSON header."""
KINDS = {
    "Input", "Convolution", "Requantise", "Threshold", "Concat", "MaxPool", "AveragePool", "Flatten", "ArgMax"
}  # fmt: skip


def split(content):
    size = int.from_bytes(content[:HEADER], "little")
    return json.loads(content[HEADER : HEADER + size]), content[HEADER + size :]


def edited(content, edit):
    """The same file with another graph: ``edit`` changes the JSON that addax wrote, or returns another."""
    header, body = split(content)
    value = json.loads(header["__metadata__"]["addax"])
    changed = edit(value)
    header["__metadata__"]["addax"] = json.dumps(value if changed is None else changed)
    text = json.dumps(header).encode()
    return len(text).to_bytes(HEADER, "little") + text + body
