"""The ONNX platforms' part of a reproducer: export, let torch's exporter make the ONNX model, run it.

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

_ONNXRUNTIME = """\
def compute({parameters}):
    model, inputs = onnx_model(), [as_numpy(tensor) for tensor in ({tuple})]
    meaning(model, inputs)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = {{value.name: array for value, array in zip(session.get_inputs(), inputs)}}
    return [torch.from_numpy(np.array(output)) for output in session.run(None, given)]
"""

_IREE = '''\
ELEMENTS = {
    "float64": "FLOAT_64", "float32": "FLOAT_32", "float16": "FLOAT_16", "bfloat16": "BFLOAT_16", "int64": "SINT_64",
    "int32": "SINT_32", "int16": "SINT_16", "int8": "SINT_8", "uint8": "UINT_8", "bool": "BOOL_8",
}


def execute(module, driver, inputs, dtypes):
    """Run main_graph; tensors go and come as bits, since the runtime's own conversions know no bfloat16."""
    config = iree.runtime.Config(driver)
    device, allocator = config.device, config.device.allocator
    loaded = iree.runtime.VmModule.copy_buffer(config.vm_instance, module)
    context = iree.runtime.VmContext(config.vm_instance, [*config.default_vm_modules, loaded])
    given, found = iree.runtime.VmVariantList(len(inputs)), iree.runtime.VmVariantList(len(dtypes))
    for array in inputs:
        given.push_ref(allocator.allocate_buffer_copy(
            memory_type=iree.runtime.MemoryType.DEVICE_LOCAL, allowed_usage=iree.runtime.BufferUsage.DEFAULT,
            device=device, buffer=array.view(f"u{array.itemsize}"),
            element_type=getattr(iree.runtime.HalElementType, ELEMENTS[str(array.dtype)]),
        ).ref)
    context.invoke(loaded.lookup_function("main_graph"), given, found)
    results = []
    for number, dtype in enumerate(dtypes):
        view = found.get_as_object(number, iree.runtime.HalBufferView)
        result = torch.empty(tuple(view.shape), dtype=getattr(torch, dtype))
        if result.numel():
            staging = allocator.allocate_buffer(
                int(iree.runtime.MemoryType.HOST_LOCAL | iree.runtime.MemoryType.DEVICE_VISIBLE),
                int(iree.runtime.BufferUsage.TRANSFER_TARGET | iree.runtime.BufferUsage.MAPPING_SCOPED),
                view.byte_length,
            )
            fence, done = iree.runtime.HalFence.create_at, device.create_semaphore(0)
            device.queue_copy(view.get_buffer(), staging, fence(done, 0), fence(done, 1))
            fence(done, 1).wait()
            raw = np.array(staging.map().asarray((view.byte_length,), np.dtype("uint8")))
            result = torch.from_numpy(raw).view(result.dtype).reshape(result.shape)
        results.append(result)
    return results


'''
_IREE_COMPUTE = """\
def compute({parameters}):
    model, inputs = onnx_model(), [as_numpy(tensor) for tensor in ({tuple})]
    meaning(model, inputs)
    info = onnx_importer.ModelInfo(onnx.shape_inference.infer_shapes(model, data_prop=True))
    source = info.create_module(context=Context()).operation
    onnx_importer.NodeImporter.define_function(info.main_graph, source).import_all()
    flags = {flags!r}
    module = iree.compiler.compile_str(str(source), input_type="onnx", extra_args=flags)
    types = [onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) for value in model.graph.output]
    return execute(module, {driver!r}, inputs, [str(dtype) for dtype in types])
"""
_IREE_IMPORTS = (
    "import iree.compiler",
    "import iree.runtime",
    "from iree.compiler.extras import onnx_importer",
    "from iree.compiler.ir import Context",
)


def onnxruntime_reproducer(spec: BuildSpec, layouts: Sequence[Layout]) -> Reproducer:
    """`compute` by ONNX Runtime's CPU provider, one thread."""
    body = _ONNXRUNTIME.format(**_names(len(layouts)))
    return Reproducer((*_IMPORTS, "import onnxruntime"), exported(spec) + "\n\n" + _MODEL + body)


def iree_reproducer(spec: BuildSpec, layouts: Sequence[Layout], driver: str, flags: Sequence[str]) -> Reproducer:
    """`compute` by IREE, compiled with `flags` and run by the runtime's `driver`."""
    body = _IREE_COMPUTE.format(**_names(len(layouts)), driver=driver, flags=list(flags))
    return Reproducer((*_IMPORTS, *_IREE_IMPORTS), exported(spec) + "\n\n" + _MODEL + _IREE + body)


def _names(count: int) -> dict[str, str]:
    """The parameters of `compute`, and the inside of the tuple of them."""
    return {"parameters": parameters(count), "tuple": "".join(f"x{slot}, " for slot in range(count)).strip()}
