// From the outputs of the SSD head to ranked boxes (src/task/decode.rs and nms.rs, the specification).
#include "detect_select.cuh"

// scores[image, class - 1, prior] = softmax without the background; bad[image] = the largest of `priors - i` over priors i with a
// value that is not finite. One prior a thread.
template <typename T>
__device__ void scores(const T *conf, const T *loc, float *out, int *bad, int priors, int classes, int values, long long n) {
    for (long long j = global_index(); j < n; j += global_size()) {
        const T *z = conf + j * classes;
        long long image = j / priors;
        int i = (int)(j % priors);
        float m = -INFINITY, s = 0.0f;
        bool finite = true;
        for (int c = 0; c < classes; c++) {
            float v = to_float(z[c]);
            finite = finite && fabsf(v) < INFINITY;
            m = v > m ? v : m;
        }
        for (int k = 0; k < 4; k++) finite = finite && fabsf(to_float(loc[j * values + k])) < INFINITY;
        for (int c = 0; c < classes; c++) s += expf(to_float(z[c]) - m);
        for (int c = 1; c < classes; c++) out[(image * (classes - 1) + c - 1) * priors + i] = expf(to_float(z[c]) - m) / s;
        if (!finite) atomicMax(&bad[image], priors - i);
    }
}
extern "C" __global__ void detect_scores_f32(const float *conf, const float *loc, float *out, int *bad, int priors, int classes,
                                             int values, long long n) {
    scores(conf, loc, out, bad, priors, classes, values, n);
}
extern "C" __global__ void detect_scores_bf16(const bf16 *conf, const bf16 *loc, float *out, int *bad, int priors, int classes,
                                              int values, long long n) {
    scores(conf, loc, out, bad, priors, classes, values, n);
}

constexpr int RANKED = 1024;
constexpr float FAR = 1e5f;
constexpr double MAX_LOG_SIZE = 10.0;

__device__ inline float at_edge(double v, float side) {
    float e = (float)v;
    return fminf(fmaxf(e, -FAR), FAR) * side;
}

// Box of offsets `t` at prior `p`, in pixels of an image of `w` x `h`; edges to b[0], b[RANKED], ..
template <typename T> __device__ void decode_box(const T *t, const double *p, const double *variances, float h, float w, float *b) {
    double x = p[0] + mul_rn(mul_rn((double)to_float(t[0]), variances[0]), p[2]);
    double y = p[1] + mul_rn(mul_rn((double)to_float(t[1]), variances[0]), p[3]);
    double u = mul_rn((double)to_float(t[2]), variances[1]), v = mul_rn((double)to_float(t[3]), variances[1]);
    double width = mul_rn(p[2], exp(u < MAX_LOG_SIZE ? u : MAX_LOG_SIZE)), height = mul_rn(p[3], exp(v < MAX_LOG_SIZE ? v : MAX_LOG_SIZE));
    b[0] = at_edge(x - width / 2.0, w);
    b[RANKED] = at_edge(y - height / 2.0, h);
    b[2 * RANKED] = at_edge(x + width / 2.0, w);
    b[3 * RANKED] = at_edge(y + height / 2.0, h);
}

__device__ inline float box_area(const float *b) { return mul_rn(b[2 * RANKED] - b[0], b[3 * RANKED] - b[RANKED]); }
__device__ inline float iou(const float *a, const float *b) {
    float w = fmaxf(fminf(a[2 * RANKED], b[2 * RANKED]) - fmaxf(a[0], b[0]), 0.0f);
    float h = fmaxf(fminf(a[3 * RANKED], b[3 * RANKED]) - fmaxf(a[RANKED], b[RANKED]), 0.0f);
    float both = mul_rn(w, h);
    return both / (box_area(a) + box_area(b) - both);
}

