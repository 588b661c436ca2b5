//! Those of the products of convolutions.

use super::Survivor;

const IDLE: &str = "a turn more, of a tile that begins at the end: nothing is loaded or stored";
const NO_CHANNEL: &str = "a tile more, of no channel: nothing is loaded or stored";
const PADDING: &str = "what is written stands between the rows";
const THREADS: &str = "a thread's part of the tile is as high as it was wide: the same sums";
const ROWS: &str = "rows beyond the tile, which are not stored";
const SKIPPED: &str = "fewer products of zeros are skipped; their sums are not stored";
const LONGER: &str = "rows of shared memory longer than they need be";
const TIMES_ZERO: &str = "the other operand is 0 there, or the sum is not stored";

/// All of them.
pub const SURVIVORS: &[Survivor] = &[
    Survivor {
        file: "conv_sums.cu",
        before: "for (int i0 = blockIdx.x * ACROSS; i0 < n; i0 += gridDim.x * ACROSS) {",
        after: "for (int i0 = blockIdx.x * ACROSS; i0 <= n; i0 += gridDim.x * ACROSS) {",
        why: IDLE,
    },
    Survivor {
        file: "conv_sums.cu",
        before: "SHARED(float, warps, THREADS / WARP_SIZE);",
        after: "SHARED(float, warps, THREADS * WARP_SIZE);",
        why: "more shared memory than is used",
    },
    Survivor {
        file: "conv.cuh",
        before: "float4 four = load4(b + j);",
        after: "float4 four = load4(b - j);",
        why: "tiles of a thread are four wide: j is 0",
    },
    Survivor {
        file: "conv.cuh",
        before: "if (count == BK) {",
        after: "if (count != BK) {",
        why: "the same loop, unrolled or not; rows after the last are 0",
    },
    Survivor {
        file: "conv.cuh",
        before: "for (int r = 0; r < count; r++) multiply_one<TM, TN>(a + r * lda, b + r * ldb, acc);",
        after: "for (int r = 0; r <= count; r++) multiply_one<TM, TN>(a + r * lda, b + r * ldb, acc);",
        why: "the row after the last is 0",
    },
    Survivor {
        file: "conv_gather.cu",
        before: "const int row_tiles = (s.rows + BM - 1) / BM;",
        after: "const int row_tiles = (s.rows + BM + 1) / BM;",
        why: NO_CHANNEL,
    },
    Survivor {
        file: "conv_gather.cu",
        before: "const int row_tiles = (s.rows + BM - 1) / BM;",
        after: "const int row_tiles = (s.rows + BM - 0) / BM;",
        why: NO_CHANNEL,
    },
    Survivor {
        file: "conv_gather.cu",
        before: "for (long long col0 = (long long)blockIdx.x * BN; col0 < columns; col0 += (long long)gridDim.x * BN) {",
        after: "for (long long col0 = (long long)blockIdx.x * BN; col0 <= columns; col0 += (long long)gridDim.x * BN) {",
        why: IDLE,
    },
    Survivor {
        file: "conv_gather.cu",
        before: "for (int c0 = 0; c0 < s.depth; c0 += BK) {",
        after: "for (int c0 = 0; c0 <= s.depth; c0 += BK) {",
        why: IDLE,
    },
    Survivor {
        file: "conv_gather_mma.cu",
        before: "const int row_tiles = (s.rows + BM - 1) / BM;",
        after: "const int row_tiles = (s.rows + BM + 1) / BM;",
        why: NO_CHANNEL,
    },
    Survivor {
        file: "conv_gather_mma.cu",
        before: "const int row_tiles = (s.rows + BM - 1) / BM;",
        after: "const int row_tiles = (s.rows + BM - 0) / BM;",
        why: NO_CHANNEL,
    },
    Survivor {
        file: "conv_gather_mma.cu",
        before: "for (long long col0 = (long long)blockIdx.x * BN; col0 < columns; col0 += (long long)gridDim.x * BN) {",
        after: "for (long long col0 = (long long)blockIdx.x * BN; col0 <= columns; col0 += (long long)gridDim.x * BN) {",
        why: IDLE,
    },
    Survivor {
        file: "conv_gather_mma.cu",
        before: "for (int c0 = 0; c0 < s.depth; c0 += BK) {",
        after: "for (int c0 = 0; c0 <= s.depth; c0 += BK) {",
        why: IDLE,
    },
    Survivor {
        file: "conv_gather.cu",
        before: "weights[i] = wr < count && row0 + wm + i * W_STEP < s.rows ? filter[c0 * to_depth + i * to_row] : 0.0f;",
        after: "weights[i] = wr < count && row0 + wm + i * W_STEP < s.rows ? filter[c0 * to_depth + i * to_row] : 1.0f;",
        why: TIMES_ZERO,
    },
    Survivor {
        file: "conv_bwd_w.cu",
        before: "const int pairs = s.depth * taps, row_tiles = (s.rows + BM - 1) / BM, pair_tiles = (pairs + BN - 1) / BN;",
        after: "const int pairs = s.depth * taps, row_tiles = (s.rows + BM + 1) / BM, pair_tiles = (pairs + BN - 1) / BN;",
        why: NO_CHANNEL,
    },
    Survivor {
        file: "conv_bwd_w.cu",
        before: "const int pairs = s.depth * taps, row_tiles = (s.rows + BM - 1) / BM, pair_tiles = (pairs + BN - 1) / BN;",
        after: "const int pairs = s.depth * taps, row_tiles = (s.rows + BM - 0) / BM, pair_tiles = (pairs + BN - 1) / BN;",
        why: NO_CHANNEL,
    },
    Survivor {
        file: "conv_bwd_w.cu",
        before: "const int pairs = s.depth * taps, row_tiles = (s.rows + BM - 1) / BM, pair_tiles = (pairs + BN - 1) / BN;",
        after: "const int pairs = s.depth * taps, row_tiles = (s.rows + BM - 1) / BM, pair_tiles = (pairs + BN + 1) / BN;",
        why: NO_CHANNEL,
    },
    Survivor {
        file: "conv_bwd_w.cu",
        before: "const int pairs = s.depth * taps, row_tiles = (s.rows + BM - 1) / BM, pair_tiles = (pairs + BN - 1) / BN;",
        after: "const int pairs = s.depth * taps, row_tiles = (s.rows + BM - 1) / BM, pair_tiles = (pairs + BN - 0) / BN;",
        why: NO_CHANNEL,
    },
    Survivor {
        file: "conv_bwd_w.cu",
        before: "for (long long k0 = begin; k0 < end; k0 += BK) {",
        after: "for (long long k0 = begin; k0 <= end; k0 += BK) {",
        why: IDLE,
    },
    Survivor {
        file: "conv_bwd_w.cu",
        before: "for (int m = tid / FOURS; m < BM; m += FOUR_STEP) {",
        after: "for (int m = tid / FOURS; m <= BM; m += FOUR_STEP) {",
        why: PADDING,
    },
    Survivor {
        file: "conv_bwd_w.cu",
        before: "for (int m = tid / BK; m < BM; m += STEP) a[lane * LDA + m] = one < end && row0 + m < s.rows ? from[(row0 + m) * (ROWS ? 1 : out)] : 0.0f;",
        after: "for (int m = tid / BK; m <= BM; m += STEP) a[lane * LDA + m] = one < end && row0 + m < s.rows ? from[(row0 + m) * (ROWS ? 1 : out)] : 0.0f;",
        why: PADDING,
    },
    Survivor {
        file: "conv_bwd_w.cu",
        before: "for (int m = tid / BK; m < BM; m += STEP) a[lane * LDA + m] = one < end && row0 + m < s.rows ? from[(row0 + m) * (ROWS ? 1 : out)] : 0.0f;",
        after: "for (int m = tid / BK; m < BM; m += STEP) a[lane * LDA + m] = one < end && row0 + m < s.rows ? from[(row0 + m) * (ROWS ? 1 : out)] : 1.0f;",
        why: TIMES_ZERO,
    },
    Survivor {
        file: "conv_bwd_w.cu",
        before: "for (int j = tid / FOURS; j < BN; j += FOUR_STEP) {",
        after: "for (int j = tid / FOURS; j <= BN; j += FOUR_STEP) {",
        why: PADDING,
    },
    Survivor {
        file: "conv_bwd_w.cu",
        before: "const int count = (int)min((long long)BK, end - k0);",
        after: "const int count = (int)min((long long)BK, end + k0);",
        why: "the rows after the last pixel are 0",
    },
    Survivor {
        file: "conv_bwd_w.cu",
        before: "#define RUN(BM, BN, TM, TN, WARPS)                                                                              \\",
        after: "#define RUN(BM, BN, TN, TM, WARPS)                                                                              \\",
        why: THREADS,
    },
    Survivor {
        file: "conv_bwd_w.cu",
        before: "conv_bwd_w<BM, BN, TM, TN, WARPS>(x, dy, part, nullptr, a, b, table, chunks, chunk,                                  \\",
        after: "conv_bwd_w<BM, BN, TN, TM, WARPS>(x, dy, part, nullptr, a, b, table, chunks, chunk,                                  \\",
        why: THREADS,
    },
    Survivor {
        file: "conv_bwd_w_mma.cu",
        before: "const int pairs = s.depth * taps, row_tiles = (s.rows + BM - 1) / BM, pair_tiles = (pairs + BN - 1) / BN;",
        after: "const int pairs = s.depth * taps, row_tiles = (s.rows + BM + 1) / BM, pair_tiles = (pairs + BN - 1) / BN;",
        why: NO_CHANNEL,
    },
    Survivor {
        file: "conv_bwd_w_mma.cu",
        before: "const int pairs = s.depth * taps, row_tiles = (s.rows + BM - 1) / BM, pair_tiles = (pairs + BN - 1) / BN;",
        after: "const int pairs = s.depth * taps, row_tiles = (s.rows + BM - 0) / BM, pair_tiles = (pairs + BN - 1) / BN;",
        why: NO_CHANNEL,
    },
    Survivor {
        file: "conv_bwd_w_mma.cu",
        before: "const int pairs = s.depth * taps, row_tiles = (s.rows + BM - 1) / BM, pair_tiles = (pairs + BN - 1) / BN;",
        after: "const int pairs = s.depth * taps, row_tiles = (s.rows + BM - 1) / BM, pair_tiles = (pairs + BN + 1) / BN;",
        why: NO_CHANNEL,
    },
    Survivor {
        file: "conv_bwd_w_mma.cu",
        before: "const int pairs = s.depth * taps, row_tiles = (s.rows + BM - 1) / BM, pair_tiles = (pairs + BN - 1) / BN;",
        after: "const int pairs = s.depth * taps, row_tiles = (s.rows + BM - 1) / BM, pair_tiles = (pairs + BN - 0) / BN;",
        why: NO_CHANNEL,
    },
    Survivor {
        file: "conv_bwd_w_mma.cu",
        before: "for (long long k0 = begin; k0 < end; k0 += PIXELS) {",
        after: "for (long long k0 = begin; k0 <= end; k0 += PIXELS) {",
        why: IDLE,
    },
    Survivor {
        file: "conv_bwd_w_mma.cu",
        before: "for (int m = tid / 4; m < (BM + STEP - 1) / STEP * STEP; m += STEP) {",
        after: "for (int m = tid / 4; m <= (BM + STEP - 1) / STEP * STEP; m += STEP) {",
        why: ROWS,
    },
    Survivor {
        file: "conv_bwd_w_mma.cu",
        before: "for (int m = tid / 4; m < (BM + STEP - 1) / STEP * STEP; m += STEP) {",
        after: "for (int m = tid / 4; m < (BM + STEP + 1) / STEP * STEP; m += STEP) {",
        why: ROWS,
    },
    Survivor {
        file: "conv_bwd_w_mma.cu",
        before: "for (int m = tid / 4; m < (BM + STEP - 1) / STEP * STEP; m += STEP) {",
        after: "for (int m = tid / 4; m < (BM + STEP - 0) / STEP * STEP; m += STEP) {",
        why: ROWS,
    },
    Survivor {
        file: "conv_bwd_w_mma.cu",
        before: "a_half[m * 2 * PITCH + lane] = there ? from[(row0 + m) * (ROWS ? 1 : out)] : from_float<bf16>(0.0f);",
        after: "a_half[m * 2 * PITCH + lane] = there ? from[(row0 + m) * (ROWS ? 1 : out)] : from_float<bf16>(1.0f);",
        why: TIMES_ZERO,
    },
    Survivor {
        file: "conv_bwd_w_mma.cu",
        before: "if (pair0 + across + n * 8 >= pairs) break;",
        after: "if (pair0 + across - n * 8 >= pairs) break;",
        why: SKIPPED,
    },
    Survivor {
        file: "conv_bwd_w_mma.cu",
        before: "if (pair0 + across + n * 8 >= pairs) break;",
        after: "if (pair0 - across + n * 8 >= pairs) break;",
        why: SKIPPED,
    },
    Survivor {
        file: "conv_bwd_w_mma.cu",
        before: "if (pair0 + across + n * 8 >= pairs) break;",
        after: "if (pair0 + across + n * 8 > pairs) break;",
        why: SKIPPED,
    },
    Survivor {
        file: "conv_bwd_w_mma.cu",
        before: "if (pair0 + across + n * 8 >= pairs) break;",
        after: "if (false) break;",
        why: SKIPPED,
    },
    Survivor {
        file: "conv_gather_mma.cu",
        before: "if (row0 + down + m * 16 >= s.rows) break;",
        after: "if (row0 + down - m * 16 >= s.rows) break;",
        why: SKIPPED,
    },
    Survivor {
        file: "conv_gather_mma.cu",
        before: "if (row0 + down + m * 16 >= s.rows) break;",
        after: "if (row0 - down + m * 16 >= s.rows) break;",
        why: SKIPPED,
    },
    Survivor {
        file: "conv_gather_mma.cu",
        before: "if (row0 + down + m * 16 >= s.rows) break;",
        after: "if (row0 + down + m * 16 > s.rows) break;",
        why: SKIPPED,
    },
    Survivor {
        file: "conv_gather_mma.cu",
        before: "if (row0 + down + m * 16 >= s.rows) break;",
        after: "if (false) break;",
        why: SKIPPED,
    },
    Survivor {
        file: "conv_gather_mma.cu",
        before: "weights[i][0] = there && 2 * wr < count ? filter[c0 * to_depth + i * to_row] : 0.0f;",
        after: "weights[i][0] = there && 2 * wr < count ? filter[c0 * to_depth + i * to_row] : 1.0f;",
        why: TIMES_ZERO,
    },
    Survivor {
        file: "conv_gather_mma.cu",
        before: "weights[i][1] = there && 2 * wr + 1 < count ? filter[(c0 + 1) * to_depth + i * to_row] : 0.0f;",
        after: "weights[i][1] = there && 2 * wr + 1 < count ? filter[(c0 + 1) * to_depth + i * to_row] : 1.0f;",
        why: TIMES_ZERO,
    },
    Survivor {
        file: "conv_gather_mma.cu",
        before: "constexpr int BN = 128, PITCH_A = BK / 2 + 4, PITCH_B = BN + 8, PAIRS = BK / 2;",
        after: "constexpr int BN = 128, PITCH_A = BK * 2 + 4, PITCH_B = BN + 8, PAIRS = BK / 2;",
        why: LONGER,
    },
    Survivor {
        file: "conv_bwd_w_mma.cu",
        before: "constexpr int PIXELS = 32, BN = 64, THREADS = 128, PITCH = PIXELS / 2 + 4;",
        after: "constexpr int PIXELS = 32, BN = 64, THREADS = 128, PITCH = PIXELS * 2 + 4;",
        why: LONGER,
    },
];
