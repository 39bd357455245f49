"""Recognition of the operator behind every node of a traced model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import torch

from tapml_fuzz.carving.models import Inputs, Model
from tapml_fuzz.carving.trace import Recorded, TracedModel
from tapml_fuzz.core.errors import TapmlFuzzError
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.operators.axes import infer_many

# Two small runs whose sizes differ from each other and from usual model dimensions tell free axes from fixed ones.
_PROBES = ((3, 11), (5, 7))


@dataclass(frozen=True)
class Recognised:
    """The operator of every node that has one, and a line for each kind of call that has none."""

    operators: dict[str, Operator]
    skipped: frozenset[str]


def recognise(traced: TracedModel, probes: Sequence[Inputs]) -> Recognised:
    """Operators inferred from two runs of different sizes: what changes with the probes is a free axis."""
    first: dict[str, Recorded] = {}
    found: dict[str, Operator] = {}
    known: dict[str, Operator] = {}
    skipped: set[str] = set()

    def learn(recorded: Recorded) -> None:
        earlier = first[recorded.node]
        if not any(isinstance(a, torch.Tensor) for a in _leaves((recorded.args, list(recorded.kwargs.values())))):
            skipped.add(f"{recorded.operator}: it takes no tensor")
            return
        forms = [(_form(r.args), _form(r.kwargs)) for r in (earlier, recorded)]
        form = repr((recorded.operator, recorded.used, forms))
        try:
            if form not in known:
                examples = [(r.args, r.kwargs) for r in (earlier, recorded)]
                whole = infer_many(recorded.operator, examples)[0].operator
                known[form] = msgspec.structs.replace(whole, outputs=recorded.used)
            found[recorded.node] = known[form]
        except TapmlFuzzError as error:
            skipped.add(f"{recorded.operator}: {error}")

    traced.run(probes[0], lambda recorded: first.__setitem__(recorded.node, recorded))
    traced.run(probes[1], learn)
    return Recognised(found, frozenset(skipped))


def probes(model: Model, texts: Sequence[str], device: str) -> list[Inputs]:
    """Two small inputs whose sizes differ from each other and from usual model dimensions."""
    made = []
    for count, length in _PROBES:
        some = [texts[i % len(texts)] for i in range(count)]
        encoded = model.tokenizer(some, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        made.append({name: tensor.to(device) for name, tensor in encoded.items()})
    return made


def _leaves(value: object) -> list[object]:
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def _form(value: object) -> object:
    """An argument with every tensor replaced by its dtype and shape."""
    if isinstance(value, torch.Tensor):
        return (value.dtype, tuple(value.shape))
    if isinstance(value, list | tuple):
        return [_form(item) for item in value]
    if isinstance(value, dict):
        return {key: _form(item) for key, item in value.items()}
    return value
