"""`check`: fuzz one candidate implementation of an operator, in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from tapml_fuzz.api.report import Finding, Report
from tapml_fuzz.core.dtypes import FLOATS
from tapml_fuzz.core.errors import BadInputs, BadOption, UnknownOperator
from tapml_fuzz.engine.budget import Budget
from tapml_fuzz.engine.failures import Failure
from tapml_fuzz.engine.fuzzer import OperatorFuzzer
from tapml_fuzz.engine.options import FuzzOptions, Stop
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.engine.trial import Result, Trial
from tapml_fuzz.operators.invoke import register, to_torch
from tapml_fuzz.platforms.kernels.candidate import CallableSession
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.platforms.torch.eager import TorchCpu
from tapml_fuzz.reporting.standalone import callable_reproducer
from tapml_fuzz.storage.corpus import Corpus, default_corpus_path
from tapml_fuzz.strategies import SeedSet
from tapml_fuzz.strategies.seed_set import from_examples, seed_set_of
from tapml_fuzz.triage.evidence import evidence_of, ratio_of, realism_of
from tapml_fuzz.triage.fingerprint import fingerprint_of


def check(
    operator: str | Callable[..., Any],
    candidate: Callable[..., Any],
    *,
    attributes: Mapping[str, Any] | None = None,
    inputs: Sequence[Any] | None = None,
    dtypes: Sequence[Any] | None = None,
    budget: str = "10s",
    seed: int = 0,
    arrays: Literal["torch", "numpy"] = "torch",
    axes: Sequence[Sequence[str | int]] | None = None,
    timeout: float = 10.0,
) -> Report:
    """Fuzz `candidate` against `operator` around real or example inputs.

    Args:
        operator: an aten overload name (`"aten.softmax.int"`), or a torch callable that can run in float64.
        candidate: any callable on torch tensors, or on numpy arrays with `arrays="numpy"`. It is called with the
            arguments as `inputs` gives them, and with those `attributes` that it has a parameter for. Where the
            corpus supplies the inputs, it gets the tensors in order and attributes by name.
        attributes: keyword arguments of the operator that are no tensors, e.g. `{"dim": -1}`.
        inputs: example argument tuples (torch tensors or numpy arrays, and plain values). Their distribution becomes
            the profile and their shapes tell which axes agree. None takes the corpus's seeds of that operator.
        dtypes: floating dtypes to draw from, as names or torch dtypes (default: those of the examples).
        budget: `"10s"` or `"200trials"`.
        seed: the same seed and a budget of trials give the same cases.
        axes: one sequence of axis names per tensor argument, e.g. `[("batch", "seq"), ("seq",)]`, in place of
            inference by trial; an integer keeps an axis at that size.
        timeout: seconds after which a call of the candidate counts as one that never returns.

    torch runs on one thread meanwhile. Raises `UnknownOperator`, `BadInputs` or `BadOption`, each with one line that
    says how to mend it, or `oracle.NoTruth` where nothing says what is right (random numbers, say).
    """
    if not callable(candidate):
        raise BadInputs(f"the candidate is a {type(candidate).__name__}, not a callable")
    if arrays not in ("torch", "numpy"):
        raise BadOption(f"arrays={arrays!r} is unknown", hint="torch or numpy")
    if not isinstance(budget, str) or seed < 0 or timeout <= 0:
        raise BadOption("budget is a text such as 10s, seed at least 0, timeout above 0")
    limit = Budget.parse(budget)
    name = operator if isinstance(operator, str) else _registered(operator)
    seed_set = _seed_set(name, dict(attributes or {}), inputs, axes)
    session = CallableSession(
        _name_of(candidate), candidate, arrays=arrays, positional=inputs is not None, timeout=timeout
    )
    runner = DifferentialRunner(
        "torch-cpu", InProcessSession(TorchCpu()), {session.name: session}, doubt_reference=False, overlap=False
    )
    sink = _Findings(candidate, arrays, inputs is not None)
    limit.start()
    fuzzer = OperatorFuzzer(
        seed_set,
        runner,
        sink,
        FuzzOptions(dtypes=_dtype_names(dtypes), order_seed=seed),
        Stop(
            expired=lambda: sink.hung or (limit.seconds is not None and limit.used(0) >= 1),
            stopped=lambda: sink.hung,
        ),
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small tensors: handing them to other threads costs more than it gains
    try:
        fuzzer.within(limit, seed)
    finally:
        torch.set_num_threads(threads)
        runner.close()
    return Report(name, session.name, sink.trials, limit.elapsed, sink.worst, tuple(sink.findings.values()))


class _Findings:
    """An `engine.failures.FailureSink` that keeps findings in memory and counts trials."""

    def __init__(self, candidate: Callable[..., Any], arrays: str, positional: bool) -> None:
        self._candidate, self._arrays, self._positional = candidate, arrays, positional
        self.findings: dict[str, Finding] = {}
        self.trials = 0
        self.worst = 0.0
        self.hung = False

    def tried(self, trial: Trial) -> None:
        for result in trial.results:
            self.trials += 1
            if result.verdict.kind is None:
                self.worst = max(self.worst, result.verdict.metrics.ratio)

    def fingerprint(self, result: Result, seed_set: SeedSet) -> str | None:
        return fingerprint_of(result, seed_set)

    def claim(self, fingerprint: str) -> bool:
        return fingerprint not in self.findings

    def found(self, failure: Failure) -> None:
        # A candidate that hangs costs the time limit at every step of a reduction, so the first hang ends the check.
        self.hung = self.hung or failure.found.verdict.kind == "timeout"
        self.findings[failure.fingerprint] = self._finding(failure)

    def reduced(self, failure: Failure) -> None:
        final = fingerprint_of(failure.best, failure.seed_set) or failure.fingerprint
        if final != failure.fingerprint:
            del self.findings[failure.fingerprint]
            if final in self.findings:
                return
        self.findings[final] = self._finding(failure)

    def _finding(self, failure: Failure) -> Finding:
        best, case = failure.best, failure.best.case
        kind = best.verdict.kind or "wrong"
        evidence = evidence_of(best)
        return Finding(
            kind=kind,
            ratio=best.verdict.metrics.ratio,
            realism=realism_of(failure),
            message=best.verdict.message,
            inputs=case.tensors,
            expected=evidence.expected,
            actual=evidence.actual,
            metrics=best.verdict.metrics,
            elements=case.elements,
            found_elements=failure.found.case.elements,
            case=case,
            _reproducer=lambda: callable_reproducer(
                evidence, kind, ratio_of(best), self._candidate, self._arrays, self._positional
            ),
        )


def _seed_set(
    name: str, attributes: dict[str, Any], inputs: Sequence[Any] | None, axes: Sequence[Sequence[str | int]] | None
) -> SeedSet:
    examples = _from_corpus(name, attributes) if inputs is None else [(_tuple(i), attributes) for i in inputs]
    if isinstance(examples, SeedSet):
        return examples
    return from_examples(name, [([_torch(a) for a in args], kwargs) for args, kwargs in examples], axes=axes)


def _from_corpus(name: str, attributes: dict[str, Any]) -> SeedSet | list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The corpus's own entry, or its tensors as examples for a related overload or for other attributes."""
    corpus = Corpus.open(default_corpus_path())
    exact = [e for e in corpus.entries if e.operator.name == name]
    if exact and not attributes:
        return seed_set_of(corpus, exact[0])
    short = name.split(".")[1].strip("_") if name.startswith("aten.") else ""
    related = exact or [e for e in corpus.entries if e.operator.short_name == short]
    if not related:
        raise UnknownOperator(f"the corpus has no seeds of {name}", hint="give example arguments as inputs=[...]")
    return [(seed.tensors, attributes) for seed in corpus.seeds(related[0])]


def _registered(function: Callable[..., Any]) -> str:
    return register(f"python:{getattr(function, '__module__', '')}:{_name_of(function)}", function)


def _name_of(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__)).rsplit(".", 1)[-1]


def _tuple(example: Any) -> tuple[Any, ...]:
    return tuple(example) if isinstance(example, tuple | list) else (example,)


def _torch(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return to_torch(np.ascontiguousarray(value).reshape(value.shape))
    return [_torch(v) for v in value] if isinstance(value, list | tuple) else value


def _dtype_names(dtypes: Sequence[Any] | None) -> tuple[str, ...]:
    names = tuple(str(d).removeprefix("torch.") for d in dtypes or ())
    for name in names:
        if name not in FLOATS:
            raise BadOption(f"dtype {name!r} cannot be drawn from", hint=f"one of {', '.join(FLOATS)}")
    return names
