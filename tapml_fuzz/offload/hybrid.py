"""Running a recording with every step on the platform that it is assigned to; tensors follow by themselves."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from tapml_fuzz.core import outcome as outcomes
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.errors import UnavailablePlatform
from tapml_fuzz.core.outcome import Built
from tapml_fuzz.offload.constants import Constants, Homes, memory, origins
from tapml_fuzz.offload.incremental import IncrementalRun, PriorRun
from tapml_fuzz.offload.recording import RecordedStep, Recording, last_uses
from tapml_fuzz.operators.invoke import to_numpy
from tapml_fuzz.platforms.base import Info, MachineUnreachable, NotSupported, Platform
from tapml_fuzz.platforms.device_tensors import resident
from tapml_fuzz.platforms.registry import load, location
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.platforms.session.session import KEPT_BUILDS

Assignment = Mapping[str, str]  # operator key -> platform; what is not named runs on the reference platform


class CannotRun(Exception):
    """A step did not run on its platform, which says why; `refused`, when it does not take it, which is no fault."""

    def __init__(self, platform: str, step: str, reason: str, *, refused: bool = False) -> None:
        super().__init__(f"{step} on {platform}: {reason}")
        self.platform, self.step, self.reason, self.refused = platform, step, reason, refused


def lost(platform: str, reason: str) -> UnavailablePlatform:
    """A platform on another machine that no longer answers, of which nothing can be said."""
    return UnavailablePlatform(f"{platform} does not answer: {reason}", hint="go on with --resume once it does")


@dataclass
class Traffic:
    """The cost of a run.

    Attributes:
        seconds: per step, inside its platform, in order; zero where the step had no need to run.
        copied: bytes per (from, to) that were copied; shared: tensors that changed hands without.
        elapsed: wall clock of the whole run.
    """

    seconds: list[float] = field(default_factory=list)
    copied: Counter[tuple[str, str]] = field(default_factory=Counter)
    shared: int = 0
    elapsed: float = 0.0


class Site:
    """A platform in this process that keeps tensors and builds each operator once."""

    def __init__(self, name: str, platform: Platform | None = None) -> None:
        self.name = name
        self._platform = platform or load(location(name))
        self._session = InProcessSession(self._platform)
        self.info: Info = self._session.info()
        self._tensors = resident(self._platform)
        self._prepared: dict[tuple[Any, ...], Any] = {}  # the session takes four times as long to find a build

    def prepare(self, step: RecordedStep) -> Any:
        """The build of a step's operator; raises `CannotRun`, or `UnavailablePlatform` when its machine is gone."""
        key = (step.operator.key, *step.sizes.items())
        if key not in self._prepared:
            if len(self._prepared) >= KEPT_BUILDS:
                self._prepared.clear()
            self._prepared[key] = self._built(step)
        return self._prepared[key]

    def _built(self, step: RecordedStep) -> Any:
        outcome = self._session.build(step.operator, step.operator.dtypes, step.sizes)
        if isinstance(outcome, outcomes.Unreachable):
            raise lost(self.name, outcome.reason)
        if isinstance(outcome, outcomes.Unsupported):
            raise CannotRun(self.name, step.name, outcome.reason, refused=True)
        if not isinstance(outcome, Built):
            raise CannotRun(self.name, step.name, str(getattr(outcome, "message", outcome)))
        return self._session.built(outcome.handle)

    def compute(self, step: RecordedStep, build: Any, tensors: Sequence[Any]) -> list[Any]:
        """The step's outputs as tensors of this platform, when they are done; raises as `prepare` does."""
        try:
            outputs = self._tensors.compute(build, tensors, step.sizes)
        except Exception as error:
            raise self._said(step.name, error) from error
        if len(outputs) != len(step.outputs):
            raise CannotRun(self.name, step.name, f"{len(outputs)} outputs, expected {len(step.outputs)}")
        return outputs

    def adopt(self, tensor: Any) -> Any | None:
        """See `device_tensors.Resident`."""
        return self._tensors.adopt(tensor)

    def place(self, array: Array) -> Any:
        """A host array as a tensor of this platform; raises as `prepare` does."""
        try:
            return self._tensors.place(array)
        except Exception as error:
            raise self._said("placing a tensor", error) from error

    def fetch(self, tensor: Any) -> Array:
        """A tensor of this platform as a host array; raises as `prepare` does."""
        try:
            return self._tensors.fetch(tensor)
        except Exception as error:
            raise self._said("fetching a tensor", error) from error

    def _said(self, what: str, error: Exception) -> CannotRun | UnavailablePlatform:
        """The error to raise for what the platform raised meanwhile, of whichever of many types."""
        if isinstance(error, MachineUnreachable):
            return lost(self.name, str(error))
        said = f"{type(error).__name__}: {error}"
        return CannotRun(self.name, what, said, refused=isinstance(error, NotSupported))

    def close(self) -> None:
        """Give back the builds and the device."""
        self._session.close()


