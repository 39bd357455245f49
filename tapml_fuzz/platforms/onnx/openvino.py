"""OpenVINO's CPU plugin: one thread, every floating-point number computed in float32."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.dtypes import Array, name_of, numpy_dtype, to_bits
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.policy import Capabilities, Policy
from tapml_fuzz.platforms.base import BuildRejected, BuildSpec, Info, NeedsStatic, NotSupported, Reproducer, Unavailable
from tapml_fuzz.platforms.onnx.export import declared_dtype, exporter_missing, onnx_model
from tapml_fuzz.platforms.onnx.reproducers import onnx_reproducer
from tapml_fuzz.platforms.onnx.shapes import check_shapes
from tapml_fuzz.platforms.poison import perturb_fresh_memory

_HINT = "pip install 'tapml_fuzz[openvino]'"
# Where a setting is not the plugin's own. By default it computes in bfloat16 where the processor can
# ("Precision Control" and "CPU Device" in OpenVINO's documentation) and quantises activations of compressed products
# dynamically; ACCURACY is the mode of those who want neither, and the other two say so of each. Threads and streams
# that are given take precedence over what the performance hints would choose. Pinned threads of several workers would
# all sit on the first core. There is no cache of models unless one asks for it.
_SETTINGS = {
    "EXECUTION_MODE_HINT": "ACCURACY",
    "INFERENCE_PRECISION_HINT": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    "INFERENCE_NUM_THREADS": "1",
    "NUM_STREAMS": "1",
    "ENABLE_CPU_PINNING": "NO",
}
# What the plugin computes in: float32, to which it converts the halves, and int32, to which it converts int16 ("CPU
# Device", supported model precision); OpenVINO 2026.4 was seen to add, subtract and multiply all of them as torch does,
# modulo 2**16 and 2**32. int8 and uint8, which the page has for quantised operations only, were seen to saturate.
_DTYPES = ("float32", "float16", "bfloat16", "int32", "int16", "bool")
# int64 is computed as int32, of which int64 inputs keep the lower half: seen so. Indices are int64 in torch's models,
# so they are taken as far as they mean the same.
_ALSO_ACCEPTED = ("int64",)
_INT32 = np.iinfo(np.int32)
# Sums and products keep subnormals (CPU_DENORMALS_OPTIMIZATION is off unless asked for): seen so. The exponential, and
# what is made of it, has none by intention: "values lower than log(FLT_MIN) to zero them in the output".
_POLICY = Policy(
    flushes_subnormals=True,
    accuracy="ieee",
    source="OpenVINO's operation sets state no accuracy; oneDNN, jit_uni_eltwise_injector: exp flushes subnormals",
)
# "No conversion rule found for operations: Det-18", in words of the ONNX front end.
_NO_RULE = "No conversion rule found"

_EXECUTE = f"""\
def execute(model, inputs):
    core, settings = openvino.Core(), {_SETTINGS!r}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)
    request, half = compiled.create_infer_request(), openvino.Type.bf16
    for number, array in enumerate(inputs):
        if array.dtype == ml_dtypes.bfloat16:  # numpy has no such type, so OpenVINO takes the bits
            tensor = openvino.Tensor(array.view(np.uint16), openvino.Shape(array.shape), half)
        else:
            tensor = openvino.Tensor(array)
        request.set_input_tensor(number, tensor)
    request.infer()
    results = []
    for number in range(len(compiled.outputs)):
        tensor = request.get_output_tensor(number)
        result = torch.from_numpy(np.array(tensor.data))
        results.append(result.view(torch.bfloat16) if tensor.element_type == half else result)
    return results
