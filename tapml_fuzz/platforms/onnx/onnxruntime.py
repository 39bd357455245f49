"""ONNX Runtime on the CPU, one thread, graph optimisations as users have them by default."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.dtypes import Array, to_bits
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.policy import Capabilities, Policy
from tapml_fuzz.platforms.base import BuildRejected, BuildSpec, Info, NeedsStatic, NotSupported, Reproducer, Unavailable
from tapml_fuzz.platforms.onnx.export import exporter_missing, onnx_model
from tapml_fuzz.platforms.onnx.reproducers import onnx_reproducer

_HINT = "pip install 'tapml_fuzz[onnxruntime]'"
# What Add and Mul have kernels for on the CPU (ONNX Runtime, docs/OperatorKernels.md); bfloat16 has none.
_DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")

_EXECUTE = """\
def execute(model, inputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = {value.name: array for value, array in zip(session.get_inputs(), inputs)}
    return [torch.from_numpy(np.array(output)) for output in session.run(None, given)]
"""


@dataclass(frozen=True)
class _Build:
    session: Any
    spec: BuildSpec
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class OnnxRuntimeCpu:
    """ONNX Runtime's CPUExecutionProvider on the model that `torch.onnx.export` makes."""

    name = "onnxruntime-cpu"

    def activate(self) -> Info:
        """See `base.Platform.activate`; the exporter's packages are needed as well as the runtime."""
        missing = exporter_missing()
        if missing:
            raise Unavailable(f"not installed: {missing}", _HINT)
        try:
            import onnxruntime
        except (ImportError, OSError) as error:
            raise Unavailable(f"onnxruntime cannot be imported: {error}", _HINT) from error
        self._runtime = onnxruntime
        return Info(
            self.name,
            True,
            device="CPUExecutionProvider, one thread",
            versions={"onnxruntime": onnxruntime.__version__, "onnxscript": version("onnxscript")},
            capabilities=Capabilities(dtypes=_DTYPES, strided=False, symbolic=True),
            policy=Policy(
                accuracy="ieee", source="ONNX operator specification: it states no accuracy; denormals kept by default"
            ),
        )

    def build(self, spec: BuildSpec) -> Any:
        """See `base.Platform.build`. Raises `NotSupported` for a dtype for which the runtime has no kernel."""
        model = onnx_model(spec)
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; they are raised as well
        try:
            session = self._runtime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # "Could not find an implementation for Erf(13)": no kernel for this dtype, which is no fault.
            if type(error).__name__ == "NotImplemented":
                raise NotSupported(str(error)) from error
            if set(spec.operator.axis_names) <= set(spec.sizes):
                raise BuildRejected(str(error), str(model.graph)[:4000]) from error
            raise NeedsStatic(str(error)) from error
        return _Build(
            session, spec, tuple(i.name for i in session.get_inputs()), tuple(o.name for o in session.get_outputs())
        )

    def run(
        self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        """See `base.Platform.run`; the session reads copies, so that an input it overwrites shows in `mutated`."""
        held = {name: tensor.copy() for name, tensor in zip(build.inputs, tensors, strict=True)}
        started = time.perf_counter()
        outputs = build.session.run(None, held)
        seconds = time.perf_counter() - started
        mutated = tuple(
            slot for slot, (before, after) in enumerate(zip(tensors, held.values(), strict=True))
            if not np.array_equal(to_bits(before), to_bits(after))
        )  # fmt: skip
        return Ok(tuple(np.asarray(output) for output in outputs), seconds, (0,) * len(outputs), mutated)

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        """The operator by way of ONNX and a session with one thread."""
        return onnx_reproducer(spec, layouts, ["import onnxruntime"], _EXECUTE)
