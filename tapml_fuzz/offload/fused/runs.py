"""Two libraries in one process: every call alone in both, how far errors may grow, and runs with functions of both."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tapml_fuzz.core import dtypes
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.offload.fused.call import Again, Faulty, Made, Unfit, differs, made
from tapml_fuzz.offload.fused.library import Library, LibraryCall, Unusable, one_line
from tapml_fuzz.offload.fused.messages import (
    CallFacts,
    CallStarted,
    Checked,
    FusedValue,
    OwnRun,
    RunStopped,
    Seen,
    Surveyed,
)
from tapml_fuzz.offload.fused.monte_carlo import DRAWS, SpreadEstimate, perturbed
from tapml_fuzz.offload.fused.tolerance import reduction, slack, tolerance
from tapml_fuzz.offload.tolerance import Tolerances
from tapml_fuzz.offload.views import view

# Runs of one function of B beyond the first of each call, and the seconds of all after which there are no more: what is
# wrong at some runs only is seen here, or breaks the model later, at another function's move.
_REPEATS, _REPEATS_S = 32, 1.0

Say = Callable[[CallStarted], None]


@dataclass(frozen=True)
class _Known:
    """Outputs of one call of A's own run, and the distance allowed from each, alone; by position of the argument."""

    name: str
    outputs: dict[int, Array]
    allowed: dict[int, Array | None]


class _Strayed(Exception):
    """The run made other calls than A's own did."""


