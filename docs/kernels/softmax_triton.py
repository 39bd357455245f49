# Softmax over the last axis in Triton, one program for each row, which it reads in blocks: once for the maximum and the
# sum of exponentials, rescaled as the maximum grows, and once to write. One compilation serves rows of any length.
#
# [tapml_fuzz]
# operator = "aten._softmax.default"
# dtypes = ["float32", "float16", "bfloat16"]
# callable = "softmax"
# device = "cuda"

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x, out, n, BLOCK: tl.constexpr):  # noqa: N803
    row = tl.program_id(0).to(tl.int64) * n
    lowest = -float("inf")
    top = tl.full((1,), lowest, tl.float32)
    total = tl.zeros((1,), tl.float32)
    for start in range(0, n, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        values = tl.load(x + row + columns, mask=columns < n, other=lowest).to(tl.float32)
        # tl.max leaves NaN out; the sum does not.
        new = tl.maximum(top, tl.max(values, axis=0))
        # Nothing but -inf so far: no exponential of -inf minus -inf.
        shift = tl.where(new == lowest, 0.0, new)
        total = total * tl.exp(top - shift) + tl.sum(tl.exp(values - shift), axis=0)
        top = new
    # A row of -inf alone has no softmax: 0 / 0.
    shift = tl.where(top == lowest, 0.0, top)
    for start in range(0, n, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        inside = columns < n
        values = tl.load(x + row + columns, mask=inside, other=lowest).to(tl.float32)
        tl.store(out + row + columns, (tl.exp(values - shift) / total).to(out.dtype.element_ty), mask=inside)


def softmax(x: torch.Tensor) -> torch.Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    n = x.shape[-1]
    if x.numel():
        softmax_kernel[(x.numel() // n,)](x, out, n, BLOCK=min(1024, triton.next_power_of_2(n)))
    return out
