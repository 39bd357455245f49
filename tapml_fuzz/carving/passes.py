"""The two passes of a carving over the same batches: the first looks, the second keeps.

The first profiles every full call and notes which calls are worth keeping. The second runs again and cuts seeds from
those calls only. So memory holds the model, one batch's activations and small seeds, however many sentences there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from tapml_fuzz.carving import models, recognise, sentences, trace, window
from tapml_fuzz.carving.infer_sizes import infer_sizes
from tapml_fuzz.carving.select_seeds import Sighting, select_seeds
from tapml_fuzz.carving.trace import Recorded
from tapml_fuzz.core.errors import BadModel
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.core.profile import MASKED_BELOW, ProfileBuilder
from tapml_fuzz.operators.axes import InferredCall
from tapml_fuzz.operators.invoke import call as invoke
from tapml_fuzz.operators.invoke import resolve, to_numpy
from tapml_fuzz.storage.seeds import Provenance, Seed, Sentence

# Input elements of an operator's seeds, in the order they are chosen: one large, several that run fast.
_LIMITS = (window.MAX_ELEMENTS, 8192, 1024, 4096, 2048, 256)
# Seeds of operators that only move data are smaller: they have no arithmetic to go wrong in a long reduction.
_MOVER_SHARE = 4
_MOVERS = frozenset({"aten.clone.default", "aten._to_copy.default", "aten.index.Tensor", "aten.cat.default"})
# Calls of a signature that are tried for its seeds: chosen, more than are kept, since equal ones drop out.
_CANDIDATES = 14
# Limits that corpus/README.md states, so that a corpus stays small enough to be kept in version control.
_MAX_SEED_BYTES = 250_000
_MIN_SEEDS = 3
_MAX_TEXT = 200
# The exported graph's result may be this far from the model's, relative to the larger of 1 and the largest value.
# Chosen to be far above what sums in another order make in float32, and far below another model's result.
_SAME_RESULT = 1e-3


@dataclass
class Signature:
    """An operator signature with all that is gathered of it."""

    operator: Operator
    builders: list[ProfileBuilder]
    sightings: list[Sighting] = field(default_factory=list)
    seeds: dict[Sighting, Seed] = field(default_factory=dict)
    profiled: set[tuple[str, int]] = field(default_factory=set)
    once: set[str] = field(default_factory=set)


class Passes:
    """A model's calls on `batches`, and all that is gathered of them: first `look` at each batch, then `keep`."""

    def __init__(self, model: models.Model, batches: Sequence[sentences.Batch], device: str) -> None:
        self.batches = batches
        self.calls = 0
        self.skipped: set[str] = set()
        self._model, self._device = model, device
        self._signatures: dict[str, Signature] = {}
        scripts = Counter(sentences.script(text) for batch in batches for text in batch.texts)
        self._main_script = scripts.most_common(1)[0][0]
        probes = recognise.probes(model, [text for batch in batches for text in batch.texts], device)
        self._traced = trace.trace(model.module, probes[0])
        recognised = recognise.recognise(self._traced, probes)
        self._operators = recognised.operators
        self.skipped.update(recognised.skipped)

    def look(self, number: int) -> None:
        """Run one batch, profile its calls and note them."""
        batch = self.batches[number]
        inputs = self._model.tokenize(batch.texts, self._device)
        padded = bool((inputs["attention_mask"] == 0).any()) if "attention_mask" in inputs else False
        foreign = any(sentences.script(text) not in (self._main_script, "NONE") for text in batch.texts)

        def observe(recorded: Recorded) -> None:
            if (call := self._inferred(recorded)) is None:
                return
            self.calls += 1
            signature = self._signature(call.operator)
            for slot, tensor in enumerate(call.tensors):
                if _among(tensor, recorded.weights) and (recorded.node, slot) in signature.profiled:
                    continue  # the same numbers in every batch
                signature.profiled.add((recorded.node, slot))
                signature.builders[slot].add(to_numpy(tensor))
            if recorded.weights_only and recorded.node in signature.once:
                return
            signature.once.add(recorded.node)
            elements = sum(tensor.numel() for tensor in call.tensors)
            peak = _peak(call, recorded)
            signature.sightings.append(Sighting(number, recorded.node, elements, peak, padded, foreign))

        outputs = self._traced.run(inputs, observe)
        with torch.no_grad():
            self._check(outputs[0], self._model.module(inputs)[0])

    def select(self) -> dict[int, dict[str, list[tuple[Signature, Sighting, int]]]]:
        """The calls to keep, by batch and node, each with the number of elements its seed may have."""
        wanted: dict[int, dict[str, list[tuple[Signature, Sighting, int]]]] = {}
        for signature in self._signatures.values():
            share = _MOVER_SHARE if _moves_data(signature.operator) else 1
            for rank, sighting in enumerate(select_seeds(signature.sightings, _CANDIDATES)):
                limit = max(64, _LIMITS[min(rank, len(_LIMITS) - 1)] // share)
                wanted.setdefault(sighting.batch, {}).setdefault(sighting.node, []).append((signature, sighting, limit))
        return wanted

    def keep(self, number: int, wanted: dict[str, list[tuple[Signature, Sighting, int]]]) -> None:
        """Run one batch again and cut seeds from the calls that are wanted."""
        batch = self.batches[number]

        def observe(recorded: Recorded) -> None:
            for signature, sighting, limit in wanted.get(recorded.node, ()):
                call = self._inferred(recorded)
                if call is not None and call.operator.key == signature.operator.key:
                    seed = self._seed(call, recorded, batch, limit)
                    if seed is not None:
                        signature.seeds[sighting] = seed

        self._traced.run(self._model.tokenize(batch.texts, self._device), observe)

    def result(self) -> list[tuple[Signature, list[Seed]]]:
        """Signatures with their seeds, unlike in content; a signature seen in too few ways is skipped."""
        kept = []
        for signature in self._signatures.values():
            order = [s for s in select_seeds(signature.sightings, _CANDIDATES) if s in signature.seeds]
            distinct = {signature.seeds[s].id: signature.seeds[s] for s in order}
            seeds = list(distinct.values())[: len(_LIMITS)]
            if len(seeds) < _MIN_SEEDS:
                self._skip(signature.operator.name, f"only {len(seeds)} distinct calls ({signature.operator.key})")
            else:
                kept.append((signature, seeds))
        return kept

    def _inferred(self, recorded: Recorded) -> InferredCall | None:
        operator = self._operators.get(recorded.node)
        if operator is None:
            return None
        call = infer_sizes(operator, recorded.args, recorded.kwargs)
        if call is None:
            self._skip(recorded.operator, f"a call differs from {operator.describe()[:160]}")
        return call

    def _signature(self, operator: Operator) -> Signature:
        if operator.key not in self._signatures:
            self._signatures[operator.key] = Signature(operator, [ProfileBuilder() for _ in operator.dtypes])
        return self._signatures[operator.key]

    def _seed(self, call: InferredCall, recorded: Recorded, batch: sentences.Batch, limit: int) -> Seed | None:
        while True:
            part = window.cut(call, limit)
            try:
                outputs = invoke(part.operator, part.tensors, part.sizes)
            except (RuntimeError, IndexError, ValueError) as error:
                reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
                self._skip(recorded.operator, f"a window of it is rejected: {reason}")
                return None
            size = sum(t.numel() * t.element_size() for t in (*part.tensors, *outputs))
            if size <= _MAX_SEED_BYTES:
                break
            if limit <= 1:
                self._skip(recorded.operator, f"fixed extents alone take {size} bytes")
                return None
            limit //= 2
        return Seed(
            operator=part.operator,
            sizes=part.sizes,
            tensors=tuple(to_numpy(tensor).copy() for tensor in part.tensors),
            outputs=tuple(to_numpy(output).copy() for output in outputs),
            provenance=Provenance(
                model=self._model.name,
                weights=self._model.weights,
                sentences=tuple(Sentence(n, _short(t)) for n, t in zip(batch.numbers, batch.texts, strict=True)),
                node=recorded.node,
                module=recorded.module,
                device=self._device,
                dtype=self._model.dtype,
                full_shapes=tuple(tuple(tensor.shape) for tensor in call.tensors),
                versions=dict(self._model.versions),
            ),
        )

    def _check(self, traced: torch.Tensor, eager: torch.Tensor) -> None:
        """The graph must compute what the model computes, or its activations are not the model's."""
        error = float((traced.double() - eager.double()).abs().max())
        if not error <= _SAME_RESULT * max(1.0, float(eager.abs().max())):
            raise BadModel(f"the exported graph of {self._model.name} differs from the model by {error:.3g}")

    def _skip(self, operator: str, reason: str) -> None:
        self.skipped.add(f"{operator}: {reason}")


def _moves_data(operator: Operator) -> bool:
    """Tell whether outputs are views or copies of inputs."""
    schema = getattr(resolve(operator.name), "_schema", None)
    returns = schema.returns if schema is not None else ()
    return operator.name in _MOVERS or any(r.alias_info is not None for r in returns)


def _peak(call: InferredCall, recorded: Recorded) -> float:
    """Largest visible magnitude over the mean one, in the activation where that is largest; 0 without any."""
    peaks = [0.0]
    for tensor in call.tensors:
        if tensor.is_floating_point() and tensor.numel() and not _among(tensor, recorded.weights):
            values = torch.where(tensor.isfinite() & (tensor > MASKED_BELOW), tensor, 0).abs()
            mean = float(values.mean())
            peaks.append(float(values.max()) / mean if mean else 0.0)
    return max(peaks)


def _among(tensor: torch.Tensor, others: Sequence[torch.Tensor]) -> bool:
    return any(tensor is other for other in others)


def _short(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"
