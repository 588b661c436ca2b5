//! Of the kernels that make network input.

use super::{COMMUTES, Survivor};

const RENAMED: &str = "words of a tap change places, for who writes them and who reads them";
const BOUNDED: &str = "the largest weight is between 2^-7 and 1, so the loop ends between";
const ROUND: &str = "a hue of 360 degrees is one of 0";
const GUARD: &str = "only rounding could lead behind the last pixel";

pub(super) const SURVIVORS: &[Survivor] = &[
    Survivor {
        file: "feed.cu",
        before: "enum Tap { FIRST, COUNT, PRECISION, TAP_HEAD };",
        after: "enum Tap { COUNT, FIRST, PRECISION, TAP_HEAD };",
        why: RENAMED,
    },
    Survivor {
        file: "feed.cu",
        before: "enum Tap { FIRST, COUNT, PRECISION, TAP_HEAD };",
        after: "enum Tap { FIRST, PRECISION, COUNT, TAP_HEAD };",
        why: RENAMED,
    },
    Survivor {
        file: "feed.cu",
        before: "return d < 1.0 ? 1.0 - d : 0.0;",
        after: "return d <= 1.0 ? 1.0 - d : 0.0;",
        why: "a weight of 0 either way",
    },
    Survivor {
        file: "feed.cu",
        before: "if (!whole)",
        after: "if (true)",
        why: "what a whole picture would be resampled by is not used",
    },
    Survivor {
        file: "feed.cu",
        before: "for (int d = t; d < n; d += blockDim.x) {",
        after: "for (int d = t; d < n; d += blockDim.y) {",
        why: "every thread takes what others take too, and writes the same",
    },
    Survivor {
        file: "feed.cu",
        before: "int precision = 0;",
        after: "int precision = 1;",
        why: "set by the first round",
    },
    Survivor {
        file: "feed.cu",
        before: "for (int p = 0; p < 22; p++) {",
        after: "for (int p = 1; p < 22; p++) {",
        why: BOUNDED,
    },
    Survivor {
        file: "feed.cu",
        before: "for (int p = 0; p < 22; p++) {",
        after: "for (int p = 0; p <= 22; p++) {",
        why: BOUNDED,
    },
    Survivor {
        file: "feed.cu",
        before: "if (whole || round(mul_rn(tops[0], (double)(1 << (p + 1)))) >= 32768.0) break;",
        after: "if (false || round(mul_rn(tops[0], (double)(1 << (p + 1)))) >= 32768.0) break;",
        why: "the precision of a whole picture is set behind the loop",
    },
    Survivor {
        file: "feed.cu",
        before: "__device__ inline float within(float v, float top) { return v < 0.0f ? 0.0f : v > top ? top : v; }",
        after: "__device__ inline float within(float v, float top) { return v <= 0.0f ? 0.0f : v > top ? top : v; }",
        why: "0 is 0 either way",
    },
    Survivor {
        file: "feed.cu",
        before: "if (v >= by) v -= by;",
        after: "if (v > by) v -= by;",
        why: ROUND,
    },
    Survivor {
        file: "feed.cu",
        before: "return v < 0.0f ? v + by : v;",
        after: "return v <= 0.0f ? v + by : v;",
        why: ROUND,
    },
    Survivor {
        file: "feed.cu",
        before: "float r = p[0], g = p[1], b = p[2], top = fmaxf(fmaxf(r, g), b), d = top - fminf(fminf(r, g), b), h = 0.0f, s = 0.0f;",
        after: "float r = p[0], g = p[1], b = p[2], top = fmaxf(fmaxf(g, r), b), d = top - fminf(fminf(r, g), b), h = 0.0f, s = 0.0f;",
        why: COMMUTES,
    },
    Survivor {
        file: "feed.cu",
        before: "float r = p[0], g = p[1], b = p[2], top = fmaxf(fmaxf(r, g), b), d = top - fminf(fminf(r, g), b), h = 0.0f, s = 0.0f;",
        after: "float r = p[0], g = p[1], b = p[2], top = fmaxf(fmaxf(r, g), b), d = top - fminf(fminf(g, r), b), h = 0.0f, s = 0.0f;",
        why: COMMUTES,
    },
    Survivor {
        file: "feed.cu",
        before: "float r = p[0], g = p[1], b = p[2], top = fmaxf(fmaxf(r, g), b), d = top - fminf(fminf(r, g), b), h = 0.0f, s = 0.0f;",
        after: "float r = p[0], g = p[1], b = p[2], top = fmaxf(fmaxf(r, g), b), d = top - fminf(fminf(r, g), b), h = 1.0f, s = 0.0f;",
        why: "a grey has no saturation, so its hue does not matter",
    },
    Survivor {
        file: "feed.cu",
        before: "s = fminf(mul_rn(s, saturation), 1.0f);",
        after: "s = fminf(mul_rn(saturation, s), 1.0f);",
        why: COMMUTES,
    },
    Survivor {
        file: "feed.cu",
        before: "p[c] = top - mul_rn(mul_rn(top, s), within(fminf(k, 4.0f - k), 1.0f));",
        after: "p[c] = top - mul_rn(mul_rn(s, top), within(fminf(k, 4.0f - k), 1.0f));",
        why: COMMUTES,
    },
    Survivor {
        file: "feed.cu",
        before: "if (steps & LIGHTER) UNROLL for (int c = 0; c < 3; c++) p[c] = within(p[c] + as_float(row + BRIGHTNESS), 255.0f);",
        after: "if (true) UNROLL for (int c = 0; c < 3; c++) p[c] = within(p[c] + as_float(row + BRIGHTNESS), 255.0f);",
        why: "a step that is not taken has brightness 0",
    },
    Survivor {
        file: "feed.cu",
        before: "if ((steps & CONTRASTED) && (steps & CONTRAST_FIRST)) feed_contrast(p, as_float(row + CONTRAST));",
        after: "if (true && (steps & CONTRAST_FIRST)) feed_contrast(p, as_float(row + CONTRAST));",
        why: "a step that is not taken has contrast 1",
    },
    Survivor {
        file: "feed.cu",
        before: "return s < source - 1 ? s : source - 1;",
        after: "return s < source + 1 ? s : source - 1;",
        why: GUARD,
    },
    Survivor {
        file: "feed.cu",
        before: "return s < source - 1 ? s : source - 1;",
        after: "return s < source - 0 ? s : source - 1;",
        why: GUARD,
    },
    Survivor {
        file: "feed.cu",
        before: "if (whole || round(mul_rn(tops[0], (double)(1 << (p + 1)))) >= 32768.0) break;",
        after: "if (whole || round(mul_rn(tops[(0) + 1], (double)(1 << (p + 1)))) >= 32768.0) break;",
        why: "the heaviest of every other position asks for the same precision wherever there are many",
    },
];
