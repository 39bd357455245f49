"""`offload`: move a model from the reference platform to a target, operator by operator."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tapml_fuzz.core.errors import BadOption, UnavailablePlatform
from tapml_fuzz.core.events import Event
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.core.version import __version__
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.offload.hybrid import CannotRun, Hybrid, Site
from tapml_fuzz.offload.ledger import FORMAT, Ledger, Walk
from tapml_fuzz.offload.report import OffloadReport
from tapml_fuzz.offload.subject import Subject, prepare
from tapml_fuzz.offload.units import ordered, units_of
from tapml_fuzz.offload.validation import Validation
from tapml_fuzz.offload.walk import Graph, Settled, Started, Walker
from tapml_fuzz.platforms.base import Info
from tapml_fuzz.platforms.registry import load, location, references
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tapml_fuzz.platforms.session.session import Session
from tapml_fuzz.reporting.reproducers import reproducers
from tapml_fuzz.storage.findings import FindingStore
from tapml_fuzz.triage.filing import Filer


@dataclass(frozen=True)
class Preparing:
    """Something that is done before the first unit; `text` says it to people."""

    text: str


OffloadEvent = Event | Preparing | Started | Settled


@dataclass(frozen=True)
class OffloadOptions:
    """Options of a walk of a model.

    Attributes:
        reference, target: names of platforms; the reference is one of torch's.
        order: `"common"`, `"graph"`, or globs with commas between.
        fuzz: seconds of fuzzing per unit after its own calls have passed.
        batches: how many batches of the texts run: short ones, some padded; the model runs once for every unit.
        resume: go on with the walk in `output`.
        where: `module:Class` of a target that the registry does not know.
        steps: decode steps after the prefill of each batch, for a model that generates text.
        reduce: seconds to reduce a finding.
    """

    target: str
    reference: str = "torch-cpu"
    order: str = "common"
    fuzz: float = 0.0
    batches: int = 2
    resume: bool = False
    where: str = ""
    steps: int = 3
    reduce: float = 3.5

    def __post_init__(self) -> None:
        if self.reference not in references():
            known = ", ".join(references())
            raise BadOption(f"--from {self.reference!r} is no reference platform", hint=f"one of {known}")
        if self.target == self.reference:
            raise BadOption("reference and target are the same platform", hint="give another --to")


def offload(
    model: str,
    texts: Sequence[str],
    options: OffloadOptions,
    output: Path,
    listener: Callable[[OffloadEvent], None] = lambda event: None,
) -> OffloadReport:
    """Walk MODEL to `options.target`; findings and the walk's ledger go to `output`.

    Raises `BadModel`, `BadOption`, `UnavailablePlatform`, and whatever `registry.location` raises.
    """
    began = time.monotonic()
    with prepared(model, texts, options, listener) as ready:
        report = ready.walk(output, listener)
    return replace(report, seconds=time.monotonic() - began)


@contextmanager
def prepared(
    model: str,
    texts: Sequence[str],
    options: OffloadOptions,
    listener: Callable[[OffloadEvent], None] = lambda event: None,
) -> Iterator[Prepared]:
    """MODEL recorded and both platforms started, for one walk or several. Raises what `offload` raises."""
    torch.set_num_threads(1)
    where = options.where or location(options.target)
    with WorkerSession(options.reference) as reference, WorkerSession(options.target, where=where) as candidate:
        reference.start()
        candidate.start()
        listener(Preparing(f"starting {options.reference} and {options.target}"))
        infos = {options.reference: _available(reference), options.target: _available(candidate)}
        policy = infos[options.target].policy or Policy()
        subject = prepare(
            model,
            texts,
            options.reference,
            policy,
            options.batches,
            options.steps,
            lambda text: listener(Preparing(text)),
        )
        runner = DifferentialRunner(options.reference, reference, {options.target: candidate}, doubt_reference=False)
        try:
            with Hybrid(Site(options.reference), Site(options.target, load(where))) as hybrid:
                yield Prepared(subject, options, infos, runner, candidate, hybrid)
        finally:
            runner.close()


@dataclass(frozen=True)
class Prepared:
    """A model ready to be walked: its recordings, and the platforms alone (`runner`, `candidate`) and in the model."""

    subject: Subject
    options: OffloadOptions
    infos: dict[str, Info]
    runner: DifferentialRunner
    candidate: Session
    hybrid: Hybrid

    def walk(self, output: Path, listener: Callable[[OffloadEvent], None] = lambda event: None) -> OffloadReport:
        """One walk, whose findings and ledger go to `output`. Raises `BadOption` and `UnavailablePlatform`."""
        began = time.monotonic()
        self.hybrid.forget()  # an earlier walk's units may have been others
        options, subject = self.options, self.subject
        walk = _walk_of(subject, options, self.infos)
        ledger = Ledger(output)
        ledger.begin(walk, resume=options.resume)
        store = FindingStore(output)
        for note in store.notes:
            listener(Preparing(note))
        try:
            facts = {"offload": subject.name, "platforms": [options.target], "version": __version__}
            filer = Filer(store, store.begin_run(facts), listener, options.reference, self.infos, reproducers)
            validate = Validation(subject, self.runner, self.candidate, filer, fuzz=options.fuzz, reduce=options.reduce)
            graph = Graph(subject, self.hybrid, validate.file)
            walker = Walker(graph, options.target, ledger, validate, listener)
            walker.walk(ordered(units_of(subject), options.order))
            listener(Preparing("running the model with every moved unit on the target"))
            try:
                final, failure = walker.final(), ""
            except CannotRun as error:
                final, failure = None, str(error)
        finally:
            store.close()
        return OffloadReport(
            walk=walk,
            subject=subject,
            units=tuple(walker.results),
            final=final,
            failure=failure,
            seconds=time.monotonic() - began,
        )


def _available(session: Session) -> Info:
    info = session.info()
    if not info.available:
        raise UnavailablePlatform(f"{session.name} cannot run here: {info.reason}", hint=info.hint)
    return info


def _walk_of(subject: Subject, options: OffloadOptions, infos: dict[str, Info]) -> Walk:
    versions = {f"{name} {part}": v for name, info in infos.items() for part, v in info.versions.items()}
    return Walk(
        FORMAT, subject.name, subject.digest, options.reference, options.target, {"tapml_fuzz": __version__, **versions}
    )
