"""The source by which a reproducer uses wgpu: the device, buffers, pipelines and launches."""

from __future__ import annotations

from collections.abc import Sequence


def helpers(backends: Sequence[str], limits: Sequence[str]) -> str:
    """Source that takes an adapter of `backends`, its `limits` raised, and defines what `compute` calls."""
    listed = "".join(f"    {limit!r},\n" for limit in limits)
    return f"BACKENDS = {tuple(backends)!r}\nLIMITS = (\n{listed})\n\n{_HELPERS}"


_HELPERS = """\
adapters = [a for a in wgpu.gpu.enumerate_adapters_sync() if a.info["backend_type"] in BACKENDS]
adapter = min(adapters, key=lambda a: a.info["adapter_type"] == "CPU")
print("device:", adapter.info["device"], "|", adapter.info["backend_type"], adapter.info["description"])
device = adapter.request_device_sync(
    required_features=[name for name in ("shader-f16",) if name in adapter.features],
    required_limits={name: adapter.limits[name] for name in LIMITS if name in adapter.limits},
)


def raw_buffer(data):
    data = data.ljust(max(4, len(data) + -len(data) % 4), b"\\0")
    usage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC
    return device.create_buffer_with_data(data=data, usage=usage)


def buffer(tensor):
    return raw_buffer(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def unwritten(size):
    return raw_buffer(b"\\xff" * size)  # NaN in every float width: what nobody writes is seen


def read(memory, shape, dtype):
    tensor = torch.empty(shape, dtype=dtype)
    if tensor.numel():
        data = bytearray(device.queue.read_buffer(memory))
        tensor = torch.frombuffer(data, dtype=dtype, count=tensor.numel()).reshape(shape)
    return tensor


def pipeline(code, entry_point, kinds):
    stage = wgpu.ShaderStage.COMPUTE
    entries = [{"binding": n, "visibility": stage, "buffer": {"type": kind}} for n, kind in enumerate(kinds)]
    module = device.create_shader_module(code=code)
    group = device.create_bind_group_layout(entries=entries)
    layout = device.create_pipeline_layout(bind_group_layouts=[group])
    return group, device.create_compute_pipeline(layout=layout, compute={"module": module, "entry_point": entry_point})


def launch(kernel, workgroups, scalars, *buffers):
    layout, compute_pipeline = kernel
    bound = list(buffers)
    if scalars:
        bound.append(device.create_buffer_with_data(data=scalars, usage=wgpu.BufferUsage.UNIFORM))
    entries = [
        {"binding": n, "resource": {"buffer": memory, "offset": 0, "size": memory.size}}
        for n, memory in enumerate(bound)
    ]
    encoder = device.create_command_encoder()
    work = encoder.begin_compute_pass()
    work.set_pipeline(compute_pipeline)
    work.set_bind_group(0, device.create_bind_group(layout=layout, entries=entries))
    work.dispatch_workgroups(*workgroups)
    work.end()
    device.queue.submit([encoder.finish()])


"""
