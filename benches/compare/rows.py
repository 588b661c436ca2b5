"""What is compared: rows, the configurations of the peer that run in each, and the bars."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PEERS = os.path.join(os.path.dirname(HERE), "peers")
sys.path.insert(0, PEERS)

from configurations import CUDA  # noqa: E402

# layout and type of each configuration, and its flags
CPU_CONFIGURATIONS = {
    "f32 tuned": "--impl tuned",
    "f32 usual": "--impl usual",
    "f32 tuned nhwc": "--impl tuned --channels-last",
    "f32 usual nhwc": "--impl usual --channels-last",
    "bf16 tuned": "--impl tuned --dtype bf16",
    "bf16 tuned nhwc": "--impl tuned --dtype bf16 --channels-last",
}
# usual and tuned code are the same for single operations
SINGLE = {c: f for c, f in CPU_CONFIGURATIONS.items() if "tuned" in c}
BURN = {"burn flex": "--backend flex", "burn ndarray": "--backend ndarray"}


def cuda_ops(dtype):
    """Configurations of operations with one type: a graph takes the host's time away."""
    flags = f"--dtype {dtype} --cuda-graph"
    return {f"{dtype} tuned nchw graph": f"{flags} --impl tuned",
            f"{dtype} tuned nhwc graph": f"{flags} --impl tuned --channels-last",
            f"{dtype} tuned nchw graph bench": f"{flags} --impl tuned --cudnn-benchmark",
            f"{dtype} usual eager": f"--dtype {dtype}"}


def words(configuration):
    return configuration.split()


def torch(configuration):
    return words(configuration)[0] != "burn"


def f32(configuration):
    return words(configuration)[0] in ("f32", "fp32")


# what is compared with: of these the fastest
CLASSES = {
    "NCHW": lambda c: f32(c) and "nhwc" not in c,
    "channels-last": lambda c: f32(c) and "nhwc" in c,
    "best layout": f32,
    "eager": lambda c: torch(c) and "graph" not in c and "compile" not in c,
    "NCHW, its type": lambda c: torch(c) and "nhwc" not in c,
    "half": lambda c: words(c)[0] in ("amp", "bf16"),
    "best f32": f32,
    "best": torch,
    "burn": lambda c: not torch(c),
}
SHAPES = "8x4x80x128,8x16x20x32,8x32x40x64"


def ops(names, shapes, bars, configurations=SINGLE, geomean=False, ours=""):
    return {"kind": "ops", "flags": f'--only "{names}" --shapes {shapes}', "ours": ours, "bars": bars,
            "configurations": configurations, "geomean": geomean, "memory": None}


def step(flags, bars, configurations, ours="", memory=None, **facts):
    return {"kind": "step", "flags": flags, "ours": ours, "bars": bars, "geomean": False,
            "configurations": configurations, "memory": memory, **facts}


# bars: class of configurations, least ratio, what to reach for; memory: class, most, as a share
MIXED = [("NCHW", 5, 8), ("best layout", 3, 5), ("burn", None, None)]
STEP = [("best layout", 5, 8), ("burn", None, None)]
THIRD = ("best layout", 1 / 3)
WITH_BURN = {**CPU_CONFIGURATIONS, **BURN}
PEER_CPU = "--mode mtnas-peer --batch 2 --height 320 --width 512 --iters 4 --warmup 1"


def mixed(shapes):
    return {**ops("mixed s1", shapes, MIXED, WITH_BURN), "memory": THIRD}


CPU_ROWS = {
    "mixed 8x16x80x128": mixed("8x4x80x128"),
    "mixed 8x64x20x32": mixed("8x16x20x32"),
    "mixed 8x128x40x64": mixed("8x32x40x64"),
    "depthwise": ops("dw3 s1,dw5 s1,dw3 d2,dw5 d2", SHAPES,
                     [("NCHW", 8, 12), ("channels-last", 3, 3)], geomean=True),
    "pools": ops("max3+bn,avg3+bn", SHAPES, [("NCHW", 10, 20)]),
    "pointwise": ops("pw", SHAPES, [("best layout", 1, 1.5)]),
    "cifar 16": step("--mode cifar --batch 16 --iters 3 --warmup 1", STEP, WITH_BURN, memory=THIRD),
    "cifar 64": step("--mode cifar --batch 64 --iters 2 --warmup 1", STEP, CPU_CONFIGURATIONS,
                     memory=THIRD),
    "mtnas-peer 2x320x512": step(PEER_CPU, STEP, CPU_CONFIGURATIONS, memory=THIRD),
    "two threads": {"kind": "scaling", "flags": "--mode cifar --batch 16 --iters 4 --warmup 1"},
}

