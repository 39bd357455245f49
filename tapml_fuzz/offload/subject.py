"""The model under offloading: what it does on the reference platform, and how far from that another may be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tapml_fuzz.carving import decoder, models, recognise, sentences, trace
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.core.walk_summary import View
from tapml_fuzz.offload.generation import generations
from tapml_fuzz.offload.hybrid import Assignment, Hybrid, Traffic
from tapml_fuzz.offload.incremental import PriorRun, same_bits
from tapml_fuzz.offload.recording import RecordedStep, Recording, record
from tapml_fuzz.offload.tolerance import Tolerances, tolerances
from tapml_fuzz.offload.views import view
from tapml_fuzz.operators.invoke import to_numpy
from tapml_fuzz.platforms.registry import references


@dataclass(frozen=True)
class Grown:
    """A value of the model in a hybrid run: how far it is from the reference run's, over what is allowed.

    `recording` is the number of the one it is in.
    """

    step: str
    module: str
    key: str
    value: str
    ratio: float
    recording: int = 0


@dataclass(frozen=True)
class ModelCheck:
    """A hybrid run beside the reference run.

    Attributes:
        grown: every value that a step made, in order.
        view: what a user of the model sees of the difference.
        traffic: what the run cost, per recording.
        runs: the run of every recording, for checks after this one; empty where nobody can use it.
    """

    grown: tuple[Grown, ...]
    view: View
    traffic: tuple[Traffic, ...]
    runs: tuple[PriorRun, ...] = field(default=(), repr=False)

    @property
    def failed(self) -> bool:
        """Tell whether any value is outside what is allowed."""
        return any(g.ratio > 1 for g in self.grown)

    @property
    def worst(self) -> Grown:
        """The value that is farthest out, relative to what is allowed."""
        return max(self.grown, key=lambda g: g.ratio)

    @property
    def first(self) -> Grown | None:
        """The first value that is outside what is allowed; None where none is."""
        return next((g for g in self.grown if g.ratio > 1), None)


@dataclass(frozen=True)
class Subject:
    """A model with recordings of its reference run and their tolerances.

    Attributes:
        policy: the target's; what its specification allows is no failure.
        task: `"embedding"` or `"generation"`: what its first output is for.
        digest: hash over the weights and every input.
    """

    name: str
    reference: str
    policy: Policy
    task: str
    digest: str
    recordings: tuple[Recording, ...]
    tolerances: tuple[Tolerances, ...]
    operators: Mapping[str, Operator]
    versions: Mapping[str, str]

    def check(self, hybrid: Hybrid, assignment: Assignment, prior: Sequence[PriorRun] = ()) -> ModelCheck:
        """Run every recording with `assignment` and compare each value with the reference run's.

        `prior` are the runs of an earlier check: what has not changed since is not computed again. A decoder's state
        goes from one recording to the next as the hybrid run made it, its tokens as the reference run chose them.
        Raises `hybrid.CannotRun`.
        """
        grown: list[Grown] = []
        spent: list[Traffic] = []
        given: list[list[Array]] = []
        runs: list[PriorRun] = []
        state: list[Array] = []
        for number, (recording, allowed) in enumerate(zip(self.recordings, self.tolerances, strict=True)):
            earlier = prior[number] if prior else None
            watch = _Watch(number, recording, allowed, earlier)
            traffic = Traffic()
            carried = {name: state[output] for name, output in recording.carried.items()}
            state = hybrid.run(recording, assignment, carried=carried, prior=earlier, observe=watch, traffic=traffic)
            grown += watch.grown
            given.append(state)
            spent.append(traffic)
            sites = {s.name: assignment.get(s.operator.key, self.reference) for s in recording.steps}
            runs.append(PriorRun(sites, watch.values, carried, watch.ratios))
        hybrid.tidy()
        wanted = [[to_numpy(r.tensor(name)) for name in r.outputs] for r in self.recordings]
        return ModelCheck(tuple(grown), view(self.task, given, wanted), tuple(spent), tuple(runs))


class _Watch:
    """Sees every value of a recording's run: how far it is from the reference run's, and what to keep of it."""

    def __init__(self, number: int, recording: Recording, allowed: Tolerances, prior: PriorRun | None) -> None:
        self._number, self._recording, self._allowed, self._prior = number, recording, allowed, prior
        self.grown: list[Grown] = []
        self.values: dict[str, Array] = {}
        self.ratios: dict[str, float] = {}

    def __call__(self, step: RecordedStep, outputs: list[Array]) -> None:
        for name, actual in zip(step.outputs, outputs, strict=True):
            if self._prior is not None and actual is self._prior.values.get(name):
                ratio, value = self._prior.ratios[name], actual
            else:
                reference = to_numpy(self._recording.values[name])
                ratio, _ = self._allowed.ratio(name, actual, reference)
                # The reference run's own, which is there anyway; else a copy, as others may write to what a step gave.
                value = reference if same_bits(reference, actual) else actual.copy()
            self.values[name], self.ratios[name] = value, ratio
            self.grown.append(Grown(step.name, step.module, step.operator.key, name, ratio, self._number))


def prepare(
    model: str,
    texts: Sequence[str],
    reference: str,
    policy: Policy,
    batches: int,
    steps: int = 3,
    progress: Callable[[str], None] = lambda text: None,
) -> Subject:
    """Load MODEL, run it on up to `batches` batches of `texts` on the reference platform, and work out its tolerances
    for a target with `policy`.

    Batches are spread over the lengths of the texts, padded and unpadded ones among them. A model that generates text
    runs the prefill of each and then `steps` decode steps. Raises `BadModel`.
    """
    device = references()[reference]
    progress("loading and tracing the model")
    loaded = models.load(model, device)
    chosen = _some(texts, batches)
    if loaded.language_model is not None:
        task, graphs = "generation", decoder.Graphs(loaded, texts, device)
        progress("running it on the reference platform")
        recordings = generations(graphs, chosen, steps)
    else:
        task, probes = "embedding", recognise.probes(loaded, texts, device)
        traced = trace.trace(loaded.module, probes[0])
        operators = recognise.recognise(traced, probes).operators
        progress("running it on the reference platform")
        recordings = [record(traced, operators, loaded.tokenize(b.texts, device), b.label) for b in chosen]
    progress("working out how far errors may grow")
    return subject_of(loaded, reference, policy, task, recordings)


def subject_of(
    loaded: models.Model, reference: str, policy: Policy, task: str, recordings: Sequence[Recording]
) -> Subject:
    """A subject from recordings that are made."""
    allowed: list[Tolerances] = []
    for number, recording in enumerate(recordings):
        before = recordings[number - 1].outputs
        carried = {name: allowed[-1].ends[before[output]] for name, output in recording.carried.items()}
        allowed.append(tolerances(recording, policy, carried, seed=number))
    digest = hashlib.blake2b(loaded.weights.encode(), digest_size=8)
    for recording in recordings:
        for name, tensor in sorted(recording.given.items()):
            if not tensor.is_floating_point():
                digest.update(repr((name, tuple(tensor.shape))).encode() + np.ascontiguousarray(tensor).tobytes())
    used = {step.operator.key: step.operator for r in recordings for step in r.steps}
    return Subject(
        loaded.name,
        reference,
        policy,
        task,
        digest.hexdigest(),
        tuple(recordings),
        tuple(allowed),
        used,
        loaded.versions,
    )


def _some(texts: Sequence[str], count: int) -> list[sentences.Batch]:
    """`count` batches: half of them of several texts (so padded), half of one."""
    every = sorted(sentences.batches(texts), key=lambda batch: sum(map(len, batch.texts)))
    if len(every) <= count:
        return every
    padded, alone = [b for b in every if len(b.texts) > 1], [b for b in every if len(b.texts) == 1]
    first = min(len(padded), max((count + 1) // 2, count - len(alone)))
    return [*_spread(padded, first), *_spread(alone, count - first)]


def _spread(batches: Sequence[sentences.Batch], count: int) -> list[sentences.Batch]:
    """At even steps through the shorter quarter: the model runs once for every unit that moves."""
    return [batches[(2 * i + 1) * len(batches) // (8 * count)] for i in range(count)]


__all__ = ["Grown", "ModelCheck", "Subject", "prepare", "subject_of"]
