"""An operator as an ONNX model: torch's own exporter, its translation checked once before anyone runs it.

What a runtime computes can be held against it only if the model means what the operator means. So every model is
first run at small sizes by `onnx.reference`, numpy code that shares nothing with the exporter or with any runtime.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tapml_fuzz.core.dtypes import FLOATS, Array, is_float, name_of, numpy_dtype, unit_roundoff
from tapml_fuzz.core.operator import Operator, encode_operator
from tapml_fuzz.platforms.base import BuildSpec, NeedsStatic, NotSupported
from tapml_fuzz.platforms.build_cache import BuildCache

# Sizes of open axes when a model is checked. Small, since the reference loops in Python here and there; distinct, so
# that axes exchanged show.
_CHECKED_SIZES = (2, 3, 5, 7, 4, 6, 8, 9)
# A build spec whose fixed sizes make more elements than this is not checked: some references are slow.
_CHECKED_ELEMENTS = 1 << 16
# How far, in unit roundoffs and relative to the largest value, another meaning lies at least: the check is of what
# is computed, not how accurately. 1e-3 in float32 and a quarter in bfloat16 are far more than rounding of a few
# hundred terms, and far less than the values of standard normal samples differ from each other.
_ANOTHER_MEANING = {"float64": 1e-3, "float32": 1e-3, "float16": 0.05, "bfloat16": 0.25}


def exporter_missing() -> str:
    """The names of the packages that the exporter needs and that are not installed; empty when all are.

    Imports none of them.
    """
    return ", ".join(name for name in ("torch", "onnx", "onnxscript") if importlib.util.find_spec(name) is None)


def onnx_model(spec: BuildSpec) -> Any:
    """The `onnx.ModelProto` of `spec`, inputs in slot order, a named dimension for every open axis.

    Raises `NeedsStatic` when a build spec with open axes cannot be exported. Otherwise every failure is `NotSupported`,
    since none is a runtime's fault: torch cannot export, the exporter has no translation, or the model it makes does
    not mean the operator (then the reason says "torch.onnx.export is wrong").
    """
    import onnx

    raw = _models().made(lambda: _made(spec).SerializeToString(), *_depends_on(spec))
    return onnx.load_model_from_string(raw)


@cache
def _models() -> BuildCache:
    return BuildCache("onnx")


def _depends_on(spec: BuildSpec) -> tuple[str | bytes, ...]:
    """Everything that decides about a model: the build spec, the packages, and how we make and check it."""
    from tapml_fuzz.operators import export

    packages = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "onnx", "onnxscript")]
    sources = [Path(file).read_bytes() for file in (__file__, export.__file__)]
    sizes = [f"{axis}={size}" for axis, size in sorted(spec.sizes.items())]
    return encode_operator(spec.operator), " ".join(spec.dtypes), " ".join(sizes), *packages, *sources


def _made(spec: BuildSpec) -> Any:
    import torch

    from tapml_fuzz.operators.export import NotExpressible, export

    fixed = set(spec.operator.axis_names) <= set(spec.sizes)
    try:
        program = export(spec.operator, spec.dtypes, spec.sizes)
    except NotExpressible as error:
        raise (NotSupported(str(error)) if fixed else NeedsStatic(str(error), error.axes)) from error
    _keep_translations()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exported = torch.onnx.export(program, dynamo=True, verbose=False)
            assert exported is not None  # it is None only for the exporter of old
            model = exported.model_proto
        except Exception as error:  # the exporter wraps whatever happened inside
            reason = f"torch.onnx.export: {_innermost(error)}"
            raise (NotSupported(reason) if fixed else NeedsStatic(reason)) from error
    bound_clips(model)
    wrong = mistranslation(spec, model)
    if wrong:
        raise NotSupported(f"torch.onnx.export is wrong: {wrong}")
    return model


def bound_clips(model: Any) -> None:
    """Give every floating `Clip` that lacks a bound the infinity that the exporter meant, in place.

    The exporter leaves the bound out that `aten.clamp` does not have, but ONNX has the largest finite number for it
    ("They default to numeric_limits::lowest() and numeric_limits::max()"), so a runtime that obeys makes infinities
    finite, and the finding would be against the exporter. `onnx.reference` does not do so, hence does not tell.
    """
    from onnx import helper

    graph = model.graph
    values = [*graph.input, *graph.value_info, *graph.output]
    dtypes = {value.name: value.type.tensor_type.elem_type for value in values}
    allowed = frozenset(helper.np_dtype_to_tensor_dtype(numpy_dtype(name)) for name in FLOATS)
    for node in graph.node:
        dtype = dtypes.get(node.output[0]) if node.op_type == "Clip" else None
        if dtype not in allowed:
            continue
        given = [*node.input, "", ""][:3]
        for place, infinity in ((1, -np.inf), (2, np.inf)):
            if not given[place]:
                given[place] = f"{node.output[0]}_bound_{place}"
                graph.initializer.append(helper.make_tensor(given[place], dtype, (), [infinity]))
        node.input[:] = given


def mistranslation(spec: BuildSpec, model: Any) -> str:
    """The difference between `model` and the operator at small sizes and ordinary values, in words; empty for none.

    Empty as well when it cannot be told: the build spec is too big, torch rejects the sizes, or the reference has no
    implementation.
    """
    from tapml_fuzz.operators.invoke import call, to_numpy, to_torch

    sizes = {**dict(zip(spec.operator.axis_names, _CHECKED_SIZES, strict=False)), **spec.sizes}
    if sum(int(np.prod(shape)) for shape in spec.operator.shapes(sizes)) > _CHECKED_ELEMENTS:
        return ""
    tensors = _ordinary(spec.operator, spec.dtypes, sizes)
    try:
        wanted = [to_numpy(t) for t in call(spec.operator, [to_torch(t) for t in tensors], sizes)]
    except Exception:
        return ""
    declared = [declared_dtype(value) for value in model.graph.output]
    if declared != [name_of(array) for array in wanted]:
        return f"outputs declared {declared}, torch's are {[name_of(array) for array in wanted]}"
    got = _by_reference(model, tensors)
    if got is None:
        return ""
    for number, (ours, theirs) in enumerate(zip(wanted, got, strict=True)):
        if ours.shape != theirs.shape:
            return f"output {number} has shape {theirs.shape}, torch's {ours.shape}, at sizes {sizes}"
        if not _means_the_same(ours, theirs):
            return f"output {number} has other values than torch's by onnx.reference, at sizes {sizes}"
    return ""


def _by_reference(model: Any, tensors: Sequence[Array]) -> list[Array] | None:
    from onnx.reference import ReferenceEvaluator

    names = [value.name for value in model.graph.input]
    try:
        with np.errstate(all="ignore"):
            found = ReferenceEvaluator(model).run(None, dict(zip(names, tensors, strict=True)))
    except Exception:  # not implemented there, or broken: it is no judge of this model
        return None
    return [np.asarray(array) for array in found]


def _means_the_same(ours: Array, theirs: Array) -> bool:
    dtype = name_of(ours)
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    if not is_float(dtype):
        return bool(np.array_equal(ours, theirs))
    finite = ours[np.isfinite(ours)]
    scale = float(np.abs(finite).max(initial=0.0))
    tolerance = _ANOTHER_MEANING[dtype] * scale + unit_roundoff(dtype)
    return bool(np.allclose(ours, theirs, rtol=0.0, atol=tolerance, equal_nan=True))


def _ordinary(operator: Operator, dtypes: Sequence[str], sizes: Mapping[str, int]) -> list[Array]:
    """Standard normal floats, 1 to 4 for integers (no division by 0, no long shift), legal indices."""
    random = np.random.default_rng(0)
    extents = {index.slot: index.extent.value(sizes) for index in operator.indexes}
    made: list[Array] = []
    for slot, (shape, dtype) in enumerate(zip(operator.shapes(sizes), dtypes, strict=True)):
        if slot in extents:
            values: Any = random.integers(0, max(1, extents[slot]), shape)
        elif is_float(dtype):
            values = random.standard_normal(shape)
        else:
            values = random.integers(0, 2, shape) if dtype == "bool" else random.integers(1, 5, shape)
        made.append(np.asarray(values).astype(numpy_dtype(dtype)))
    return made


def declared_dtype(value: Any) -> str:
    """The dtype name of a graph input or output, an `onnx.ValueInfoProto`."""
    from onnx import helper

    return str(np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)))


@cache
def _keep_translations() -> None:
    """Let torch keep its table of translations, which it reads from onnxscript's sources anew at every export.

    That is half of the time of an export. The table depends on nothing but the opset. Where torch has moved it,
    exports are only slower.
    """
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        made = ONNXRegistry.from_torchlib
    except (ImportError, AttributeError):
        return
    setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(made)))  # noqa: B010 (mypy allows no plain assignment)


def _innermost(error: BaseException) -> str:
    """The first line of the exception at the root, where the exporter says which operator it cannot translate."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:400]
