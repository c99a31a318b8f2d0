"""An exported graph made plain: without side effects and checks, constants computed, names as users know them."""

import operator
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from ....common.errors import UserError
from .leaves import LEAF
from .nodes import argument, name_of, said

__all__ = ["as_plain_graph"]

_TORCH = str(Path(torch.__file__).parent)
_OURS = str(Path(__file__).parents[3] / "models" / "layers")
_FUNCTIONS = (("upsample_", "interpolate"), ("_upsample_", "interpolate"))
"""Names of functions where ATen has others, which begin so."""


def as_plain_graph(exported: ExportedProgram, layers: Sequence[tuple[str, nn.Module]]) -> fx.GraphModule:
    """The graph of ``exported`` in which calls of `LEAF` call ``layers`` (path and layer, by index).

    Raises
    ------
    UserError
        for a network that gives anything but one tensor, and for one that changes a part of a tensor in place.
    """
    with torch.no_grad():
        return _Plain(exported.module(check_guards=False), layers).made()


class _Plain:
    def __init__(self, source: fx.GraphModule, layers: Sequence[tuple[str, nn.Module]]):
        self.source = source
        self.layers = layers
        self.graph = fx.Graph()
        self.now: dict[fx.Node, fx.Node] = {}
        """What every node of the source has become, and after a change in place the changed one."""
        self.constants: dict[fx.Node, tuple[str, Tensor]] = {}
        self.attributes: dict[str, Any] = {}

    def made(self) -> fx.GraphModule:
        for node in self.source.graph.nodes:
            self._copy(node)
        traced = fx.GraphModule(self.attributes, self.graph)
        traced.graph.eliminate_dead_code()
        return traced

    def _copy(self, node: fx.Node) -> None:
        match node.op:
            case "placeholder":
                self._made(node, self.graph.placeholder(node.name))
            case "get_attr":
                self.constants[node] = str(node.target), _attribute(self.source, str(node.target))
            case "output":
                self._end(node.args[0])
            case "call_function":
                self._call(node)

    def _end(self, result: Any) -> None:
        spec = self.source.graph._codegen.pytree_info.out_spec  # type: ignore[attr-defined]
        if spec is not None and not spec.is_leaf():
            raise UserError(f"expected a tensor in the network's graph, not {pytree.tree_unflatten(result, spec)}")
        self.graph.output(self._argument(result[0] if isinstance(result, list | tuple) else result))

    def _call(self, node: fx.Node) -> None:
        name = name_of(node)
        target: tuple[str, Any]
        if node.target is LEAF:
            path, layer = self.layers[node.args[1]]  # type: ignore[index]
            self.attributes[path] = layer
            target = "call_module", path
        elif node.meta.get("val") is None and not node.users:
            return  # a check
        elif (computed := self._computed(node)) is not None:
            self.constants[node] = computed
            return
        else:
            target = "call_function", _without_side_effects(node) or node.target
        arguments = node.args[:1] if node.target is LEAF else node.args
        args, kwargs = fx.node.map_arg((arguments, node.kwargs), self._argument)
        made = self.graph.create_node(*target, args, kwargs, name=self._name(node, name))
        self._made(node, made)
        if _without_side_effects(node):
            self._replace(node, made)

    def _made(self, node: fx.Node, made: fx.Node) -> None:
        self.now[node] = made
        made.meta = {"path": _path(node) or made.name, "where": _where(node), "val": node.meta.get("val")}

    def _replace(self, node: fx.Node, made: fx.Node) -> None:
        """From here on, what ``node`` changed in place is ``made``."""
        changed = argument(node)
        seen = [changed, *(user for user in changed.users if user is not node and _is_view(user))]
        later = {user for view in seen[1:] for user in view.users if user not in self.now}
        if _is_view(changed) or later:
            raise UserError(
                f"{name_of(node)} at {said(made)} changes a part of a tensor in place; make a new tensor instead"
            )
        self.now[changed] = made

    def _argument(self, value: Any) -> Any:
        """An argument of the source as one of the graph; a constant gets its node."""
        if not isinstance(value, fx.Node):
            return value
        if value not in self.now:
            target, found = self.constants[value]
            name = f"constant_{len(self.attributes)}"
            self.attributes[name] = found
            made = self.graph.create_node("get_attr", name, name=name)
            made.meta = {"fqn": target, "val": found}
            self.now[value] = made
        return self.now[value]

    def _computed(self, node: fx.Node) -> tuple[str, Tensor] | None:
        """The result of an operation whose tensors are all constant, and the name of the first of them."""
        target = node.target
        if not isinstance(target, OpOverload) or torch.Tag.nondeterministic_seeded in target.tags:
            return None
        read = node.all_input_nodes
        if not read or any(value not in self.constants for value in read):
            return None
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda value: self.constants[value][1])
        result = target(*args, **kwargs)
        return (self.constants[read[0]][0], result.detach()) if isinstance(result, Tensor) else None

    def _name(self, node: fx.Node, name: str) -> str:
        if node.target is LEAF:
            text = self.layers[node.args[1]][0]  # type: ignore[index]
        else:
            plain = name.rpartition(".")[2].rstrip("_")
            text = _layer(node) or next((name for start, name in _FUNCTIONS if plain.startswith(start)), plain)
        return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", text).lower()


def _attribute(module: nn.Module, target: str) -> Tensor:
    found: Any = module
    for name in target.split("."):
        found = getattr(found, name)
    assert isinstance(found, Tensor)
    return found


def _stack(node: fx.Node) -> tuple[str, str]:
    """Path and class of the innermost module that calls ``node``."""
    entries = list(node.meta.get("nn_module_stack", {}).values())
    path, kind = entries[-1] if entries else ("", "")
    return re.sub(r"@\d+", "", path), kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"


def _layer(node: fx.Node) -> str:
    """Path of the layer of torch that ``node`` is, or nothing for a function that a user calls."""
    path, kind = _stack(node)
    return path if kind.startswith(("torch.nn.", "torch.ao.nn.")) else ""


def _path(node: fx.Node) -> str:
    return _stack(node)[0] if node.target is LEAF else _layer(node)


def _where(node: fx.Node) -> str:
    """The innermost line of the user's source."""
    lines = re.findall(r'File "([^"]+)", line (\d+), in .*\n\s*(.*)', node.meta.get("stack_trace") or "")
    own = [entry for entry in lines if not entry[0].startswith((_TORCH, _OURS))]
    return f"{Path(own[-1][0]).name}:{own[-1][1]}: {own[-1][2]}" if own else ""


def _without_side_effects(node: fx.Node) -> OpOverload | None:
    """The operation that computes what ``node`` writes in place; None for one that does not write in place."""
    target = node.target
    if not isinstance(target, OpOverload) or not target._schema.is_mutable:
        return None
    packet = target.overloadpacket
    name = packet.__name__.removesuffix("_")
    other = getattr(torch.ops.aten, name, None)
    if name == packet.__name__ or other is None or target._overloadname not in other.overloads():
        raise UserError(
            f"unsupported operation {packet} at {node.name!r}: it writes into a tensor; make a new one instead"
        )
    found: OpOverload = getattr(other, target._overloadname)
    return found


def _is_view(node: fx.Node) -> bool:
    """Whether ``node`` gives another view of the tensor that it reads."""
    target = node.target
    if target is operator.getitem:
        return True
    if not isinstance(target, OpOverload) or target._schema.is_mutable:
        return False
    return any(result.alias_info is not None for result in target._schema.returns)
