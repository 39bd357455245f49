"""The source by which a reproducer uses pyopencl: the device, buffers and launches."""

HELPERS = """\
device = [device for platform in cl.get_platforms() for device in platform.get_devices()][0]
print("device:", device.name, "|", device.version, device.driver_version)
context = cl.Context([device])
queue = cl.CommandQueue(context)


def raw_buffer(data):
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    return cl.Buffer(context, flags, hostbuf=data if data.size else np.zeros(16, np.uint8))


def buffer(tensor):
    return raw_buffer(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())


def unwritten(size):
    return raw_buffer(np.full(size, 0xFF, np.uint8))  # NaN in every float width: what nobody writes is seen


def read(memory, shape, dtype):
    tensor = torch.empty(shape, dtype=dtype)
    if tensor.numel():
        data = np.empty(tensor.numel() * tensor.element_size(), np.uint8)
        cl.enqueue_copy(queue, data, memory, is_blocking=True)
        tensor = torch.from_numpy(data).view(dtype).reshape(shape)
    return tensor


def launch(kernel, global_size, local_size, *arguments):
    kernel.set_args(*arguments)
    cl.enqueue_nd_range_kernel(queue, kernel, global_size, local_size)


"""
