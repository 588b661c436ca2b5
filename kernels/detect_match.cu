// Matching of ground truth to priors (src/task/matching.rs, the specification), in f64 as there: which prior is whose does not hang on
// rounding. Priors are (count, 4): centre and size; boxes (images, objects, 4): edges; kinds (images, objects): class, IGNORED, or
// PADDING after the last object of an image.
#include "exact.cuh"
#include "reduce.cuh"

constexpr int IGNORED = -1, PADDING = -2, NEITHER = -1;

struct Edges {
    double x1, y1, x2, y2;
};
__device__ inline double within(double v) { return fmin(fmax(v, 0.0), 1.0); }
__device__ inline Edges prior_edges(const double *p) {
    return Edges{within(p[0] - p[2] / 2.0), within(p[1] - p[3] / 2.0), within(p[0] + p[2] / 2.0), within(p[1] + p[3] / 2.0)};
}
__device__ inline Edges box_edges(const double *b) { return Edges{b[0], b[1], b[2], b[3]}; }
__device__ inline double area(Edges e) { return mul_rn(e.x2 - e.x1, e.y2 - e.y1); }
__device__ inline double common(Edges p, Edges g) {
    double w = (p.x2 < g.x2 ? p.x2 : g.x2) - (p.x1 > g.x1 ? p.x1 : g.x1), h = (p.y2 < g.y2 ? p.y2 : g.y2) - (p.y1 > g.y1 ? p.y1 : g.y1);
    return mul_rn(fmax(w, 0.0), fmax(h, 0.0));
}

__device__ inline double overlap(Edges p, Edges g) {
    double both = common(p, g);
    return both / (area(p) + area(g) - both);
}

constexpr int CLAIM_THREADS = 256;

// claims[image, object] = the prior that the object overlaps most, the first of several; -1 when it overlaps none or is no object
// (IGNORED, PADDING). A block an object.
extern "C" __global__ void detect_claims(const double *priors, const double *boxes, const int *kinds, int *claims, int count) {
    SHARED(double, top, CLAIM_THREADS);
    SHARED(int, at, CLAIM_THREADS);
    long long object = blockIdx.x;
    int t = threadIdx.x, mine = -1;
    double best = 0.0;
    if (kinds[object] >= 0) {
        Edges g = box_edges(boxes + 4 * object);
        for (int i = t; i < count; i += blockDim.x) {
            double iou = overlap(prior_edges(priors + 4 * i), g);
            if (iou > best) {
                best = iou;
                mine = i;
            }
        }
    }
    top[t] = best;
    at[t] = mine;
    for (int d = blockDim.x / 2; d > 0; d /= 2) {
        __syncthreads();
        if (t < d && (top[t + d] > top[t] || (top[t + d] == top[t] && (unsigned)at[t + d] < (unsigned)at[t]))) {
            top[t] = top[t + d];
            at[t] = at[t + d];
        }
    }
    if (t == 0) claims[object] = at[0];
}

// labels, offsets and the number of positives (added to what is there). config: least IoU of a positive, least share in an ignored
// object, two variances. One prior a thread, one image a row of blocks.
extern "C" __global__ void detect_match(const double *priors, const double *boxes, const int *kinds, const int *claims,
                                        const double *config, int *labels, float *offsets, int *positives, int count, int objects,
                                        int images) {
    for (int image = blockIdx.y; image < images; image += gridDim.y) {
        for (long long i = global_index(); i < count; i += global_size()) {
            const double *p = priors + 4 * i;
            Edges e = prior_edges(p);
            double best = 0.0;
            int object = -1, label = 0;
            bool claimed = false;
            for (int k = 0; k < objects; k++) {
                long long o = (long long)image * objects + k;
                if (kinds[o] == PADDING) break;
                if (kinds[o] < 0) continue;
                if (claims[o] == i) {
                    claimed = true;
                    object = k;
                }
                if (claimed) continue;
                double iou = overlap(e, box_edges(boxes + 4 * o));
                if (iou > best) {
                    best = iou;
                    object = k;
                }
            }
            double t[4] = {0.0, 0.0, 0.0, 0.0};
            if (object >= 0 && (claimed || best >= config[0])) {
                Edges g = box_edges(boxes + 4 * ((long long)image * objects + object));
                label = 1 + kinds[(long long)image * objects + object];
                t[0] = ((g.x1 + g.x2) / 2.0 - p[0]) / mul_rn(config[2], p[2]);
                t[1] = ((g.y1 + g.y2) / 2.0 - p[1]) / mul_rn(config[2], p[3]);
                t[2] = log((g.x2 - g.x1) / p[2]) / config[3];
                t[3] = log((g.y2 - g.y1) / p[3]) / config[3];
                atomicAdd(positives, 1);
            }
            for (int k = 0; k < objects && label == 0; k++) {
                long long o = (long long)image * objects + k;
                if (kinds[o] == PADDING) break;
                if (kinds[o] != IGNORED) continue;
                double both = common(e, box_edges(boxes + 4 * o));
                if (both > 0.0 && both >= mul_rn(config[1], area(e))) label = NEITHER;
            }
            long long out = (long long)image * count + i;
            labels[out] = label;
            for (int k = 0; k < 4; k++) offsets[4 * out + k] = (float)t[k];
        }
    }
}