ALL = dict(CUDA)
FP32 = {c: f for c, f in ALL.items() if f32(c)}
# GiB and compile time of the released network: its most telling configurations
RELEASE = {c: f for c, f in ALL.items() if "bench" not in c and "compile" not in c and "tf32" not in c}
QUARTER = 0.25
HALF_MEMORY, F32_MEMORY = ("half", QUARTER), ("best f32", QUARTER)
DWEIGHT = "dw3 dweight,dw5 dweight"
DWEIGHT_BARS = [("NCHW, its type", 10, 30), ("best", 2, 4)]
PLAIN = [("best", None, None)]
# A mixed operation is no operation of its own on a device, where a cell is one: the steps have it.
DEPTHWISE, STAGES = "dw3 s1,dw5 s1,dw3 d2,dw5 d2,pw", "32x4x80x128,32x64x80x128"

# floor: bytes of an element, least share, what to reach for; launches: most, and so on
CUDA_ROWS = {
    "rates": {"kind": "rates", "flags": ""},
    "mtnas-peer 32x320x512 bf16": step(
        "--mode mtnas-peer --iters 20", [("eager", 10, 25), ("best", 4, 8)], ALL, "--dtype bf16",
        HALF_MEMORY, floor=(2, 0.30, 0.55), launches=(700, 560), host=(0.2, 0.05)),
    "mtnas-peer 32x320x512 f32": step(
        "--mode mtnas-peer --iters 20", [("best f32", 3, 3)], FP32, "", F32_MEMORY,
        floor=(4, None, None), launches=(700, 560), host=(0.2, 0.05)),
    "cifar 256 bf16": step(
        "--mode cifar --batch 256 --iters 20", [("eager", None, None), ("best", 4, 4)], ALL,
        "--dtype bf16", HALF_MEMORY, floor=(2, None, None), launches=None, host=None),
    "mtnas-release 32x320x512 bf16": step(
        "--mode mtnas-release --iters 10", [("eager", None, None), ("best", 4, 4)], RELEASE,
        "--dtype bf16", ("half", None), floor=(2, 0.30, 0.30),
        launches=(1400, 1400), host=None),
    "dweight bf16": ops(DWEIGHT, "32x4x80x128", DWEIGHT_BARS, cuda_ops("bf16"),
                        ours="--dtype bf16"),
    "dweight f32": ops(DWEIGHT, "32x4x80x128", DWEIGHT_BARS, cuda_ops("fp32")),
    "depthwise bf16": ops(DEPTHWISE, STAGES, PLAIN, cuda_ops("bf16"), ours="--dtype bf16"),
    "depthwise f32": ops(DEPTHWISE, STAGES, PLAIN, cuda_ops("fp32")),
    "cifar 256 f32": step(
        "--mode cifar --batch 256 --iters 20", [("best f32", None, None)], FP32, "", F32_MEMORY,
        floor=(4, None, None), launches=None, host=None),
    # without partial channels, and wider: more bytes for each launch
    "mtnas-peer k 1 bf16": step(
        "--mode mtnas-peer --partial-k 1 --iters 10", PLAIN, RELEASE, "--dtype bf16", HALF_MEMORY,
        floor=(2, None, None), launches=None, host=None),
    "mtnas-peer C 48 bf16": step(
        "--mode mtnas-peer --channels 48 --iters 10", PLAIN, RELEASE, "--dtype bf16", HALF_MEMORY,
        floor=(2, None, None), launches=None, host=None),
}

# The same rows so small that an emulated device takes them: to try the script, not to measure.
TINY = {
    "mtnas-peer": "--mode mtnas-peer --batch 2 --height 64 --width 64 --channels 8 --cells 4 "
                  "--iters 2 --warmup 1",
    "cifar": "--mode cifar --batch 2 --height 8 --width 8 --channels 8 --cells 3 --iters 2 --warmup 1",
    "mtnas-release": "--mode mtnas-release --batch 2 --height 64 --width 64 --channels 16 --cells 7 "
                     "--levels 4 --iters 2 --warmup 1",
}
TINY_PEER = {"mtnas-release": "--reductions 3,5,6"}  # as ours has them for seven cells


def tiny(name, row):
    if row["kind"] == "ops":
        only = row["flags"].split(" --shapes ")[0]
        return {**row, "flags": f"{only} --shapes 2x4x6x6"}
    if row["kind"] != "step":
        return row
    mode, words = name.split()[0], row["flags"].split()
    k = f" --partial-k {words[words.index('--partial-k') + 1]}" if "--partial-k" in words else ""
    return {**row, "flags": TINY[mode] + k, "peer": TINY_PEER.get(mode, "")}


def rows_of(device):
    if device == "cpu":
        return CPU_ROWS
    if device == "cuda":
        return CUDA_ROWS
    return {name: tiny(name, row) for name, row in CUDA_ROWS.items()}