// For one image and class a block: the `most` (at most RANKED) best scores above `least`, ties to the lowest prior, best first, those
// that suppression leaves. found[row] = their number; score and box of each in rows of `most`.
template <typename T>
__device__ void select(const float *scores, const T *loc, const double *priors, const double *variances, const float *sizes, int *found,
                       float *score, float *box, int count, int classes, int values, int most, float least, float overlap,
                       int *bins, int *state, int *warps, long long *order, float *boxes, int *alive) {
    long long row = blockIdx.x, image = row / classes;
    scores += row * count;
    auto key = [=](int i, unsigned *k) {
        *k = order_key(scores[i]);
        return scores[i] > least;
    };
    if (threadIdx.x == 0) {
        state[2] = 0;
        state[3] = 0;
    }
    __syncthreads();
    int above = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) above += scores[i] > least;
    atomicAdd(&state[2], above);
    __syncthreads();
    int wanted = state[2] < most ? state[2] : most;
    for (int j = threadIdx.x; j < RANKED; j += blockDim.x) order[j] = -1;
    Cut cut = radix_select(key, count, wanted, bins, state);
    // Sorted next, so the order in which they come does not show: largest score first, then the lowest prior. No score is negative.
    each_chosen(key, cut, count, warps, [=](int i, bool chosen) {
        if (chosen) order[atomicAdd(&state[3], 1)] = (long long)(order_key(scores[i]) & 0x7fffffffu) << 32 | (unsigned)(0x7fffffff - i);
    });
    for (int size = 2; size <= RANKED; size *= 2) {
        for (int d = size / 2; d > 0; d /= 2) {
            __syncthreads();
            for (int j = threadIdx.x; j < RANKED; j += blockDim.x) {
                int o = j ^ d;
                bool falling = (j & size) == 0;
                if ((j & d) == 0 && (order[j] < order[o]) == falling) {
                    long long v = order[j];
                    order[j] = order[o];
                    order[o] = v;
                }
            }
        }
    }
    __syncthreads();
    float h = sizes[2 * image], w = sizes[2 * image + 1];
    for (int j = threadIdx.x; j < wanted; j += blockDim.x) {
        int i = 0x7fffffff - (int)(order[j] & 0xffffffff);
        decode_box(loc + (image * count + i) * values, priors + 4 * (long long)i, variances, h, w, boxes + j);
        alive[j] = 1;
    }
    for (int j = 0; j < wanted; j++) {
        __syncthreads();
        if (!alive[j]) continue;
        for (int o = j + 1 + threadIdx.x; o < wanted; o += blockDim.x)
            if (iou(boxes + j, boxes + o) > overlap) alive[o] = 0;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        int n = 0;
        for (int j = 0; j < wanted; j++)
            if (alive[j]) alive[j] = ++n; // place of those that stay, from 1
        found[row] = n;
    }
    __syncthreads();
    for (int j = threadIdx.x; j < wanted; j += blockDim.x) {
        if (!alive[j]) continue;
        long long to = row * most + alive[j] - 1;
        int i = 0x7fffffff - (int)(order[j] & 0xffffffff);
        score[to] = scores[i];
        for (int k = 0; k < 4; k++) box[4 * to + k] = boxes[k * RANKED + j];
    }
}
extern "C" __global__ void detect_select_f32(const float *scores, const float *loc, const double *priors, const double *variances,
                                             const float *sizes, int *found, float *score, float *box, int count,
                                             int classes, int values, int most, float least, float overlap) {
    SHARED(int, bins, BINS);
    SHARED(int, state, 4);
    SHARED(int, warps, WARP_SIZE);
    SHARED(long long, order, RANKED);
    SHARED(float, boxes, 4 * RANKED);
    SHARED(int, alive, RANKED);
    select(scores, loc, priors, variances, sizes, found, score, box, count, classes, values, most, least, overlap, bins, state,
           warps, order, boxes, alive);
}
extern "C" __global__ void detect_select_bf16(const float *scores, const bf16 *loc, const double *priors, const double *variances,
                                              const float *sizes, int *found, float *score, float *box, int count,
                                              int classes, int values, int most, float least, float overlap) {
    SHARED(int, bins, BINS);
    SHARED(int, state, 4);
    SHARED(int, warps, WARP_SIZE);
    SHARED(long long, order, RANKED);
    SHARED(float, boxes, 4 * RANKED);
    SHARED(int, alive, RANKED);
    select(scores, loc, priors, variances, sizes, found, score, box, count, classes, values, most, least, overlap, bins, state,
           warps, order, boxes, alive);
}
