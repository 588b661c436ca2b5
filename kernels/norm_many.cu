// Batch normalisation of up to sixteen maps of one size by their own statistics, without scale and shift, rectified or not: what norm.cu computes of each, in
// the same bits. Grids are (channels, chunks, maps). Statistics of a map are (4, C): mean, variance, low part of the mean, count.
#include "norm_maps.cuh"
#include "norm_parts.cuh"

constexpr int NORM_MAPS = 16;

template <typename T>
__device__ void norm_many_stats(const List<const T, NORM_MAPS> &x, float *part, float *warps, long long images, int channels,
                                long long plane) {
    norm_stats(x.at[blockIdx.z], part + (long long)blockIdx.z * gridDim.y * channels * 3, warps, 0, 0, images, channels, plane);
}

// `stats` of all maps, one behind the other.
template <typename T>
__device__ void norm_many_fwd(const List<const T, NORM_MAPS> &x, const float *part, const List<T, NORM_MAPS> &y, float *stats, int chunks,
                              long long images, int channels, long long plane, int relu, float eps) {
    const float *mine = part + (long long)blockIdx.z * chunks * channels * 3;
    float *to = stats + (long long)blockIdx.z * 4 * channels;
    norm_fwd(x.at[blockIdx.z], mine, part, part, y.at[blockIdx.z], to, to + channels, to + 2 * channels, chunks, images, channels, plane, 0,
             relu, eps);
}

// Without a rectifier, from partial statistics (maps, C, chunks, 4) that whoever wrote the maps gathered (conv_gather.cu).
template <typename T>
__device__ void norm_many_fwd_parts(const List<const T, NORM_MAPS> &x, const float *part, const List<T, NORM_MAPS> &y, float *stats,
                                    int chunks, long long images, int channels, long long plane, float eps) {
    const float *mine = part + ((long long)blockIdx.z * channels + blockIdx.x) * chunks * 4;
    float *to = stats + (long long)blockIdx.z * 4 * channels;
    norm_fwd_about(x.at[blockIdx.z], mine[1], norm_shifted(mine, chunks, 4), part, part, y.at[blockIdx.z], to, to + channels,
                   to + 2 * channels, images, channels, plane, 0, 0, eps);
}

template <typename T>
__device__ void norm_many_bwd_sums(const List<const T, NORM_MAPS> &x, const List<const T, NORM_MAPS> &dy,
                                   const List<const float, NORM_MAPS> &stats, float *part, float *warps, long long images, int channels,
                                   long long plane, int relu, float eps) {
    const float *of = stats.at[blockIdx.z];
    norm_bwd_sums(x.at[blockIdx.z], dy.at[blockIdx.z], of, of + channels, of + 2 * channels, of, of,
                  part + (long long)blockIdx.z * gridDim.y * channels * 2, warps, 0, images, channels, plane, 0, relu, 1, eps);
}

template <typename T>
__device__ void norm_many_bwd_x(const List<const T, NORM_MAPS> &x, const List<const T, NORM_MAPS> &dy,
                                const List<const float, NORM_MAPS> &stats, const float *part, const List<T, NORM_MAPS> &dx, int chunks,
                                long long images, int channels, long long plane, int relu, float eps) {
    const float *of = stats.at[blockIdx.z], *mine = part + (long long)blockIdx.z * chunks * channels * 2;
    float *none = nullptr;
    norm_bwd_x(x.at[blockIdx.z], dy.at[blockIdx.z], of, of + channels, of + 2 * channels, mine, of, of, dx.at[blockIdx.z], none, none, chunks,
               images, channels, plane, 0, relu, 1, NORM_DX, eps);
}

