"""Attention that torch computes in one function, or that people write as sums over letters: products, a softmax."""

import math
from typing import Any

import torch
from torch import fx

from .nodes import constant, given, is_call, sizes

__all__ = ["as_products"]

aten = torch.ops.aten


def as_products(traced: fx.GraphModule) -> fx.GraphModule:
    """A network with ``softmax(queries keys^T * scale + mask) values`` for each `scaled_dot_product_attention`, and a
    `matmul` for each `einsum` that is one, or one of a transposed tensor."""
    for node in list(traced.graph.nodes):
        if is_call(node, aten.einsum) and (turned := _turned(node)) is not None:
            with traced.graph.inserting_before(node):
                result = _Parts(traced, node).product(turned=turned)
        elif is_call(node, aten.scaled_dot_product_attention):
            with traced.graph.inserting_before(node):
                result = _Parts(traced, node).context()
        else:
            continue
        node.replace_all_uses_with(result)
        traced.graph.erase_node(node)
    traced.recompile()
    return traced


def _turned(node: fx.Node) -> bool | None:
    """Whether an `einsum` is a product with the transpose of its second tensor; None where it is no product."""
    given_names, _, result = str(node.args[0]).replace(" ", "").partition("->")
    names = given_names.split(",")
    if len(names) != 2 or not result or "." in given_names:
        return None
    (*among, row, summed), second = list(names[0]), names[1]
    if len(second) != len(names[0]) or list(second[:-2]) != among or list(result[:-1]) != [*among, row]:
        return None
    column = result[-1]
    return {summed + column: False, column + summed: True}.get(second[-2:])


class _Parts:
    def __init__(self, traced: fx.GraphModule, node: fx.Node):
        self.traced = traced
        self.node = node
        self.given = given(node)

    def product(self, *, turned: bool) -> fx.Node:
        """The product of the two tensors of an `einsum`."""
        left, right = self.given["tensors"]
        right = self.call(aten.transpose.int, right, -2, -1) if turned else right
        return self.call(aten.matmul.default, left, right)

    def context(self) -> fx.Node:
        queries, keys, values = (self.given[name] for name in ("query", "key", "value"))
        width = int(sizes(queries)[-1])
        scale = self.given["scale"]
        turned = self.call(aten.transpose.int, keys, -2, -1)
        scores = self.call(aten.matmul.default, queries, turned)
        scores = self.call(aten.mul.Tensor, scores, 1 / math.sqrt(width) if scale is None else float(scale))
        weights = self.call(aten.softmax.int, self.masked(scores), -1)
        if self.given["dropout_p"]:
            weights = self.call(aten.dropout.default, weights, float(self.given["dropout_p"]), True)
        return self.call(aten.matmul.default, weights, values)

    def masked(self, scores: fx.Node) -> fx.Node:
        mask = self.given["attn_mask"]
        if self.given["is_causal"]:
            rows, columns = (int(n) for n in sizes(scores)[-2:])
            name = f"{self.node.name}_causal"
            hides = torch.ones(rows, columns, dtype=torch.bool).tril().logical_not()
            self.traced.register_buffer(name, hides)
            made = self.traced.graph.create_node("get_attr", name, name=name)
            made.meta = {"fqn": name, "val": hides}
            return self.call(aten.masked_fill.Scalar, scores, made, -math.inf)
        if mask is None:
            return scores
        if mask.meta["val"].dtype != torch.bool:
            return self.call(aten.add.Tensor, scores, mask)
        return self.call(aten.masked_fill.Scalar, scores, self.call(aten.logical_not.default, mask), -math.inf)

    def call(self, target: Any, *arguments: Any) -> fx.Node:
        """A call that stands for a part of the node."""
        made = self.traced.graph.call_function(target, arguments)
        found = constant(self.traced, made)
        read = fx.node.map_arg(arguments, lambda value: value.meta["val"])
        made.meta = {**self.node.meta, "val": target(*read) if found is None else found}
        return made
