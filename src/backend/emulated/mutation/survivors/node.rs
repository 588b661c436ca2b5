//! Those of the kernels of a search node.

use super::Survivor;

pub const SURVIVORS: &[Survivor] = &[
    Survivor {
        file: "node_first.cu",
        before: "if (largest) largest_of_row<W, V>(line, ox, m.w, best[r], which[r]);",
        after: "if (true) largest_of_row<W, V>(line, ox, m.w, best[r], which[r]);",
        why: "of means the largest values are not read",
    },
    Survivor {
        file: "node_first.cu",
        before: "for (int first = 0; first < m.a; first += NODE_WARPS) {",
        after: "for (int first = 0; first <= m.a; first += NODE_WARPS) {",
        why: "one round more, in which no warp has a channel",
    },
    Survivor {
        file: "node_half.cuh",
        before: "if (r < o * S || (r - o * S) % D != 0 || (r - o * S) / D >= K) continue;",
        after: "if (r < o * S || (r + o * S) % D != 0 || (r - o * S) / D >= K) continue;",
        why: "a dilation is 1 or 2: both have the same remainder",
    },
    Survivor {
        file: "node_half.cuh",
        before: "NormTally<CO> tally[SLOTS];",
        after: "NormTally<CO> tally[(SLOTS) + 1];",
        why: "one tally more, which nobody reads",
    },
    Survivor {
        file: "node_half.cuh",
        before: "const int groups = ap / CO, each = groups < NODE_WARPS ? NODE_WARPS / groups : 1, to = warp / each * CO;",
        after: "const int groups = ap * CO, each = groups < NODE_WARPS ? NODE_WARPS / groups : 1, to = warp / each * CO;",
        why: "one warp for each group of channels: more of them idle",
    },
    Survivor {
        file: "node_half.cuh",
        before: "if (m.a > NODE_OUTPUTS * NODE_WARPS) node_half_of<2, S>(kind, x, image, depthwise, pointwise, z, part, s, m, group, chunk, chunks, f);",
        after: "if (m.a > NODE_OUTPUTS + NODE_WARPS) node_half_of<2, S>(kind, x, image, depthwise, pointwise, z, part, s, m, group, chunk, chunks, f);",
        why: "a second group of channels that nobody takes",
    },
    Survivor {
        file: "node_halved.cuh",
        before: "UNROLL for (int kind = 0; kind < CLASSES; kind++) {",
        after: "UNROLL for (int kind = 0; kind <= CLASSES; kind++) {",
        why: "values of one class more, which no tap meets",
    },
    Survivor {
        file: "node_sums.cu",
        before: "const NodeMaps m = {n, a, h, wd, 0, 0};",
        after: "const NodeMaps m = {n, a, wd, h, 0, 0};",
        why: "sums over whole planes, of which only the size counts",
    },
    Survivor {
        file: "node_weights.cuh",
        before: "if constexpr (H > 1) node_fold<H / 2>(v);",
        after: "if constexpr (H >= 1) node_fold<H / 2>(v);",
        why: "one fold more, of nothing",
    },
];
