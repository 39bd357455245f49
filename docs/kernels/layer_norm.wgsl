// Layer norm over the last axis, one work group for each row: mean, variance around it, then scale and shift.
//
// [tapml_fuzz]
// operator = "aten.native_layer_norm.default"
// dtypes = ["float32"]
// kernel = "layer_norm"
// arguments = [
//   "x0", "x1", "x2", "out0",
//   { name = "rows", type = "i32", value = "a * b" },
//   { name = "n", type = "i32", value = "c" },
//   { name = "eps", type = "f32", value = "argument(4)" },
// ]
// [tapml_fuzz.launch]
// workgroups = ["min(a * b, 65535)", "ceildiv(a * b, 65535)"]     # a dimension holds no more (WebGPU, 3.6.2)

struct Numbers {
    rows: i32,
    n: i32,
    eps: f32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<uniform> numbers: Numbers;

const GROUP = 64;
var<workgroup> parts: array<f32, GROUP>;

fn sum_of_all(me: i32, value: f32) -> f32 {
    parts[me] = value;
    workgroupBarrier();
    for (var half = GROUP / 2; half > 0; half /= 2) {
        if me < half {
            parts[me] += parts[me + half];
        }
        workgroupBarrier();
    }
    let sum = parts[0];
    workgroupBarrier();
    return sum;
}

@compute @workgroup_size(GROUP)
fn layer_norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let me = i32(index);
    let n = numbers.n;
    let number = i32(group.x + group.y * 65535);
    if number >= numbers.rows {
        return;
    }
    let row = number * n;

    var sum = 0.0;
    for (var column = me; column < n; column += GROUP) {
        sum += x[row + column];
    }
    let mean = sum_of_all(me, sum) / f32(n);

    var squares = 0.0;
    for (var column = me; column < n; column += GROUP) {
        let distance = x[row + column] - mean;
        squares += distance * distance;
    }
    let deviation = sqrt(sum_of_all(me, squares) / f32(n) + numbers.eps);

    for (var column = me; column < n; column += GROUP) {
        out[row + column] = (x[row + column] - mean) / deviation * weight[column] + bias[column];
    }
}
