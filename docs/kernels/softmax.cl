// Softmax over the last axis, one work group for each row.
//
// [tapml_fuzz]
// operator = "aten._softmax.default"
// dtypes = ["float32", "float16"]
// kernel = "softmax"
// arguments = ["x0", "out0", { name = "n", type = "i32", value = "size(x0, -1)" }]
// [tapml_fuzz.launch]
// global = ["GROUP * (numel(x0) // max(size(x0, -1), 1))"]
// local = ["GROUP"]
// [tapml_fuzz.defines]
// GROUP = 64
// T = "type(x0)"

static float reduced(__local float *parts, float value, bool largest)
{
    const int me = get_local_id(0);
    parts[me] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int half_size = GROUP / 2; half_size > 0; half_size /= 2) {
        if (me < half_size) {
            const float other = parts[me + half_size];
            parts[me] = largest ? fmax(parts[me], other) : parts[me] + other;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const float result = parts[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return result;
}

__kernel void softmax(__global const T *x, __global T *out, const int n)
{
    __local float parts[GROUP];
    const size_t row = get_group_id(0) * (size_t)n;

    float largest = -INFINITY;
    for (int column = get_local_id(0); column < n; column += GROUP)
        largest = fmax(largest, (float)x[row + column]);
    largest = reduced(parts, largest, true);

    float sum = 0.0f;
    for (int column = get_local_id(0); column < n; column += GROUP)
        sum += exp((float)x[row + column] - largest);
    sum = reduced(parts, sum, false);

    for (int column = get_local_id(0); column < n; column += GROUP)
        out[row + column] = (T)(exp((float)x[row + column] - largest) / sum);
}
