// Softmax over the last axis, one block for each row.
//
// [tapml_fuzz]
// operator = "aten._softmax.default"
// dtypes = ["float32"]
// kernel = "softmax"
// arguments = ["x0", "out0", { name = "n", type = "i32", value = "size(x0, -1)" }]
// [tapml_fuzz.launch]
// grid = ["numel(x0) // max(size(x0, -1), 1)"]
// block = ["BLOCK"]
// [tapml_fuzz.defines]
// BLOCK = 128

__device__ float reduced(float *parts, float value, bool largest)
{
    const int me = threadIdx.x;
    parts[me] = value;
    __syncthreads();
    for (int half_size = BLOCK / 2; half_size > 0; half_size /= 2) {
        if (me < half_size) {
            const float other = parts[me + half_size];
            parts[me] = largest ? fmaxf(parts[me], other) : parts[me] + other;
        }
        __syncthreads();
    }
    const float result = parts[0];
    __syncthreads();
    return result;
}

extern "C" __global__ void softmax(const float *x, float *out, const int n)
{
    __shared__ float parts[BLOCK];
    const size_t row = blockIdx.x * (size_t)n;

    float largest = __int_as_float(0xff800000); // minus infinity
    for (int column = threadIdx.x; column < n; column += BLOCK)
        largest = fmaxf(largest, x[row + column]);
    largest = reduced(parts, largest, true);

    float sum = 0.0f;
    for (int column = threadIdx.x; column < n; column += BLOCK)
        sum += expf(x[row + column] - largest);
    sum = reduced(parts, sum, false);

    for (int column = threadIdx.x; column < n; column += BLOCK)
        out[row + column] = expf(x[row + column] - largest) / sum;
}
