// How far CUDA's fast sine and cosine are off, inside [-pi, pi], where they have a bound, and beyond, where they have none:
//
//     nvcc -O2 --use_fast_math -o sines benchmarks/accuracy/sines.cu && ./sines
//
// Per range of arguments, over 2^24 of them: the largest error, as a power of two, and the most by which it exceeds the
// bound of [-pi, pi], in unit roundoffs of the argument (2^-24 |x|; negative: within the bound).

#include <cmath>
#include <cstdio>

__global__ void compute(const float* x, float* sines, float* cosines, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        sines[i] = sinf(x[i]);
        cosines[i] = cosf(x[i]);
    }
}

struct Worst {
    double error = 0, beyond = -INFINITY;

    void see(double x, double actual, double exact, double bound) {
        error = fmax(error, fabs(actual - exact));
        beyond = fmax(beyond, (fabs(actual - exact) - fabs(exact) * 0x1p-24 - bound) / (0x1p-24 * x));
    }
};

int main() {
    const int n = 1 << 24;
    const double pi = 3.14159, ends[] = {0, pi / 4, pi / 2, pi, 2 * pi, 4 * pi, 50, 100, 1e3, 1e4, 1e5, 1e6};
    float *x, *sines, *cosines;
    for (float** array : {&x, &sines, &cosines})
        if (cudaMallocManaged(array, n * sizeof(float)) != cudaSuccess) return 1;
    for (int range = 0; range + 1 < int(sizeof ends / sizeof *ends); ++range) {
        double low = ends[range], high = ends[range + 1];
        for (int i = 0; i < n; ++i) x[i] = float(low + (high - low) * (i + 0.5) / n);
        compute<<<n / 256, 256>>>(x, sines, cosines, n);
        if (cudaDeviceSynchronize() != cudaSuccess) return 1;
        Worst sine, cosine;
        for (int i = 0; i < n; ++i) {
            sine.see(x[i], sines[i], sin(double(x[i])), exp2(-21.41));
            cosine.see(x[i], cosines[i], cos(double(x[i])), exp2(-21.19));
        }
        printf("%10g to %-10g sine 2^%.2f, beyond %6.3f; cosine 2^%.2f, beyond %6.3f\n", low, high, log2(sine.error),
               sine.beyond, log2(cosine.error), cosine.beyond);
    }
}
