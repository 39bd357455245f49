"""Building on demand and running cases, the same whether the platform lives in a worker or in this process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.core.outcome import BuildOutcome, Built, NeedsSizes, RunOutcome, Unreachable, Unsupported
from tapml_fuzz.platforms.base import BuildSpec, Info, Reproducer
from tapml_fuzz.platforms.session.admission import Admission

# Builds kept at a time. A symbolic build is one per signature and dtype; static ones are one per shape, so they
# are what this bounds. TVM's compiled operators take on the order of a megabyte.
KEPT_BUILDS = 256

_Key = tuple[str, tuple[str, ...], tuple[tuple[str, int], ...]]


class Session:
    """A platform that builds each operator once and runs cases. Use as a context manager.

    A subclass says how one build spec is built and how one case is run; which axes must be fixed, what is cached and
    what a failed build means is decided here. Build errors, crashes and timeouts are cached like builds. What the
    platform's `Capabilities` exclude is `Unsupported` and reaches no platform (`session.admission`).

    Attributes:
        builds: builds made so far (an eager platform compiles none).
        build_seconds: time they took inside the platform.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.builds = 0
        self.build_seconds = 0.0
        self._outcomes: OrderedDict[_Key, BuildOutcome | NeedsSizes] = OrderedDict()
        self._dropped: list[int] = []
        self._admission: Admission | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin starting the platform without waiting for it."""

    def info(self) -> Info:
        """The `Info` of the platform; starts it if needed and never raises for an unavailable one."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop the platform; the session may be used again and then starts anew."""

    def build(self, operator: Operator, dtypes: tuple[str, ...], sizes: Mapping[str, int]) -> BuildOutcome:
        """Build `operator` so that it can run at `sizes` (every axis), leaving open as many axes as possible."""
        admission = self._admitted()
        refused = admission.refused_shapes(dtypes, operator.shapes(sizes)) if admission is not None else None
        return refused or self._settled(operator, dtypes, sizes)[1]

    def run(self, case: Case) -> RunOutcome:
        """Run `case`, building first when needed; a build that failed is the outcome."""
        refused = self._refused(case)
        if refused is not None:
            return refused
        _, built = self._settled(case.operator, case.dtypes, case.sizes)
        return self._run(built.handle, self._laid_out(case)) if isinstance(built, Built) else built

    def run_many(self, cases: Sequence[Case]) -> Iterator[RunOutcome]:
        """The outcomes of `run` on each case, in order. They may be run ahead of being asked for, or not at all.

        Between two outcomes the session may be used for anything else.
        """
        return map(self.run, cases)

    def reproducer(self, case: Case) -> Reproducer | None:
        """The platform's part of a standalone reproducer of `case`, building first when needed.

        None where the platform has none, does not support the case, or fails at writing it.
        """
        if self._refused(case) is not None:
            return None
        spec, outcome = self._settled(case.operator, case.dtypes, case.sizes)
        return None if isinstance(outcome, Unsupported) else self._reproducer(spec, case)

    def _admitted(self) -> Admission | None:
        """The admission of the platform's inputs; None while it cannot run, or where it states no capabilities."""
        if self._admission is None:
            capabilities = self.info().capabilities
            self._admission = Admission(self.name, capabilities) if capabilities is not None else None
        return self._admission

    def _refused(self, case: Case) -> Unsupported | None:
        """The refusal of a case for the sizes of its tensors; None for one that may be built and run."""
        admission = self._admitted()
        return admission.refused(case) if admission is not None else None

    def _laid_out(self, case: Case) -> Case:
        """The case as the platform is given it."""
        return self._admission.laid_out(case) if self._admission is not None else case

    def _settled(
        self, operator: Operator, dtypes: tuple[str, ...], sizes: Mapping[str, int]
    ) -> tuple[BuildSpec, BuildOutcome]:
        """The build spec with as many open axes as the platform can build, and the outcome of building it."""
        info = self.info()
        if not info.available:
            return BuildSpec(operator, dtypes, dict(sizes)), Unsupported(f"{self.name} is unavailable: {info.reason}")
        fixed = self._axes_to_fix(operator, info)
        while True:
            spec = BuildSpec(operator, dtypes, {name: sizes[name] for name in operator.axis_names if name in fixed})
            outcome = self._built(spec, info)
            if not isinstance(outcome, NeedsSizes):
                return spec, outcome
            fixed = _more(outcome, operator, fixed)

    def _build(self, spec: BuildSpec) -> BuildOutcome | NeedsSizes:
        raise NotImplementedError

    def _run(self, handle: int, case: Case) -> RunOutcome:
        raise NotImplementedError

    def _reproducer(self, spec: BuildSpec, case: Case) -> Reproducer | None:
        raise NotImplementedError

    def _axes_to_fix(self, operator: Operator, info: Info) -> frozenset[str]:
        """The axes that must have a size before anything is tried."""
        if info.eager:
            return frozenset()
        every = frozenset(operator.axis_names)
        if info.capabilities is not None and not info.capabilities.symbolic:
            return every
        return every - operator.symbolic_axes

    def _built(self, spec: BuildSpec, info: Info) -> BuildOutcome | NeedsSizes:
        """The build spec's build, from the cache if it was asked for before; a refusal is an answer too."""
        key = (spec.operator.key, spec.dtypes, tuple(sorted(spec.sizes.items())))
        found = self._outcomes.get(key)
        if found is not None:
            self._outcomes.move_to_end(key)
            return found
        refused = self._admission.refused_dtypes(spec.dtypes) if self._admission is not None else None
        outcome = refused or self._build(spec)
        if isinstance(outcome, Unreachable):
            return outcome  # says nothing about the build spec: to be asked again
        if isinstance(outcome, Built):
            self.builds += 0 if info.eager else 1
            self.build_seconds += outcome.seconds
        self._outcomes[key] = outcome
        if len(self._outcomes) > KEPT_BUILDS:
            _, oldest = self._outcomes.popitem(last=False)
            if isinstance(oldest, Built):
                self._dropped.append(oldest.handle)
        return outcome

    def _forget_builds(self) -> None:
        """Forget the builds, which are gone when a platform starts anew; what is known about failures stays."""
        for key in [key for key, outcome in self._outcomes.items() if isinstance(outcome, Built)]:
            del self._outcomes[key]
        self._dropped.clear()


def _more(refusal: NeedsSizes, operator: Operator, fixed: frozenset[str]) -> frozenset[str]:
    """The axes named, if that fixes any more; else all of them."""
    named = frozenset(refusal.axes) & frozenset(operator.axis_names)
    return fixed | named if named - fixed else frozenset(operator.axis_names)
