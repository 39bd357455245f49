"""GPU APIs as platforms use them: OpenCL through pyopencl, WebGPU through wgpu-py."""
