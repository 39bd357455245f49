"""A reproducer through ONNX: export, let torch's exporter make the ONNX model, have a runtime execute it.

A runtime writes its own part, a function `execute(model, inputs)`, in its own file.

The script also prints what `onnx.reference` computes from the same model and inputs. If that is wrong too, the model
is, and with it the exporter; if it is right, the runtime is what differs.
"""

from __future__ import annotations

from collections.abc import Sequence

from tapml_fuzz.core.case import Layout
from tapml_fuzz.platforms.base import BuildSpec, Reproducer
from tapml_fuzz.platforms.exported_program import exported
from tapml_fuzz.platforms.python_source import parameters

_IMPORTS = ("import ml_dtypes", "import onnx.reference", "from torch.export import Dim")

_MODEL = '''\
def onnx_model():
    return torch.onnx.export(exported(), dynamo=True, verbose=False).model_proto


def as_numpy(tensor):
    tensor = tensor.contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def meaning(model, inputs):
    """Print what the model says, by numpy code that shares nothing with the runtime or the exporter."""
    given = {value.name: array for value, array in zip(model.graph.input, inputs)}
    try:
        outputs = onnx.reference.ReferenceEvaluator(model).run(None, given)
    except Exception as error:
        print("onnx.reference:", type(error).__name__)
        return
    for number, output in enumerate(outputs):
        print(f"onnx.reference, output {number}:", np.asarray(output).reshape(-1)[:32])


'''

_COMPUTE = """\


def compute({parameters}):
    model, inputs = onnx_model(), [as_numpy(tensor) for tensor in ({tuple})]
    meaning(model, inputs)
    return execute(model, inputs)
"""


def onnx_reproducer(spec: BuildSpec, layouts: Sequence[Layout], imports: Sequence[str], execute: str) -> Reproducer:
    """`compute` that makes the ONNX model of `spec` and has `execute` run it.

    `execute` is the source of `execute(model, inputs)`, which takes an `onnx.ModelProto` and packed numpy arrays in
    slot order (bfloat16 is `ml_dtypes.bfloat16`) and gives a list of torch tensors; `imports` are the lines that it
    needs besides `numpy as np`, `torch`, `ml_dtypes` and `onnx.reference`.
    """
    slots = "".join(f"x{slot}, " for slot in range(len(layouts))).strip()
    compute = _COMPUTE.format(parameters=parameters(len(layouts)), tuple=slots)
    return Reproducer((*_IMPORTS, *imports), f"{exported(spec)}\n\n{_MODEL}{execute.rstrip()}\n{compute}")
