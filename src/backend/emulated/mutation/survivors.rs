//! Mutants that no case can tell from the kernel, each with the reason. A survivor that is not here fails the tests.

mod conv;
mod feed;
mod node;

/// A mutant by the text of its line.
pub struct Survivor {
    /// Name of the file.
    pub file: &'static str,
    /// The line of the kernel.
    pub before: &'static str,
    /// The line of the mutant.
    pub after: &'static str,
    /// Why both compute the same.
    pub why: &'static str,
}

const COMMUTES: &str = "a sum or product of two numbers is the same in either order";
const MEET: &str = "both pieces of smooth L1 have this value where they meet";
const LOOSE: &str = "more positions are visited; those that do not read the value have the share 0";
const SPARE: &str = "terms beyond the last repeat the first; what is made of them is not used";
const NEVER: &str = "beyond the bend the difference is not 0";

/// All of them.
pub fn survivors() -> impl Iterator<Item = &'static Survivor> {
    let nodes = node::SURVIVORS.iter();
    SURVIVORS
        .iter()
        .chain(conv::SURVIVORS)
        .chain(feed::SURVIVORS)
        .chain(nodes)
}

/// Those of other kernels than the products of convolutions.
const SURVIVORS: &[Survivor] = &[
    Survivor {
        file: "node_sums.cu",
        before: "if (blockIdx.z > 0 && first >= all) return;",
        after: "if (blockIdx.z >= 0 && first >= all) return;",
        why: "a node has edges, so the first block has a term",
    },
    Survivor {
        file: "norm_maps.cuh",
        before: "while (walk.i + (U - 1) * walk.step < walk.n) {",
        after: "while (walk.i + (U + 1) * walk.step < walk.n) {",
        why: "a thread's last values are merged a load at a time, not sixteen: the same moments in another order",
    },
    Survivor {
        file: "norm_rows.cu",
        before: "while (r.i + (K - 1) * r.step < r.n) {",
        after: "while (r.i + (K + 1) * r.step < r.n) {",
        why: "a thread's last values are taken one at a time, not K: the same sums in another order",
    },
    Survivor {
        file: "optim.cu",
        before: "if (!(norm * 0.0 + loss * 0.0 == 0.0)) halted[0] = 1;",
        after: "if (!(norm * 0.0 - loss * 0.0 == 0.0)) halted[0] = 1;",
        why: "either is 0 where both are finite and NaN elsewhere",
    },
    Survivor {
        file: "optim.cu",
        before: "factor[0] = halted[0] ? -1.0f : clip > 0.0f && !(by > 1.0) ? (float)by : 1.0f;",
        after: "factor[0] = halted[0] ? -1.0f : clip > 0.0f && !(by >= 1.0) ? (float)by : 1.0f;",
        why: "a factor of exactly 1 is 1 either way",
    },
    Survivor {
        file: "optim.cu",
        before: "float first = mul_rn(b1, m[i]) + mul_rn(c1, g), second = mul_rn(b2, v[i]) + mul_rn(mul_rn(c2, g), g);",
        after: "float first = mul_rn(b1, m[i]) + mul_rn(g, c1), second = mul_rn(b2, v[i]) + mul_rn(mul_rn(c2, g), g);",
        why: COMMUTES,
    },
    Survivor {
        file: "optim.cu",
        before: "p[i] -= mul_rn(step, first) / (sqrtf(second) / root + eps);",
        after: "p[i] -= mul_rn(first, step) / (sqrtf(second) / root + eps);",
        why: COMMUTES,
    },
    Survivor {
        file: "softmax.cu",
        before: "for (int d = WARP_SIZE / 2; d > 0; d /= 2) v = fmaxf(v, __shfl_xor_sync(FULL_WARP, v, d));",
        after: "for (int d = WARP_SIZE * 2; d > 0; d /= 2) v = fmaxf(v, __shfl_xor_sync(FULL_WARP, v, d));",
        why: "lanes count from 0 to 31: a distance of one warp or two is none, and a maximum with oneself changes nothing",
    },
    Survivor {
        file: "sum.cu",
        before: "if (k < terms) {",
        after: "if (k <= terms) {",
        why: SPARE,
    },
    Survivor {
        file: "sum.cu",
        before: "if (sum_packs(t, row, n)) weighted_sum_bwd_values<T, PACK<T>>(t, w, dy, dot, terms, want, dots, row, n);",
        after: "if (sum_packs(t, n, row)) weighted_sum_bwd_values<T, PACK<T>>(t, w, dy, dot, terms, want, dots, row, n);",
        why: COMMUTES,
    },
    Survivor {
        file: "sum.cu",
        before: "if (!dots) return;",
        after: "if (false) return;",
        why: "the products that nobody asked for are written where nobody reads",
    },
    Survivor {
        file: "optim.cu",
        before: "float first = mul_rn(b1, m[i]) + mul_rn(c1, g), second = mul_rn(b2, v[i]) + mul_rn(mul_rn(c2, g), g);",
        after: "float first = mul_rn(b1, m[i]) + mul_rn(c1, g), second = mul_rn(b2, v[i]) + mul_rn(mul_rn(g, c2), g);",
        why: COMMUTES,
    },
    Survivor {
        file: "sum.cu",
        before: "if (k < terms) {",
        after: "if (true) {",
        why: SPARE,
    },
    Survivor {
        file: "sum.cu",
        before: "if (sum_packs(t, row, n)) weighted_sum_values<T, PACK<T>>(t, w, before, y, terms, add, row, n);",
        after: "if (sum_packs(t, n, row)) weighted_sum_values<T, PACK<T>>(t, w, before, y, terms, add, row, n);",
        why: COMMUTES,
    },
    Survivor {
        file: "detect_decode.cu",
        before: "return scores[i] > least;",
        after: "return scores[i] >= least;",
        why: "scores of exactly the least rank after all those that are wanted",
    },
    Survivor {
        file: "detect_decode.cu",
        before: "float both = mul_rn(w, h);",
        after: "float both = mul_rn(h, w);",
        why: COMMUTES,
    },
    Survivor {
        file: "detect_decode.cu",
        before: "if ((j & d) == 0 && (order[j] < order[o]) == falling) {",
        after: "if ((j & d) == 0 && (order[j] <= order[o]) == falling) {",
        why: "all that are equal are places without a box",
    },
    Survivor {
        file: "detect_match.cu",
        before: "double both = common(p, g);",
        after: "double both = common(g, p);",
        why: "two boxes have the same in common in either order",
    },
    Survivor {
        file: "detect_match.cu",
        before: "if (kinds[o] == PADDING) break;",
        after: "if (false) break;",
        why: "rows of padding are passed one by one, being neither objects nor ignored",
    },
    Survivor {
        file: "detect_match.cu",
        before: "if (t < d && (top[t + d] > top[t] || (top[t + d] == top[t] && (unsigned)at[t + d] < (unsigned)at[t]))) {",
        after: "if (t < d && (top[t + d] > top[t] || (top[t + d] == top[t] && (unsigned)at[t + d] <= (unsigned)at[t]))) {",
        why: "the same place only where both have none",
    },
    Survivor {
        file: "detect_select.cuh",
        before: "for (int from = 0; from < n; from += blockDim.x) {",
        after: "for (int from = 0; from <= n; from += blockDim.x) {",
        why: "a step that begins at the end has no value",
    },
    Survivor {
        file: "reduce.cu",
        before: "long long packs = row % PACK<T> == 0 ? row / PACK<T> : 0;",
        after: "long long packs = row / PACK<T> == 0 ? row / PACK<T> : 0;",
        why: "always 0: every value by itself, which is slower",
    },
    Survivor {
        file: "reduce.cuh",
        before: "if (warp == 0) v = lanes_sum(lane < blockDim.x / WARP_SIZE ? tile[lane] : (T)0);",
        after: "if (true) v = lanes_sum(lane < blockDim.x / WARP_SIZE ? tile[lane] : (T)0);",
        why: "the other warps add up what nobody reads",
    },
    Survivor {
        file: "norm_sync.cu",
        before: "mean[c] = s.mean, var[c] = w.m2 / fmaxf(w.n, 1.0f), rest[c] = s.rest, rest[n + c] = w.n;",
        after: "mean[c] = s.mean, var[c] = w.m2 / fmaxf(w.n, 2.0f), rest[c] = s.rest, rest[n + c] = w.n;",
        why: "of a single value the sum of squares is 0",
    },
    Survivor {
        file: "resample.cu",
        before: "lo = min(at, size - 1), hi = min(lo + 1, size - 1);",
        after: "lo = min(at, size + 1), hi = min(lo + 1, size - 1);",
        why: "no position lies beyond the last value",
    },
    Survivor {
        file: "resample.cu",
        before: "lo = min(at, size - 1), hi = min(lo + 1, size - 1);",
        after: "lo = min(at, size - 0), hi = min(lo + 1, size - 1);",
        why: "no position lies beyond the last value",
    },
    Survivor {
        file: "resample.cu",
        before: "int n = corners ? (at - 1) * den() : (at - 1) * den() + out - size, d = corners ? size - 1 : 2 * size;",
        after: "int n = corners ? (at - 1) * den() : (at - 1) * den() - out - size, d = corners ? size - 1 : 2 * size;",
        why: LOOSE,
    },
    Survivor {
        file: "resample.cu",
        before: "int n = corners ? (at - 1) * den() : (at - 1) * den() + out - size, d = corners ? size - 1 : 2 * size;",
        after: "int n = corners ? (at - 1) * den() : (at - 1) * den() + out + size, d = corners ? size - 1 : 2 * size;",
        why: "one position later: the first one has the share 0",
    },
    Survivor {
        file: "resample.cu",
        before: "int n = corners ? (at + 1) * den() : (at + 1) * den() + out - size, d = corners ? size - 1 : 2 * size;",
        after: "int n = corners ? (at + 1) * den() : (at + 1) * den() + out + size, d = corners ? size - 1 : 2 * size;",
        why: LOOSE,
    },
    Survivor {
        file: "resample.cu",
        before: "return min(max(n, 0) / d + 1, out);",
        after: "return min(max(n, 0) * d + 1, out);",
        why: LOOSE,
    },
    Survivor {
        file: "resample.cu",
        before: "sum = fmaf(s, line, sum);",
        after: "sum = fmaf(line, s, sum);",
        why: COMMUTES,
    },
    Survivor {
        file: "resample.cu",
        before: "nearest_bwd(dy, dx, planes, h, w, factor);",
        after: "nearest_bwd(dy, dx, h, planes, w, factor);",
        why: "rows of all planes follow one another: only the product of the two counts",
    },
    Survivor {
        file: "resample.cu",
        before: "int n = corners ? (at - 1) * den() : (at - 1) * den() + out - size, d = corners ? size - 1 : 2 * size;",
        after: "int n = corners ? (at - 1) * den() : (at - 1) * den() + out - size, d = corners ? size + 1 : 2 * size;",
        why: LOOSE,
    },
    Survivor {
        file: "resample.cu",
        before: "int n = corners ? (at - 1) * den() : (at - 1) * den() + out - size, d = corners ? size - 1 : 2 * size;",
        after: "int n = corners ? (at - 1) * den() : (at - 1) * den() + out - size, d = corners ? size - 0 : 2 * size;",
        why: LOOSE,
    },
    Survivor {
        file: "resample.cu",
        before: "int n = corners ? (at + 1) * den() : (at + 1) * den() + out - size, d = corners ? size - 1 : 2 * size;",
        after: "int n = corners ? (at + 1) * den() : (at + 1) * den() + out - size, d = corners ? size - 1 : 2 + size;",
        why: LOOSE,
    },
    Survivor {
        file: "resample.cu",
        before: "nearest(x, adds ? plus : nullptr, y, planes, h, w, factor);",
        after: "nearest(x, adds ? plus : nullptr, y, h, planes, w, factor);",
        why: "rows of all planes follow one another: only the product of the two counts",
    },
    Survivor {
        file: "depthwise.cu",
        before: "return ((l.tx - 1) * 4 * S + FIRST + FOURS * 4 + VECTOR - 1) / VECTOR * VECTOR;",
        after: "return ((l.tx - 1) * 4 * S + FIRST + FOURS * 4 + VECTOR - 0) / VECTOR * VECTOR;",
        why: "rows of a tile longer than they need be",
    },
    Survivor {
        file: "depthwise.cu",
        before: "const unsigned all = (unsigned)(images + l.planes - 1) / (unsigned)l.planes * cells;",
        after: "const unsigned all = (unsigned)(images + l.planes - 0) / (unsigned)l.planes * cells;",
        why: "units of images that there are none of, which add nothing",
    },
    Survivor {
        file: "loss.cu",
        before: "__device__ inline float smooth_value(float d, float b) { return fabsf(d) < b ? 0.5f * d * d / b : fabsf(d) - 0.5f * b; }",
        after: "__device__ inline float smooth_value(float d, float b) { return fabsf(d) <= b ? 0.5f * d * d / b : fabsf(d) - 0.5f * b; }",
        why: MEET,
    },
    Survivor {
        file: "loss.cu",
        before: "__device__ inline float smooth_slope(float d, float b) { return fabsf(d) < b ? d / b : d > 0.0f ? 1.0f : -1.0f; }",
        after: "__device__ inline float smooth_slope(float d, float b) { return fabsf(d) <= b ? d / b : d > 0.0f ? 1.0f : -1.0f; }",
        why: MEET,
    },
    Survivor {
        file: "loss.cu",
        before: "__device__ inline float smooth_slope(float d, float b) { return fabsf(d) < b ? d / b : d > 0.0f ? 1.0f : -1.0f; }",
        after: "__device__ inline float smooth_slope(float d, float b) { return fabsf(d) < b ? d / b : d >= 0.0f ? 1.0f : -1.0f; }",
        why: NEVER,
    },
    Survivor {
        file: "loss_cosine.cu",
        before: "float g = m[i] * (dy[0] * factor) / v.a, along = v.own ? v.cosine / v.a : 0.0f;",
        after: "float g = m[i] * (dy[0] * factor) / v.a, along = v.own ? v.cosine / v.a : 1.0f;",
        why: "of vectors shorter than 1e-8, which are lost beside the direction of the target",
    },
    Survivor {
        file: "loss_multibox.cu",
        before: "place += d < 1.0f ? 0.5f * d * d : d - 0.5f;",
        after: "place += d <= 1.0f ? 0.5f * d * d : d - 0.5f;",
        why: MEET,
    },
    Survivor {
        file: "loss_multibox.cu",
        before: "v = (fabsf(x) < 1.0f ? x : x > 0.0f ? 1.0f : -1.0f) * g;",
        after: "v = (fabsf(x) <= 1.0f ? x : x > 0.0f ? 1.0f : -1.0f) * g;",
        why: MEET,
    },
    Survivor {
        file: "loss_multibox.cu",
        before: "v = (fabsf(x) < 1.0f ? x : x > 0.0f ? 1.0f : -1.0f) * g;",
        after: "v = (fabsf(x) < 1.0f ? x : x >= 0.0f ? 1.0f : -1.0f) * g;",
        why: NEVER,
    },
    Survivor {
        file: "loss_multibox.cu",
        before: "multibox_bwd_loc(loc, labels, offsets, dy, d, den, sign, values, width, n);",
        after: "multibox_bwd_loc(loc, labels, offsets, dy, d, den, sign, width, values, n);",
        why: "of the entry for values of a prior: `width` is `values` there",
    },
    Survivor {
        file: "sum.cu",
        before: "UNROLL for (int k = 0; k < SUM_TERMS; k++)",
        after: "UNROLL for (int k = 0; k <= SUM_TERMS; k++)",
        why: "the guard in the body lets no term through that is not there",
    },
    Survivor {
        file: "sum.cu",
        before: "if (dots) {",
        after: "if (true) {",
        why: "products that nobody asks for: the kernel leaves before it stores them",
    },
    Survivor {
        file: "enlarge.cu",
        before: "for (int r = 0; r < R * F; r++) {",
        after: "for (int r = 0; r <= R * F; r++) {",
        why: "the guard in the body lets no row through that is not there",
    },
    Survivor {
        file: "pool.cuh",
        before: "if (k >= W::S * rows || iy >= s.h) continue;",
        after: "if (k > W::S * rows || iy >= s.h) continue;",
        why: "a strip has fewer rows at the end of the map alone, where the other condition holds",
    },
    Survivor {
        file: "pool.cuh",
        before: "template <typename W> constexpr int POOL_IN = W::S * (W::ROWS - 1) + W::K;",
        after: "template <typename W> constexpr int POOL_IN = W::S * (W::ROWS + 1) + W::K;",
        why: "rows that are read beside those that are needed",
    },
    Survivor {
        file: "pool.cuh",
        before: "over_strips<R, V>(s.planes, (s.h + W::S - 1) / W::S, s.wo / V, [&](long long p, int oy, int rows, int ox) {",
        after: "over_strips<R, V>(s.planes, (s.h + W::S - 1) * W::S, s.wo / V, [&](long long p, int oy, int rows, int ox) {",
        why: "strips beyond the end of a map, which store nothing",
    },
    Survivor {
        file: "maps.cu",
        before: "extern \"C\" __global__ void mul_f32(const float *a, const float *b, float *y, long long n) { mul(a, b, y, n); }",
        after: "extern \"C\" __global__ void mul_f32(const float *a, const float *b, float *y, long long n) { mul(b, a, y, n); }",
        why: COMMUTES,
    },
    Survivor {
        file: "maps.cu",
        before: "extern \"C\" __global__ void mul_bf16(const bf16 *a, const bf16 *b, bf16 *y, long long n) { mul(a, b, y, n); }",
        after: "extern \"C\" __global__ void mul_bf16(const bf16 *a, const bf16 *b, bf16 *y, long long n) { mul(b, a, y, n); }",
        why: COMMUTES,
    },
    Survivor {
        file: "random.cu",
        before: "for (long long i = 4 * global_index(); i < n; i += 4 * global_size()) {",
        after: "for (long long i = 4 * global_index(); i <= n; i += 4 * global_size()) {",
        why: "four values that begin at the end: none of them is there",
    },
    Survivor {
        file: "random.cu",
        before: "long long packs = row % PACK<T> == 0 ? row / PACK<T> : 0;",
        after: "long long packs = row / PACK<T> == 0 ? row / PACK<T> : 0;",
        why: "always 0: every value by itself, which is slower",
    },
    Survivor {
        file: "resample.cu",
        before: "return n > 0 ? n / d : 0;",
        after: "return n >= 0 ? n / d : 0;",
        why: "0 / d is 0",
    },
    Survivor {
        file: "elementwise.cu",
        before: "extern \"C\" __global__ void add_f32(const float *a, const float *b, float *y, long long n) { add(a, b, y, n); }",
        after: "extern \"C\" __global__ void add_f32(const float *a, const float *b, float *y, long long n) { add(b, a, y, n); }",
        why: COMMUTES,
    },
    Survivor {
        file: "elementwise.cu",
        before: "extern \"C\" __global__ void add_bf16(const bf16 *a, const bf16 *b, bf16 *y, long long n) { add(a, b, y, n); }",
        after: "extern \"C\" __global__ void add_bf16(const bf16 *a, const bf16 *b, bf16 *y, long long n) { add(b, a, y, n); }",
        why: COMMUTES,
    },
];
