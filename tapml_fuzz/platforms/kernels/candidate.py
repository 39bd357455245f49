"""A Python callable as a platform, in this process: the candidate that `check` fuzzes."""

from __future__ import annotations

import ctypes
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch

from tapml_fuzz.core.case import Case, as_laid_out
from tapml_fuzz.core.dtypes import FLOATS, INTEGERS, Array
from tapml_fuzz.core.outcome import Ok, RunError, RunOutcome, Timeout
from tapml_fuzz.core.policy import Capabilities
from tapml_fuzz.operators.invoke import call, to_numpy, to_torch, torch_dtype
from tapml_fuzz.platforms.base import Info, Reproducer
from tapml_fuzz.platforms.kernels.calling import CallBinder, fresh_memory_filled

Arrays = Literal["torch", "numpy"]


class CandidateStopped(BaseException):
    """An exception thrown into a candidate that took too long.

    It is no `Exception`, so that the candidate does not swallow it.
    """


class CallableSession:
    """Runs cases on a callable, in a thread of its own so that one that never returns costs only itself.

    `arrays` says whether it takes torch tensors or numpy arrays, `timeout` how many seconds one call may last.
    `positional` says that it takes the operator's arguments as the examples gave them; otherwise it takes the tensors
    in order. Attributes are passed by name to parameters of that name.
    """

    def __init__(
        self, name: str, function: Callable[..., Any], *, arrays: Arrays, positional: bool, timeout: float
    ) -> None:
        self.name, self._function, self._arrays, self._timeout = name, function, arrays, timeout
        self._calling = CallBinder(function, positional=positional)
        self._thread: _Runner | None = None
        with fresh_memory_filled():  # the first time imports much: not on the clock of the first call
            pass
        self.builds, self.build_seconds = 0, 0.0

    def info(self) -> Info:
        """The facts about the callable as a platform: it is available, takes every dtype, and reads strides."""
        known = (*FLOATS, *INTEGERS, "bool")
        return Info(self.name, True, device="this process", capabilities=Capabilities(known, strided=True))

    def run(self, case: Case) -> RunOutcome:
        """Run the case: `Ok`, `RunError` (the callable raised, or gave no tensors) or `Timeout`."""
        laid_out = [as_laid_out(t.copy(), layout) for t, layout in zip(case.tensors, case.layouts, strict=True)]
        before = [a.tobytes() for a in laid_out]
        given = laid_out if self._arrays == "numpy" else [to_torch(a) for a in laid_out]
        as_dtype = torch_dtype if self._arrays == "torch" else np.dtype
        args, kwargs = self._calling.arguments(case.operator, given, case.sizes, as_dtype)
        began = time.perf_counter()
        outcome = self._call(args, kwargs)
        seconds = time.perf_counter() - began
        if isinstance(outcome, Timeout | RunError):
            return outcome
        mutated = tuple(i for i, a in enumerate(laid_out) if a.tobytes() != before[i])
        try:
            arrays = _flat(outcome)
        except (TypeError, ValueError, RuntimeError, NotImplementedError, RecursionError) as error:
            return RunError(f"it returned what numpy cannot hold: {str(error).splitlines()[0][:200]}")
        if not arrays:
            return RunError(f"it returned {type(outcome).__name__}, not a tensor or a sequence of tensors")
        aliased = tuple(i for i, o in enumerate(arrays) if any(np.may_share_memory(o, a) for a in laid_out))
        if aliased and _returns_views(case):
            aliased = ()
        return Ok(tuple(a.copy() for a in arrays), seconds, mutated=mutated, aliased=aliased)

    def run_many(self, cases: Sequence[Case]) -> Iterator[RunOutcome]:
        """The outcomes of `run` on each case, in order; a case is run when its outcome is asked for."""
        return map(self.run, cases)

    def reproducer(self, case: Case) -> Reproducer | None:
        """None: a callable has no source that stands alone (see `reporting.standalone.callable_reproducer`)."""
        return None

    def close(self) -> None:
        """End the thread; the session may be used again and then starts a new one."""
        if self._thread is not None:
            self._thread.end()
            self._thread = None

    def _call(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if self._thread is None:
            self._thread = _Runner()
        answer = self._thread.run(lambda: self._function(*args, **kwargs), self._timeout)
        if isinstance(answer, Timeout):
            self._thread = None
        return answer


class _Runner:
    """A thread that runs one call at a time, with torch's fresh memory filled with NaN."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="candidate", daemon=True)
        self._thread.start()

    def run(self, function: Callable[[], Any], timeout: float) -> Any:
        """The result of `function`, or `Timeout` after `timeout` seconds; the runner is of no use after one."""
        self._calls.put(function)
        try:
            return self._answers.get(timeout=timeout)
        except queue.Empty:
            self._calls.put(None)
            # Pure Python code can be stopped; code inside C goes on in a thread that nobody waits for.
            if self._thread.ident is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread.ident), ctypes.py_object(CandidateStopped)
                )
            return Timeout(timeout)

    def end(self) -> None:
        """Let the thread end, and wait for it for a second at most."""
        self._calls.put(None)
        self._thread.join(1.0)

    def _serve(self) -> None:
        try:
            while (function := self._calls.get()) is not None:
                self._answers.put(_guarded(function))
        except CandidateStopped:
            return


def _guarded(function: Callable[[], Any]) -> Any:
    try:
        with fresh_memory_filled(), torch.no_grad(), np.errstate(all="ignore"):
            return function()
    except CandidateStopped:
        raise
    except BaseException as error:  # a kernel that exits the interpreter has failed, not we
        return RunError(_told(error))


def _told(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}".splitlines()[0][:300]
    except Exception:  # an exception that cannot say what it is
        return type(error).__name__


def _flat(result: Any) -> list[Array]:
    if isinstance(result, torch.Tensor):
        shares = result.detach().cpu()
        return [to_numpy(shares)]
    if isinstance(result, np.ndarray | np.generic):
        return [np.asarray(result)]
    if isinstance(result, tuple | list):
        return [array for item in result for array in _flat(item)]
    return []


def _returns_views(case: Case) -> bool:
    """Whether the operator itself hands out its input's memory (a view, a slice)."""
    tensors = [to_torch(t.copy()) for t in case.tensors]
    storages = {t.untyped_storage().data_ptr() for t in tensors}
    return any(o.untyped_storage().data_ptr() in storages for o in call(case.operator, tensors, case.sizes))
