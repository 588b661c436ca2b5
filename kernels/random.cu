// Dropout and drop path. The random bits are those of src/rng.rs: Philox 4x32-10 (Salmon et al., SC 2011), a pure function of seed,
// stream and counter, so the backward draws the mask again and the host draws the same one.
#include "reduce.cuh"

typedef unsigned long long u64;

// SplitMix64 finaliser over the combination of two words; as `mix` in src/rng.rs.
__device__ inline u64 mix(u64 a, u64 b) {
    u64 z = (a << 23 | a >> 41) ^ (b * 0x9E3779B97F4A7C15ull + 0xD1B54A32D192ED03ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

// Four words of a stream. src/rng.rs hands them out from the last to the first.
struct Words {
    unsigned w[4];
};
__device__ inline Words philox(u64 seed, u64 stream, u64 counter) {
    unsigned c0 = (unsigned)counter, c1 = (unsigned)(counter >> 32), c2 = (unsigned)stream, c3 = (unsigned)(stream >> 32);
    unsigned k0 = (unsigned)seed, k1 = (unsigned)(seed >> 32);
    for (int r = 0; r < 10; r++) {
        u64 p0 = (u64)0xD2511F53u * c0, p1 = (u64)0xCD9E8D57u * c2;
        c0 = (unsigned)(p1 >> 32) ^ c1 ^ k0;
        c1 = (unsigned)p1;
        c2 = (unsigned)(p0 >> 32) ^ c3 ^ k1;
        c3 = (unsigned)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return Words{{c0, c1, c2, c3}};
}

// Elements of one stream of dropout.
constexpr long long DROPOUT_PIECE = 4096;

// What a step draws with, in device memory so that a recorded step draws anew (`draw_words` in src/ops/dropout.rs): seed, what the
// numbers of its streams have in common, the bound below which 32 bits drop and the f32 that the others are multiplied by, the same for
// 53 bits.
enum Draw { SEED, PREFIX, BELOW_32, KEEP_32, BELOW_53, KEEP_53 };

// y = 0 x or keep x; an element is dropped when its 32 bits are below the bound. Four elements a thread.
template <typename T>
__device__ void dropout(const T *x, T *y, const long long *draw, long long which, long long n) {
    u64 seed = (u64)draw[SEED], prefix = mix((u64)draw[PREFIX], (u64)which);
    long long below = draw[BELOW_32];
    float keep = *(const float *)(draw + KEEP_32);
    for (long long i = 4 * global_index(); i < n; i += 4 * global_size()) {
        u64 stream = mix(prefix, (u64)(i / DROPOUT_PIECE));
        Words r = philox(seed, stream, (u64)(i % DROPOUT_PIECE / 4));
        for (int k = 0; k < 4; k++)
            if (i + k < n) y[i + k] = from_float<T>(to_float(x[i + k]) * ((long long)r.w[3 - k] < below ? 0.0f : keep));
    }
}
extern "C" __global__ void dropout_f32(const float *x, float *y, const long long *draw, long long which, long long n) {
    dropout(x, y, draw, which, n);
}
extern "C" __global__ void dropout_bf16(const bf16 *x, bf16 *y, const long long *draw, long long which, long long n) {
    dropout(x, y, draw, which, n);
}

// y = 0 x or keep x, one choice for each image of `row` elements: dropped when its 53 bits are below the bound.
template <typename T>
__device__ void drop_path(const T *x, T *y, const long long *draw, long long which, long long images, long long row) {
    u64 seed = (u64)draw[SEED], prefix = mix((u64)draw[PREFIX], (u64)which);
    long long below = draw[BELOW_53];
    float keep = *(const float *)(draw + KEEP_53);
    for (long long image = blockIdx.y; image < images; image += gridDim.y) {
        Words r = philox(seed, mix(prefix, (u64)image), 0);
        long long bits = (long long)(((u64)r.w[3] << 32 | r.w[2]) >> 11);
        float v[PACK<T>], m = bits < below ? 0.0f : keep;
        const T *from = x + image * row;
        T *to = y + image * row;
        // Images lie on multiples of 16 bytes or are taken one by one.
        long long packs = row % PACK<T> == 0 ? row / PACK<T> : 0;
        for (long long i = global_index(); i < packs; i += global_size()) {
            load_pack(from + i * PACK<T>, v);
            for (int k = 0; k < PACK<T>; k++) v[k] *= m;
            store_pack(to + i * PACK<T>, v);
        }
        for (long long i = packs * PACK<T> + global_index(); i < row; i += global_size()) to[i] = from_float<T>(m * to_float(from[i]));
    }
}
extern "C" __global__ void drop_path_f32(const float *x, float *y, const long long *draw, long long which, long long images,
                                         long long row) {
    drop_path(x, y, draw, which, images, row);
}
extern "C" __global__ void drop_path_bf16(const bf16 *x, bf16 *y, const long long *draw, long long which, long long images,
                                          long long row) {
    drop_path(x, y, draw, which, images, row);
}
