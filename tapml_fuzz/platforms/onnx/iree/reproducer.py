"""IREE's part of a reproducer: the importer, the compiler and the runtime, called as our platform calls them."""

from __future__ import annotations

from collections.abc import Sequence

from tapml_fuzz.core.case import Layout
from tapml_fuzz.platforms.base import BuildSpec, Reproducer
from tapml_fuzz.platforms.onnx.reproducers import onnx_reproducer

_IMPORTS = (
    "import iree.compiler",
    "import iree.runtime",
    "from iree.compiler.extras import onnx_importer",
    "from iree.compiler.ir import Context",
)

_INVOKE = '''\
ELEMENTS = {
    "float64": "FLOAT_64", "float32": "FLOAT_32", "float16": "FLOAT_16", "bfloat16": "BFLOAT_16", "int64": "SINT_64",
    "int32": "SINT_32", "int16": "SINT_16", "int8": "SINT_8", "uint8": "UINT_8", "bool": "BOOL_8",
}


def invoke(module, driver, inputs, dtypes):
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

_EXECUTE = """\
def execute(model, inputs):
    info = onnx_importer.ModelInfo(onnx.shape_inference.infer_shapes(model, data_prop=True))
    source = info.create_module(context=Context()).operation
    onnx_importer.NodeImporter.define_function(info.main_graph, source).import_all()
    flags = {flags!r}
    module = iree.compiler.compile_str(str(source), input_type="onnx", extra_args=flags)
    types = [onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) for value in model.graph.output]
    return invoke(module, {driver!r}, inputs, [str(dtype) for dtype in types])
"""


def iree_reproducer(spec: BuildSpec, layouts: Sequence[Layout], driver: str, flags: Sequence[str]) -> Reproducer:
    """`compute` by IREE, compiled with `flags` and run by the runtime's `driver`."""
    return onnx_reproducer(spec, layouts, _IMPORTS, _INVOKE + _EXECUTE.format(driver=driver, flags=list(flags)))