"""


@dataclass(frozen=True)
class _Build:
    request: Any
    spec: BuildSpec
    outputs: tuple[str, ...]


class OpenVinoCpu:
    """OpenVINO's CPU plugin on the model that `torch.onnx.export` makes, read by OpenVINO's ONNX front end."""

    name = "openvino-cpu"

    def activate(self) -> Info:
        """See `base.Platform.activate`; fresh memory of the process is perturbed from here on."""
        missing = exporter_missing()
        if missing:
            raise Unavailable(f"not installed: {missing}", _HINT)
        try:
            self._openvino = import_module("openvino")  # it ships no type information
        except (ImportError, OSError) as error:
            raise Unavailable(f"openvino cannot be imported: {error}", _HINT) from error
        perturb_fresh_memory()
        self._core = self._openvino.Core()
        try:
            processor = self._core.get_property("CPU", "FULL_DEVICE_NAME")
        except RuntimeError as error:
            raise Unavailable(f"OpenVINO's CPU plugin: {_line(error)}", _HINT) from error
        return Info(
            self.name,
            True,
            device=f"{processor}, CPU plugin, float32, one thread",
            versions={"openvino": version("openvino"), "onnxscript": version("onnxscript")},
            capabilities=Capabilities(dtypes=_DTYPES, also_accepts=_ALSO_ACCEPTED),
            policy=_POLICY,
        )

    def build(self, spec: BuildSpec) -> _Build:
        """See `base.Platform.build`.

        Raises `NotSupported` for an output of a dtype in which the plugin does not compute, and for an ONNX operator
        for which its front end has no conversion rule.
        """
        model = onnx_model(spec)
        outputs = tuple(declared_dtype(value) for value in model.graph.output)
        for dtype in outputs:
            if dtype not in _DTYPES:  # of int64, a result beyond 32 bits could not be told from a wrong one
                raise NotSupported(f"an output is {dtype}, in which OpenVINO's CPU plugin does not compute")
        try:
            compiled = self._core.compile_model(self._core.read_model(model.SerializeToString()), "CPU", _SETTINGS)
            request = compiled.create_infer_request()
        except Exception as error:
            if _NO_RULE in str(error):
                raise NotSupported(_line(error)) from error
            if set(spec.operator.axis_names) <= set(spec.sizes):
                raise BuildRejected(str(error), str(model.graph)[:4000]) from error
            raise NeedsStatic(str(error)) from error
        return _Build(request, spec, outputs)

    def run(
        self, build: _Build, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        """See `base.Platform.run`; an input that the plugin overwrites shows in `mutated`.

        Raises `ValueError` for tensors that contradict the build, `NotSupported` for an int64 value beyond 32 bits.
        """
        check_shapes(build.spec, tensors, sizes)
        _refuse_wide(tensors)
        held = [tensor.copy() for tensor in tensors]  # OpenVINO reads, and might write, these very bytes
        for number, array in enumerate(held):
            build.request.set_input_tensor(number, self._shared(array))
        started = time.perf_counter()
        build.request.infer()
        seconds = time.perf_counter() - started
        outputs = tuple(self._copied(build.request, *output) for output in enumerate(build.outputs))
        mutated = [
            slot for slot, (before, after) in enumerate(zip(tensors, held, strict=True))
            if not np.array_equal(to_bits(before), to_bits(after))
        ]  # fmt: skip
        return Ok(outputs, seconds, mutated=tuple(mutated))

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        """The operator by way of ONNX and a request compiled with the settings of this platform."""
        return onnx_reproducer(spec, layouts, ["import openvino"], _EXECUTE)

    def _shared(self, array: Array) -> Any:
        """An OpenVINO tensor over the memory of the array; bfloat16, which numpy lacks, goes by its bits."""
        if name_of(array) != "bfloat16":
            return self._openvino.Tensor(array, shared_memory=True)
        shape = self._openvino.Shape(array.shape)
        return self._openvino.Tensor(array.view(np.uint16), shape, self._openvino.Type.bf16)

    @staticmethod
    def _copied(request: Any, number: int, dtype: str) -> Array:
        """A copy of an output: the next run overwrites the request's own. bfloat16 comes as two bytes a number."""
        found = np.array(request.get_output_tensor(number).data)
        return found.view(numpy_dtype(dtype)) if dtype == "bfloat16" else found


def _refuse_wide(tensors: Sequence[Array]) -> None:
    for tensor in tensors:
        if tensor.dtype == np.int64 and tensor.size and not _INT32.min <= tensor.min() <= tensor.max() <= _INT32.max:
            raise NotSupported("an int64 value exceeds 32 bits, and OpenVINO's CPU plugin computes int64 as int32")


def _line(error: Exception) -> str:
    """The last line that says something: those before it say where it was thrown."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if _NO_RULE in line]
    return (named or lines or ["no message"])[-1].removeprefix("-- ")[:400]
