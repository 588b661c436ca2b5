// Batch normalisation of one map; norm_maps.cuh says how.
#include "norm_maps.cuh"

extern "C" __global__ void norm_stats_f32(const float *x, float *part, int relu, long long first, long long images, int channels,
                                          long long plane) {
    SHARED(float, warps, 3 * NORM_WARPS);
    norm_stats(x, part, warps, relu, first, images, channels, plane);
}
extern "C" __global__ void norm_stats_bf16(const bf16 *x, float *part, int relu, long long first, long long images, int channels,
                                           long long plane) {
    SHARED(float, warps, 3 * NORM_WARPS);
    norm_stats(x, part, warps, relu, first, images, channels, plane);
}
extern "C" __global__ void norm_fwd_f32(const float *x, const float *part, const float *gamma, const float *beta, float *y,
                                        float *mean, float *var, float *rest, int chunks, long long images, int channels,
                                        long long plane, int affine, int relu, float eps) {
    norm_fwd(x, part, gamma, beta, y, mean, var, rest, chunks, images, channels, plane, affine, relu, eps);
}
extern "C" __global__ void norm_fwd_bf16(const bf16 *x, const float *part, const float *gamma, const float *beta, bf16 *y,
                                         float *mean, float *var, float *rest, int chunks, long long images, int channels,
                                         long long plane, int affine, int relu, float eps) {
    norm_fwd(x, part, gamma, beta, y, mean, var, rest, chunks, images, channels, plane, affine, relu, eps);
}
extern "C" __global__ void norm_apply_f32(const float *x, const float *mean, const float *var, const float *rest,
                                          const float *gamma, const float *beta, float *y, long long images, int channels,
                                          long long plane, int affine, int relu, int batch, float eps) {
    norm_apply(x, mean, var, rest, gamma, beta, y, images, channels, plane, affine, relu, batch, eps);
}
extern "C" __global__ void norm_apply_bf16(const bf16 *x, const float *mean, const float *var, const float *rest,
                                           const float *gamma, const float *beta, bf16 *y, long long images, int channels,
                                           long long plane, int affine, int relu, int batch, float eps) {
    norm_apply(x, mean, var, rest, gamma, beta, y, images, channels, plane, affine, relu, batch, eps);
}
extern "C" __global__ void norm_bwd_sums_f32(const float *x, const float *dy, const float *mean, const float *var,
                                             const float *rest, const float *gamma, const float *beta, float *part, long long first,
                                             long long images, int channels, long long plane, int affine, int relu, int batch,
                                             float eps) {
    SHARED(float, warps, NORM_WARPS);
    norm_bwd_sums(x, dy, mean, var, rest, gamma, beta, part, warps, first, images, channels, plane, affine, relu, batch, eps);
}
extern "C" __global__ void norm_bwd_sums_bf16(const bf16 *x, const bf16 *dy, const float *mean, const float *var,
                                              const float *rest, const float *gamma, const float *beta, float *part,
                                              long long first, long long images, int channels, long long plane, int affine,
                                              int relu, int batch, float eps) {
    SHARED(float, warps, NORM_WARPS);
    norm_bwd_sums(x, dy, mean, var, rest, gamma, beta, part, warps, first, images, channels, plane, affine, relu, batch, eps);
}
extern "C" __global__ void norm_bwd_x_f32(const float *x, const float *dy, const float *mean, const float *var, const float *rest,
                                          const float *part, const float *gamma, const float *beta, float *dx, float *dgamma,
                                          float *dbeta, int chunks, long long images, int channels, long long plane, int affine,
                                          int relu, int batch, int want, float eps) {
    norm_bwd_x(x, dy, mean, var, rest, part, gamma, beta, dx, dgamma, dbeta, chunks, images, channels, plane, affine, relu, batch,
               want, eps);
}
extern "C" __global__ void norm_bwd_x_bf16(const bf16 *x, const bf16 *dy, const float *mean, const float *var, const float *rest,
                                           const float *part, const float *gamma, const float *beta, bf16 *dx, float *dgamma,
                                           float *dbeta, int chunks, long long images, int channels, long long plane, int affine,
                                           int relu, int batch, int want, float eps) {
    norm_bwd_x(x, dy, mean, var, rest, part, gamma, beta, dx, dgamma, dbeta, chunks, images, channels, plane, affine, relu, batch,
               want, eps);
}