extern "C" __global__ void norm_many_stats_f32(const __grid_constant__ List<const float, NORM_MAPS> x, float *part, long long images,
                                               int channels, long long plane) {
    SHARED(float, warps, 3 * NORM_WARPS);
    norm_many_stats(x, part, warps, images, channels, plane);
}
extern "C" __global__ void norm_many_fwd_f32(const __grid_constant__ List<const float, NORM_MAPS> x, const float *part,
                                             const __grid_constant__ List<float, NORM_MAPS> y, float *stats, int chunks, long long images,
                                             int channels, long long plane, int relu, float eps) {
    norm_many_fwd(x, part, y, stats, chunks, images, channels, plane, relu, eps);
}
extern "C" __global__ void norm_many_fwd_parts_f32(const __grid_constant__ List<const float, NORM_MAPS> x, const float *part,
                                                   const __grid_constant__ List<float, NORM_MAPS> y, float *stats, int chunks,
                                                   long long images, int channels, long long plane, float eps) {
    norm_many_fwd_parts(x, part, y, stats, chunks, images, channels, plane, eps);
}
extern "C" __global__ void norm_many_bwd_sums_f32(const __grid_constant__ List<const float, NORM_MAPS> x,
                                                  const __grid_constant__ List<const float, NORM_MAPS> dy,
                                                  const __grid_constant__ List<const float, NORM_MAPS> stats, float *part,
                                                  long long images, int channels, long long plane, int relu, float eps) {
    SHARED(float, warps, NORM_WARPS);
    norm_many_bwd_sums(x, dy, stats, part, warps, images, channels, plane, relu, eps);
}
extern "C" __global__ void norm_many_bwd_x_f32(const __grid_constant__ List<const float, NORM_MAPS> x,
                                               const __grid_constant__ List<const float, NORM_MAPS> dy,
                                               const __grid_constant__ List<const float, NORM_MAPS> stats, const float *part,
                                               const __grid_constant__ List<float, NORM_MAPS> dx, int chunks, long long images,
                                               int channels, long long plane, int relu, float eps) {
    norm_many_bwd_x(x, dy, stats, part, dx, chunks, images, channels, plane, relu, eps);
}
extern "C" __global__ void norm_many_stats_bf16(const __grid_constant__ List<const bf16, NORM_MAPS> x, float *part, long long images,
                                               int channels, long long plane) {
    SHARED(float, warps, 3 * NORM_WARPS);
    norm_many_stats(x, part, warps, images, channels, plane);
}
extern "C" __global__ void norm_many_fwd_bf16(const __grid_constant__ List<const bf16, NORM_MAPS> x, const float *part,
                                             const __grid_constant__ List<bf16, NORM_MAPS> y, float *stats, int chunks, long long images,
                                             int channels, long long plane, int relu, float eps) {
    norm_many_fwd(x, part, y, stats, chunks, images, channels, plane, relu, eps);
}
extern "C" __global__ void norm_many_fwd_parts_bf16(const __grid_constant__ List<const bf16, NORM_MAPS> x, const float *part,
                                                   const __grid_constant__ List<bf16, NORM_MAPS> y, float *stats, int chunks,
                                                   long long images, int channels, long long plane, float eps) {
    norm_many_fwd_parts(x, part, y, stats, chunks, images, channels, plane, eps);
}
extern "C" __global__ void norm_many_bwd_sums_bf16(const __grid_constant__ List<const bf16, NORM_MAPS> x,
                                                  const __grid_constant__ List<const bf16, NORM_MAPS> dy,
                                                  const __grid_constant__ List<const float, NORM_MAPS> stats, float *part,
                                                  long long images, int channels, long long plane, int relu, float eps) {
    SHARED(float, warps, NORM_WARPS);
    norm_many_bwd_sums(x, dy, stats, part, warps, images, channels, plane, relu, eps);
}
extern "C" __global__ void norm_many_bwd_x_bf16(const __grid_constant__ List<const bf16, NORM_MAPS> x,
                                               const __grid_constant__ List<const bf16, NORM_MAPS> dy,
                                               const __grid_constant__ List<const float, NORM_MAPS> stats, const float *part,
                                               const __grid_constant__ List<bf16, NORM_MAPS> dx, int chunks, long long images,
                                               int channels, long long plane, int relu, float eps) {
    norm_many_bwd_x(x, dy, stats, part, dx, chunks, images, channels, plane, relu, eps);
}
