"""Watching a model run: every aten call of its decomposed graph, with the real values."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tapml_fuzz.carving.models import Inputs
from tapml_fuzz.core.errors import BadModel
from tapml_fuzz.operators.invoke import flatten

# Nodes that check or rename but compute no tensor.
WITHOUT_MEANING = frozenset(
    {
        "aten._assert_async.msg",
        "aten._assert_scalar.default",
        "aten._assert_tensor_metadata.default",
        "aten.alias.default",
        "aten.detach.default",
        "aten.lift_fresh_copy.default",
        "aten.sym_constrain_range_for_size.default",
    }
)


@dataclass(frozen=True)
class Recorded:
    """One aten call as it happened. Its tensors are the model's own: whoever keeps one clones it.

    `weights` are those of its tensors that come from the weights, the same in every batch; `weights_only` says
    that all of them do, and every size too. `used` has the numbers of the outputs that anything reads, empty for all.
    """

    node: str
    module: str
    operator: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    outputs: tuple[torch.Tensor, ...]
    weights: tuple[torch.Tensor, ...]
    weights_only: bool
    used: tuple[int, ...] = ()


Observer = Callable[[Recorded], None]
OpenAxes = Mapping[str, Sequence[int]]  # per input, the axes whose extent may change


class TracedModel:
    """A model as a graph of aten calls that serves any batch size and sequence length: `graph_module`."""

    def __init__(self, graph_module: torch.fx.GraphModule) -> None:
        self.graph_module = graph_module
        self._weights_only = _nodes_of_weights(graph_module.graph)

    def run(self, inputs: Inputs, observer: Observer) -> tuple[torch.Tensor, ...]:
        """Run one batch; `observer` sees every aten call that has tensors, in order. Returns the model's outputs."""
        with torch.no_grad():
            interpreter = _Watching(self.graph_module, observer, self._weights_only)
            return flatten(interpreter.run(*inputs.values()))


def trace(module: torch.nn.Module, example: Inputs, open_axes: OpenAxes | None = None) -> TracedModel:
    """Export a model with open batch and sequence axes and decompose it; raises `BadModel` where torch cannot.

    `example` needs at least two sentences and two tokens: sizes of 1 would be taken for constants. `open_axes` names
    the axes in question where they are not all axes of every input.
    """
    dynamic = {
        name: dict.fromkeys(open_axes[name] if open_axes else range(t.dim()), torch.export.Dim.DYNAMIC)
        for name, t in example.items()
    }
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # torch 2.13's own bookkeeping of pytrees warns about itself.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            exported = torch.export.export(module, (example,), dynamic_shapes=(dynamic,), strict=False)
            graph_module = exported.run_decompositions().module(check_guards=False)
    except Exception as error:  # export raises many kinds
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadModel(f"the model cannot be exported with open batch and sequence axes: {first[:300]}") from None
    return TracedModel(graph_module)


class _Watching(torch.fx.Interpreter):
    def __init__(
        self, module: torch.fx.GraphModule, observer: Observer, weights_only: frozenset[torch.fx.Node]
    ) -> None:
        super().__init__(module)
        self._observer = observer
        self._weights = weights_only

    def run_node(self, node: torch.fx.Node) -> Any:
        result = super().run_node(node)
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            outputs = flatten(result)
            name = str(node.target)
            if outputs and name.startswith("aten.") and name not in WITHOUT_MEANING:
                args, kwargs = self.fetch_args_kwargs_from_env(node)
                weights = flatten([self.env[n] for n in node.all_input_nodes if n in self._weights])
                path = module_path(node)
                only, used = node in self._weights, used_outputs(node, result)
                self._observer(Recorded(node.name, path, name, args, kwargs, outputs, weights, only, used))
        return result


def used_outputs(node: torch.fx.Node, result: Any) -> tuple[int, ...]:
    """Numbers of the outputs that the graph reads, of several; empty when it reads all, or the result whole."""
    if not isinstance(result, tuple | list) or any(user.target is not operator.getitem for user in node.users):
        return ()
    read = tuple(sorted({int(str(user.args[1])) for user in node.users if user.users}))
    return read if len(read) < len(result) else ()


def module_path(node: torch.fx.Node) -> str:
    """The innermost module a node came from, e.g. `transformer.network.encoder.layer.0.attention.self`."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] for entry in stack.values()]
    return str(paths[-1]) if paths else ""


def _nodes_of_weights(graph: torch.fx.Graph) -> frozenset[torch.fx.Node]:
    """Nodes that depend on parameters and constants alone."""
    found: set[torch.fx.Node] = set()
    for node in graph.nodes:
        if node.op == "get_attr" or (
            node.op == "call_function" and all(source in found for source in node.all_input_nodes)
        ):
            found.add(node)
    return frozenset(found)
