"""The configurations in which the peer may run, most telling first: (name, flags of step.py)."""

CUDA = [
    ("amp tuned nhwc graph", "--dtype amp --impl tuned --channels-last --cuda-graph"),
    ("fp32 usual", "--dtype fp32"),
    ("amp tuned nchw graph", "--dtype amp --impl tuned --cuda-graph"),
    ("fp32 tuned nchw graph", "--dtype fp32 --impl tuned --cuda-graph"),
    ("bf16 tuned nhwc graph", "--dtype bf16 --impl tuned --channels-last --cuda-graph"),
    ("bf16 tuned nchw graph", "--dtype bf16 --impl tuned --cuda-graph"),
    ("amp usual nhwc", "--dtype amp --channels-last"),
    ("fp32 tuned nhwc graph", "--dtype fp32 --impl tuned --channels-last --cuda-graph"),
    ("fp32 tuned nhwc graph no tf32",
     "--dtype fp32 --impl tuned --channels-last --cuda-graph --no-tf32"),
    ("fp32 tuned nchw graph no tf32", "--dtype fp32 --impl tuned --cuda-graph --no-tf32"),
    ("amp tuned nhwc graph bench",
     "--dtype amp --impl tuned --channels-last --cuda-graph --cudnn-benchmark"),
    # compiling takes minutes: last
    ("amp tuned nchw graph compile", "--dtype amp --impl tuned --cuda-graph --compile mixed"),
]

CPU = [
    ("fp32 tuned 1 thread", "--impl tuned --threads 1"),
    ("fp32 usual 1 thread", "--threads 1"),
    ("fp32 tuned 2 threads", "--impl tuned --threads 2"),
    ("bf16 tuned 1 thread", "--impl tuned --dtype bf16 --threads 1"),
]