class Hybrid:
    """The sites of a hybrid graph. Use as a context manager. The reference platform is the first."""

    def __init__(self, reference: Site, *others: Site) -> None:
        self.reference = reference
        self._sites = {site.name: site for site in (reference, *others)}
        self._weights: dict[tuple[Any, ...], tuple[Any, Any]] = {}
        self._constants = Constants()

    def __enter__(self) -> Hybrid:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for site in self._sites.values():
            site.close()

    def run(
        self,
        recording: Recording,
        assignment: Assignment,
        *,
        carried: Mapping[str, Array] | None = None,
        prior: PriorRun | None = None,
        observe: Callable[[RecordedStep, list[Array]], None] | None = None,
        traffic: Traffic | None = None,
    ) -> list[Array]:
        """The model's outputs, in order, with every step where `assignment` puts it.

        `carried` gives inputs in place of the recorded ones. Steps that hang on weights alone run once for every
        assignment of theirs. With `prior`, an earlier run of it, only what `IncrementalRun` says runs again.
        `observe` sees what every step gave, as numpy arrays, which are those of `prior` where nothing changed.
        Raises `CannotRun` at the first step that did not run.
        """
        traffic = traffic if traffic is not None else Traffic()
        carried = carried or {}
        sites = {step.name: assignment.get(step.operator.key, self.reference.name) for step in recording.steps}
        flow, incremental = _Flow(self, recording, carried, traffic), IncrementalRun(recording, sites, prior, carried)
        last, constant = last_uses(recording), origins(recording, sites)
        began = time.perf_counter()
        for number, step in enumerate(recording.steps):
            site, arrays = self._sites[sites[step.name]], incremental.known(step)
            if arrays is not None:
                flow.hosted(step, arrays)
                traffic.seconds.append(0.0)
            else:
                self._step(recording, step, site, flow, constant.get(step.name), traffic)
                if prior is not None or observe is not None:
                    arrays = incremental.given(step, [flow.fetched(name) for name in step.outputs])
            if observe is not None and arrays is not None:
                observe(step, arrays)
            for name in last[number]:
                flow.forget(name)
        results = [flow.on_host(name) for name in recording.outputs]
        traffic.elapsed = time.perf_counter() - began
        return results

    def _step(
        self,
        recording: Recording,
        step: RecordedStep,
        site: Site,
        flow: _Flow,
        origin: str | None,
        traffic: Traffic,
    ) -> None:
        """Run a step, or take what it gave before if it hangs on weights alone (then it has an `origin`)."""
        known = self._constants.get(origin) if origin is not None else None
        if known is not None:
            flow.settle(step, known)
            traffic.seconds.append(0.0)
            return
        build = site.prepare(step)
        tensors = [flow.on(site, name) for name in step.inputs]
        started = time.perf_counter()
        outputs = site.compute(step, build, tensors)
        traffic.seconds.append(time.perf_counter() - started)
        homes: list[Homes] = [{site.name: (site, tensor)} for tensor in outputs]
        flow.settle(step, homes)
        if origin is not None:
            self._constants.keep(origin, recording, homes)

    def tidy(self) -> None:
        """Let go of what hangs on weights alone and has been of no use since the last but one call."""
        self._constants.tidy()

    def forget(self) -> None:
        """Compute everything anew from here on."""
        self._constants.clear()

    def alone(self, recording: Recording, step: RecordedStep, platform: str) -> list[Array]:
        """The outputs of a step on a platform, on the inputs that the reference run gave it (teacher-forced)."""
        return next(self.again(recording, step, platform))

    def again(self, recording: Recording, step: RecordedStep, platform: str) -> Iterator[list[Array]]:
        """`alone` again and again, on the same tensors."""
        site = self._sites[platform]
        build = site.prepare(step)
        tensors = [site.place(to_numpy(recording.tensor(name))) for name in step.inputs]
        while True:
            yield [site.fetch(tensor) for tensor in site.compute(step, build, tensors)]

    def weight(self, site: Site, tensor: Any) -> Any:
        """A given tensor as the site has it, placed once however often and in however many recordings it is used."""
        key = (site.name, *memory(tensor))
        if key not in self._weights:
            placed = site.adopt(tensor)
            if placed is None:
                placed = site.place(to_numpy(tensor))
            self._weights[key] = (tensor, placed)  # the tensor too, or its memory could be another's
        return self._weights[key][1]


class _Flow:
    """The places of one run's values, until their last use."""

    def __init__(self, hybrid: Hybrid, recording: Recording, carried: Mapping[str, Array], traffic: Traffic) -> None:
        self._hybrid, self._recording, self._carried, self._traffic = hybrid, recording, carried, traffic
        self._homes: dict[str, Homes] = {}
        self._hosted: dict[str, Array] = {}

    def settle(self, step: RecordedStep, homes: Sequence[Homes]) -> None:
        """A step's outputs are there; whoever keeps `homes` sees where else they are brought."""
        self._homes.update(zip(step.outputs, homes, strict=True))

    def hosted(self, step: RecordedStep, arrays: Sequence[Array]) -> None:
        """A step's outputs are known, and at no site yet."""
        self._hosted.update(zip(step.outputs, arrays, strict=True))

    def on(self, site: Site, name: str) -> Any:
        homes = self._homes.setdefault(name, {})
        if site.name not in homes:
            homes[site.name] = (site, self._brought(site, name, homes))
        return homes[site.name][1]

    def fetched(self, name: str) -> Array:
        home, tensor = next(iter(self._homes[name].values()))
        array: Array = home.fetch(tensor)
        return array

    def on_host(self, name: str) -> Array:
        if name in self._hosted:
            return self._hosted[name]
        return self.fetched(name) if self._homes.get(name) else self._given(name)

    def forget(self, name: str) -> None:
        self._homes.pop(name, None)
        self._hosted.pop(name, None)

    def _given(self, name: str) -> Array:
        return self._carried[name] if name in self._carried else to_numpy(self._recording.given[name])

    def _brought(self, site: Site, name: str, homes: Homes) -> Any:
        if name in self._hosted:
            return site.place(self._hosted[name].copy())  # platforms may keep the array's own memory
        if not homes:
            if name in self._carried:
                return site.place(self._carried[name])
            return self._hybrid.weight(site, self._recording.given[name])
        home, tensor = next(iter(homes.values()))
        shared = site.adopt(tensor)
        if shared is not None:
            self._traffic.shared += 1
            return shared
        array = home.fetch(tensor)
        self._traffic.copied[home.name, site.name] += array.nbytes
        return site.place(array)