class FusedRuns:
    """Runs of library A's `main` on `inputs`, with functions of A and of B; `say` is told before compiled code runs."""

    def __init__(self, a: Library, b: Library, inputs: Mapping[str, Array], say: Say) -> None:
        self._a, self._b, self._inputs, self._say = a, b, inputs, say
        self._known: list[_Known] = []
        self._outputs: list[Array] = []
        self._last: list[Array] = []
        self._tolerances = Tolerances({})
        self._terms: dict[tuple[str, str], float] = {}
        self._repeats: Counter[str] = Counter()
        self._spent: defaultdict[str, float] = defaultdict(float)  # seconds

    def survey(self, skip: Set[str]) -> Surveyed:
        """Every call of A's run, alone in both libraries. Raises `Unusable` when A's own run fails."""
        facts: list[CallFacts] = []

        def conduct(call: LibraryCall) -> None:
            self._tell(call, "A")
            done = made(self._a, call)
            facts.append(self._alone(done, skip))

        self._known = []
        try:
            self._outputs = self._a.run(self._of_a(), conduct)
        except Unusable:
            raise
        except Exception as error:
            raise Unusable(f"{self._a.name} does not run on these inputs: {one_line(error)}") from None
        self._tolerances = self._carried()
        return Surveyed(tuple(facts))

    def check(self, moved: Set[str]) -> Checked | RunStopped:
        """A's run with the functions in `moved` taken from B."""
        values: list[FusedValue] = []
        running = ""

        def conduct(call: LibraryCall) -> None:
            nonlocal running
            running = call.name
            known = self._expected(call)
            if call.name in moved:
                self._tell(call, "B")
                self._switched(call, known)
            else:
                call.function(*call.arguments)
            for i, (position, wanted) in enumerate(known.outputs.items()):
                ratio = self._ratio(f"{call.number}:{position}", call.arguments[position].numpy(), wanted)
                values.append(FusedValue(call.number, call.name, i, ratio))

        try:
            self._last = self._a.run(self._of_a(), conduct)
        except (_Strayed, Unusable) as error:
            return RunStopped(running, str(error))
        except Exception as error:
            return RunStopped(running, one_line(error))
        values += self._finals(self._last)
        return Checked(tuple(values), view("embedding", [self._last], [self._outputs]))

    def own(self) -> OwnRun:
        """B's `main` as it is, beside A's and beside the last `check`; its inputs by name, or by position."""
        names: dict[str, None] = {}

        def conduct(call: LibraryCall) -> None:
            names[call.name] = None
            self._tell(call, "B")
            call.function(*call.arguments)

        given = self._of_a()
        if all(name in self._inputs for name in self._b.parameters):
            given = [self._inputs[name] for name in self._b.parameters]
        elif len(given) != len(self._b.parameters):
            return OwnRun((), (), None, False, f"it takes {', '.join(self._b.parameters)}, which A does not")
        try:
            outputs = self._b.run(given, conduct)
        except Exception as error:
            return OwnRun(tuple(names), (), None, False, one_line(error))
        alike = [o.shape for o in outputs] == [o.shape for o in self._outputs]
        identical = len(outputs) == len(self._last) and not any(map(differs, outputs, self._last))
        if not alike:
            return OwnRun(tuple(names), (), None, identical, "its outputs have other shapes than A's")
        seen = view("embedding", [outputs], [self._outputs])
        return OwnRun(tuple(names), tuple(self._finals(outputs)), seen, identical)

    def _of_a(self) -> list[Array]:
        return [self._inputs[name] for name in self._a.parameters]

    def _alone(self, done: Made, skip: Set[str]) -> CallFacts:
        """A call in both libraries, on what A's run gave it; what A gave is kept."""
        call = done.call
        self._tell(call, "A moved")
        again, wanted = Again(self._a, call.function, done), list(done.outputs.values())
        kind = (call.name, done.shapes)
        if kind not in self._terms:
            self._terms[kind] = reduction(again, done.inputs, wanted)
        terms = self._terms[kind]
        allowed = tolerance(again, done.inputs, wanted, terms)
        self._known.append(_Known(call.name, done.outputs, dict(zip(done.outputs, allowed, strict=True))))
        loose = max((slack(a, w) for a, w in zip(allowed, wanted, strict=True)), default=0.0)

        def facts(seen: Seen, ratio: float = 0.0, reason: str = "", seconds: float = 0.0) -> CallFacts:
            spent = (done.seconds, seconds)
            elements = sum(array.size for array in done.inputs)
            return CallFacts(call.number, call.name, seen, ratio, loose, terms, done.shapes, elements, reason, spent)

        other = self._b.function(call.name)
        if other is None:
            return facts("missing", reason=f"{self._b.name} has no function of that name")
        if not wanted:
            return facts("silent", reason="none of its arguments is seen to be an output")
        if call.name in skip:
            return facts("skipped")
        self._tell(call, "B")
        highest = 0.0
        try:
            of_b = Again(self._b, other, done)
            for run, given in enumerate(self._given(call, of_b)):
                ratios = [_compared(a, g, w) for a, g, w in zip(allowed, given, wanted, strict=True)]
                ratio, worst = max((r, i) for i, (r, _) in enumerate(ratios))
                highest = max(highest, ratio)
                if ratio > 1:
                    index = ratios[worst][1]
                    got, expected = (float(x.reshape(-1)[index]) for x in (given[worst], wanted[worst]))
                    when = "right at first, then wrong on the same values: " if run else ""
                    where = f"output {worst}, element {index}: {got:.9g}, A has {expected:.9g}"
                    reason = f"{when}{where}, {ratio:.3g} times what is allowed"
                    return facts("failed", ratio, reason, of_b.seconds)
        except Unfit as error:
            return facts("signature", reason=f"the signatures differ: {error}")
        except Faulty as error:
            return facts("failed", math.inf, str(error))
        return facts("same", highest, seconds=of_b.seconds)

    def _given(self, call: LibraryCall, of_b: Again) -> Iterator[list[Array]]:
        """Outputs of B's function for a call: the first, and those of later runs that are others.

        A call has half of the runs that the function has left.
        """
        began = time.monotonic()
        first = of_b.checked()
        yield first
        for _ in range(math.ceil((_REPEATS - self._repeats[call.name]) / 2)):
            self._spent[call.name] += time.monotonic() - began
            if self._spent[call.name] > _REPEATS_S:
                return
            began = time.monotonic()
            self._tell(call, "B")
            self._repeats[call.name] += 1
            later = of_b.repeated()
            if any(map(differs, first, later)):
                yield later

    def _switched(self, call: LibraryCall, known: _Known) -> None:
        """Make a call with B's function, and write its outputs where A's VM wants them."""
        function = self._b.function(call.name)
        if function is None:
            raise Unusable(f"{self._b.name} has no function {call.name!r}")
        if self._a.device == self._b.device:
            function(*call.arguments)
            self._b.device.sync()
            return
        arguments = list(call.arguments)
        for position in call.tensors:
            arguments[position] = self._b.place(call.arguments[position].numpy())
        function(*arguments)
        self._b.device.sync()
        for position in known.outputs:
            call.arguments[position].copyfrom(arguments[position].numpy())

    def _carried(self) -> Tolerances:
        """Each call's own tolerance carried through A's run: runs with every output moved within it, their spread."""
        plain = {f"{n}:{p}": a for n, known in enumerate(self._known) for p, a in known.outputs.items()}
        own = {f"{n}:{p}": a for n, known in enumerate(self._known) for p, a in known.allowed.items()}
        for i, output in enumerate(self._outputs):
            plain[f"output:{i}"], own[f"output:{i}"] = output, None
        spreads = {key: SpreadEstimate(array) for key, array in plain.items()}
        for draw in range(DRAWS):
            for key, array in self._moved(draw).items():
                spreads[key].add(array)
        if any(allowed is not None and np.isinf(allowed).any() for allowed in own.values()):
            for key, array in self._moved(None).items():
                spreads[key].lose(array)
        return Tolerances({key: spread.allowed(own[key]) for key, spread in spreads.items()})

    def _moved(self, draw: int | None) -> dict[str, Array]:
        """Every value of a run whose calls' outputs are moved; None makes what is unjudged NaN and moves nothing."""
        seen: dict[str, Array] = {}

        def conduct(call: LibraryCall) -> None:
            known = self._expected(call)
            self._tell(call, "A moved")
            call.function(*call.arguments)
            random = np.random.default_rng([draw or 0, call.number])
            for position, allowed in known.allowed.items():
                tensor = call.arguments[position]
                array = tensor.numpy()
                if allowed is not None and dtypes.is_float(dtypes.name_of(array)):
                    array = perturbed(array, allowed, random, draw)
                    tensor.copyfrom(array)
                seen[f"{call.number}:{position}"] = array

        for i, output in enumerate(self._a.run(self._of_a(), conduct)):
            seen[f"output:{i}"] = output
        return seen

    def _expected(self, call: LibraryCall) -> _Known:
        if call.number >= len(self._known) or self._known[call.number].name != call.name:
            raise _Strayed(f"the run takes another way than A's own: {call.name} is call {call.number}")
        return self._known[call.number]

    def _finals(self, outputs: Sequence[Array]) -> list[FusedValue]:
        return [
            FusedValue(-1, "output", i, self._ratio(f"output:{i}", given, wanted))
            for i, (given, wanted) in enumerate(zip(outputs, self._outputs, strict=True))
        ]

    def _ratio(self, key: str, given: Array, wanted: Array) -> float:
        return self._tolerances.ratio(key, given, wanted)[0]

    def _tell(self, call: LibraryCall, whose: Literal["A", "A moved", "B"]) -> None:
        self._say(CallStarted(call.number, call.name, whose))


def _compared(allowed: Array | None, given: Array, wanted: Array) -> tuple[float, int]:
    if given.dtype != wanted.dtype:
        return math.inf, 0
    return Tolerances({"": allowed}).ratio("", given, wanted)
