"""One run of a model on one batch: its operator calls in order, with what the reference platform gave.

A recording is a straight line. Everything that depends on sizes alone was worked out while the model ran on the
reference platform, so what is left are steps that read and write named values, and any step may run anywhere.
"""

from __future__ import annotations

import operator as python_operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._pytree import tree_flatten

from tapml_fuzz.carving.infer_sizes import infer_sizes
from tapml_fuzz.carving.models import Inputs
from tapml_fuzz.carving.trace import WITHOUT_MEANING, TracedModel, module_path, used_outputs
from tapml_fuzz.core.case import Case
from tapml_fuzz.core.errors import BadModel
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.operators.axes import InferredCall, fixed
from tapml_fuzz.operators.invoke import flatten, to_numpy


@dataclass(frozen=True)
class RecordedStep:
    """One operator call of the graph: `name` is its node, `inputs` and `outputs` are names of values."""

    name: str
    module: str
    operator: Operator
    sizes: Mapping[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Recording:
    """A run of the graph on one batch.

    Attributes:
        label: what ran, for people: `"sentences 3, 7"`, `"decode 2"`.
        steps: in the order of the graph.
        given: values that no step makes: the model's inputs, its weights, and what depends on sizes alone.
        values: what the reference platform gave for every value that a step makes (torch tensors on the CPU).
        outputs: names of the model's outputs, its result first.
        on_host: nodes that take no tensor (arange, full) and so were run by the host, whatever the platforms.
        carried: inputs that are outputs of the recording before, by their number there: the state of a decoder.
        graph: which of the model's graphs ran, where it has several: `"prefill"`, `"decode"`.
        inputs: those of `given` that are the model's inputs.
    """

    label: str
    steps: tuple[RecordedStep, ...]
    given: Mapping[str, torch.Tensor] = field(repr=False)
    values: Mapping[str, torch.Tensor] = field(repr=False)
    outputs: tuple[str, ...]
    on_host: tuple[str, ...] = ()
    carried: Mapping[str, int] = field(default_factory=dict)
    graph: str = ""
    inputs: tuple[str, ...] = ()

    def tensor(self, name: str) -> torch.Tensor:
        """The reference run's value of that name."""
        return self.values[name] if name in self.values else self.given[name]

    def case(self, step: RecordedStep) -> Case:
        """The step's call alone, on the inputs that the reference run gave it."""
        tensors = tuple(to_numpy(self.tensor(name)) for name in step.inputs)
        return Case(step.operator, step.sizes, tensors, origin=f"seed:{step.name}")


def record(
    traced: TracedModel,
    operators: Mapping[str, Operator],
    inputs: Inputs,
    label: str,
    carried: Mapping[str, int] | None = None,
    graph: str = "",
) -> Recording:
    """Run a traced model on one batch, on the device where it is; `operators` are those of its nodes.

    `carried`, by the names of `inputs`, and `graph` as in `Recording`. Raises `BadModel` for calls that are no aten
    operators.
    """
    recorder = _Recorder(traced.graph_module, operators)
    with torch.no_grad():
        result = recorder.run(*inputs.values())
    outputs = tuple(recorder.names_of(traced.graph_module.graph.output_node().args))
    if len(outputs) != len(flatten(result)):
        raise BadModel("the model returns something that no call of its graph gave")
    placeholders = [node.name for node in traced.graph_module.graph.nodes if node.op == "placeholder"]
    by_input = dict(zip(inputs, placeholders, strict=True))
    return Recording(
        label=label,
        steps=tuple(recorder.steps),
        given=recorder.given,
        values=recorder.values,
        outputs=outputs,
        on_host=tuple(recorder.on_host),
        carried={by_input[name]: number for name, number in (carried or {}).items()},
        graph=graph,
        inputs=tuple(placeholders),
    )


class _Recorder(torch.fx.Interpreter):
    """Runs the graph as it is, and beside it keeps the name of the value that every node stands for."""

    def __init__(self, module: torch.fx.GraphModule, operators: Mapping[str, Operator]) -> None:
        super().__init__(module, garbage_collect_values=False)
        self._operators = operators
        self._names: dict[torch.fx.Node, Any] = {}  # a name, or the names of a tuple
        self.steps: list[RecordedStep] = []
        self.given: dict[str, torch.Tensor] = {}
        self.values: dict[str, torch.Tensor] = {}
        self.on_host: list[str] = []

    def names_of(self, arguments: Any) -> list[str]:
        """The values among a node's arguments, in order."""
        nodes: list[torch.fx.Node] = []
        torch.fx.node.map_arg(arguments, nodes.append)
        return [name for node in nodes for name in tree_flatten(self._names.get(node, []))[0]]

    def run_node(self, node: torch.fx.Node) -> Any:
        result = super().run_node(node)
        if not flatten(result) or node.op == "output":
            return result
        if node.op in ("placeholder", "get_attr"):
            self._give(node, result)
        elif node.target is python_operator.getitem:
            self._names[node] = self._names[node.all_input_nodes[0]][node.args[1]]
        elif str(node.target) in WITHOUT_MEANING:
            self._names[node] = self._names[node.all_input_nodes[0]]
        elif not isinstance(node.target, torch._ops.OpOverload) or not str(node.target).startswith("aten."):
            raise BadModel(f"the graph calls {node.target}, which is no aten operator")
        elif not self.names_of((node.args, node.kwargs)):
            self.on_host.append(node.name)
            self._give(node, result)
        else:
            self._step(node, result)
        return result

    def _give(self, node: torch.fx.Node, result: Any) -> None:
        if not isinstance(result, torch.Tensor):
            raise BadModel(f"{node.name} gives several tensors out of none")
        self._names[node] = node.name
        self.given[node.name] = result.detach().cpu()

    def _step(self, node: torch.fx.Node, result: Any) -> None:
        call = self._call(node, result)
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        names = self.names_of((node.args, node.kwargs))
        given = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, torch.Tensor)]
        name_of = {id(tensor): name for tensor, name in zip(given, names, strict=True)}
        several = isinstance(result, tuple | list)
        every = [f"{node.name}:{i}" for i in range(len(result))] if several else [node.name]
        self._names[node] = every if several else node.name
        outputs = call.operator.used(every)
        self.values.update(
            (name, tensor.detach().cpu()) for name, tensor in zip(every, flatten(result), strict=True)
            if name in outputs
        )  # fmt: skip
        inputs = tuple(name_of[id(tensor)] for tensor in call.tensors)
        self.steps.append(RecordedStep(node.name, module_path(node), call.operator, call.sizes, inputs, tuple(outputs)))

    def _call(self, node: torch.fx.Node, result: Any) -> InferredCall:
        """The node's call as one of its operator, or as one of its own where the sizes do not fit that."""
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        known = self._operators.get(node.name)
        found = infer_sizes(known, args, kwargs) if known is not None else None
        return found or fixed(str(node.target), args, kwargs, used_outputs(node, result))


def calls_of(recordings: Sequence[Recording], key: str) -> list[tuple[Recording, RecordedStep]]:
    """Every call of one operator signature, in order."""
    return [(r, step) for r in recordings for step in r.steps if step.operator.key == key]


def last_uses(recording: Recording) -> list[list[str]]:
    """Per step, the values that nobody reads after it; the model's outputs are kept."""
    kept = set(recording.outputs)
    seen: set[str] = set()
    last: list[list[str]] = []
    for step in reversed(recording.steps):
        names = {*step.inputs, *step.outputs} - kept - seen
        seen |= names
        last.append(sorted(names))
    return last[::-1]
