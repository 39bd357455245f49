"""Platforms that misbehave, for the tests alone: each runs in a worker like a real one."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.dtypes import NAMES, Array
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.policy import Capabilities
from tapml_fuzz.platforms.base import (
    BuildRejected,
    BuildSpec,
    DeviceLost,
    Info,
    MachineUnreachable,
    NeedsStatic,
    NotSupported,
    Reproducer,
    Unavailable,
)
from tapml_fuzz.platforms.poison import poisoned, suspicious, unwritten
from tapml_fuzz.platforms.torch.eager import TorchCpu

WHERE = "tests.platforms.fakes:"


class _Fake:
    """Hands its inputs back; a subclass breaks one thing. Imports no torch, so that its worker starts quickly."""

    name = "fake"

    def activate(self) -> Info:
        return Info(self.name, True, device="fake", capabilities=Capabilities(dtypes=NAMES))

    def build(self, spec: BuildSpec) -> Any:
        return spec.operator

    def run(
        self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        return Ok(tuple(tensor.copy() for tensor in tensors))


class Echo(_Fake):
    name = "echo"


class Honest(TorchCpu):
    """torch on the CPU, claiming what an emerging platform would: the twin of `Null` and `Lying`."""

    name = "honest"

    def activate(self) -> Info:
        return msgspec.structs.replace(super().activate(), name=self.name, eager=False)


class Null(Honest):
    """Runs nothing: every output still holds the poison, and nobody looks."""

    name = "null"

    def run(
        self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        real = super().run(build, tensors, layouts, sizes)
        return Ok(tuple(poisoned(o.shape, str(o.dtype)) for o in real.outputs))


class Lying(Honest):
    """Claims everything, answers zeros of the right shape."""

    name = "lying"

    def run(
        self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        real = super().run(build, tensors, layouts, sizes)
        return Ok(tuple(np.zeros_like(output) for output in real.outputs))


class Modest(Honest):
    """torch on the CPU, claiming little: the twin of a platform with limits of every kind."""

    name = "modest"

    def activate(self) -> Info:
        few = Capabilities(("float32", "int32"), ("int64",), max_elements=1 << 22, empty=False)
        return msgspec.structs.replace(super().activate(), capabilities=few)


class RefusingHalves(Honest):
    """Claims float16 and refuses it."""

    name = "refusing-halves"

    def build(self, spec: BuildSpec) -> Any:
        if "float16" in spec.dtypes:
            raise NotSupported("no halves")
        return super().build(spec)


class RefusingEmpty(Honest):
    """Says nothing against tensors of no elements and refuses them."""

    name = "refusing-empty"

    def run(
        self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        if any(tensor.size == 0 for tensor in tensors):
            raise NotSupported("nothing in it")
        return super().run(build, tensors, layouts, sizes)


class RefusingBig(Honest):
    """States no limit and has one."""

    name = "refusing-big"

    def run(
        self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        if any(tensor.size > 1 << 20 for tensor in tensors):
            raise NotSupported("too much")
        return super().run(build, tensors, layouts, sizes)


class Fixing(Honest):
    """Claims one build for many shapes and wants every size."""

    name = "fixing"

    def build(self, spec: BuildSpec) -> Any:
        if len(spec.sizes) < len(spec.operator.axis_names):
            raise NeedsStatic("every size")
        return super().build(spec)


class Crashing(_Fake):
    """Dies of a segmentation fault when a value is 13; prints before, to stdout and stderr."""

    name = "crashing"

    def run(
        self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        if any((tensor == 13).any() for tensor in tensors):
            print("printed before the end", flush=True)
            print("x" * 100_000, "last words", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        print("noise on stdout")
        return super().run(build, tensors, layouts, sizes)


class Hanging(_Fake):
    """Never returns when a value is 13, with the interpreter lock held as a kernel would hold it."""

    name = "hanging"

    def run(
        self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        while any((tensor == 13).any() for tensor in tensors):
            sum(range(1000))
        return super().run(build, tensors, layouts, sizes)


class Stuck(_Fake):
    """Never returns from native code that keeps the interpreter lock: none of the worker's threads runs any more."""

    name = "stuck"

    def run(
        self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        ctypes.PyDLL(None).sleep(600)
        return super().run(build, tensors, layouts, sizes)


class Slow(_Fake):
    """Takes 0.2 s a run."""

    name = "slow"

    def run(
        self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        time.sleep(0.2)
        return super().run(build, tensors, layouts, sizes)


class Forgetful(_Fake):
    """Leaves every element that is 13 unwritten, and looks for such elements afterwards as a real platform does."""

    name = "forgetful"

    def run(
        self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        first, second = (
            [np.where(t == 13, poisoned(t.shape, str(t.dtype), which), t) for t in tensors] for which in (0, 1)
        )
        return Ok(tuple(first), 0.0, unwritten(first, second) if suspicious(first) else (0,) * len(first))


class BuildCrashing(_Fake):
    name = "build-crashing"

    def build(self, spec: BuildSpec) -> Any:
        os._exit(7)


class BuildHanging(_Fake):
    name = "build-hanging"

    def build(self, spec: BuildSpec) -> Any:
        time.sleep(60)


class Refusing(_Fake):
    name = "refusing"

    def build(self, spec: BuildSpec) -> Any:
        raise BuildRejected("line 3: no such type", source="kernel source")


class Static(_Fake):
    """Can leave open any axis but `b`."""

    name = "static"

    def build(self, spec: BuildSpec) -> Any:
        if "b" in spec.operator.axis_names and "b" not in spec.sizes:
            raise NeedsStatic("b decides the kernel", ("b",))
        return super().build(spec)


class Stubborn(_Fake):
    """Wants sizes however many it has."""

    name = "stubborn"

    def build(self, spec: BuildSpec) -> Any:
        raise NeedsStatic("more")


class LosingDevice(_Fake):
    name = "losing-device"

    def run(
        self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        if any((tensor == 13).any() for tensor in tensors):
            raise DeviceLost("device-side assert")
        return super().run(build, tensors, layouts, sizes)


class Leaving(_Fake):
    """On a machine that goes away when a value is 13, and stays away while the file `TAPML_FUZZ_TEST_AWAY` is there."""

    name = "leaving"

    def activate(self) -> Info:
        if Path(os.environ["TAPML_FUZZ_TEST_AWAY"]).exists():
            raise Unavailable("nothing answers")
        return super().activate()

    def run(
        self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        if any((tensor == 13).any() for tensor in tensors):
            raise MachineUnreachable("lost the connection")
        return super().run(build, tensors, layouts, sizes)


class EndingLike(_Fake):
    """Ends as a worker on another machine is said to have ended: by the signal in the first value."""

    name = "ending-like"

    def run(
        self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        from tapml_fuzz.platforms.remote.protocol import WorkerEnded
        from tapml_fuzz.platforms.remote.served import end_like

        end_like(WorkerEnded(int(tensors[0].flat[0]), "words from far away\n"))


class Scripting(_Fake):
    """Writes a script that says whether it was told to be careful."""

    name = "scripting"

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        return Reproducer(("import torch",), f"# {'careful' if careful else 'bold'} {dict(sizes)} {list(layouts)}")


class ScriptCrashing(Scripting):
    """Dies while it writes a script, unless told to be careful."""

    name = "script-crashing"

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        if not careful:
            os._exit(7)
        return super().reproducer(spec, sizes, layouts, careful=careful)


class ScriptDoomed(Scripting):
    """Dies while it writes a script, whatever it is told."""

    name = "script-doomed"

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        os._exit(7)


class ScriptFailing(Scripting):
    name = "script-failing"

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        raise ValueError("cannot put it into words")


class Absent(_Fake):
    name = "absent"

    def activate(self) -> Info:
        raise Unavailable("no such device", "buy one", operators=("softmax",), versions={"driver": "0.1"})


class Exploding(_Fake):
    name = "exploding"

    def activate(self) -> Info:
        raise OSError("libnothing.so: cannot open")


class DyingAtStart(_Fake):
    name = "dying-at-start"

    def activate(self) -> Info:
        print("driver says no", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGABRT)
        raise AssertionError
