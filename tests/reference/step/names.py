"""Where each parameter of the step dump sits: the one file to change when a name changes.

The names are those of docs/step-dump.md.  A path is dotted; layers append `weight`, `bias`, `running_mean`,
`running_var`.
"""

# order of the alpha columns
PRIMITIVES = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5",
              "dil_conv_3x3", "dil_conv_5x5")

# inside a cell
PREPROCESS = ("preprocess0", "preprocess1")
RELU_CONV_BN = ("op.1", "op.2")  # convolution, batch norm
FACTORIZED = ("conv_1", "conv_2", "bn")
HALVE_THEN_CONV = ("0", "1")  # first input of detection cell 1: factorized reduction, ReLU-conv-BN
POOL_BN = "1"
SEPARABLE = ("op.1", "op.2", "op.3", "op.5", "op.6", "op.7")  # dw, pw, bn, dw, pw, bn
DILATED = ("op.1", "op.2", "op.3")  # dw, pw, bn


def mixed(edge, primitive):
    """One candidate of a mixed cell's edge."""
    return f"ops.{edge}.ops.{primitive}"


def kept(index):
    """One operation of a derived cell, 0 to 7 in genotype order."""
    return f"ops.{index}"


def cell(group, index):
    return f"cells.{index}" if group == "backbone" else f"{group}.cells.{index}"


def alpha(prefix, kind):
    """Architecture parameters of a group: edges x primitives.  `kind` is `normal` or `reduce`."""
    return f"{prefix}.alpha_{kind}"


def beta(prefix, kind):
    return f"{prefix}.beta_{kind}"


# stems: convolution, batch norm, convolution, batch norm, ...
STEM_CIFAR = ("stem.0", "stem.1")
STEM_PEER = ("stem.0", "stem.1", "stem.3", "stem.4")
STEM_HALF = ("stem0.0", "stem0.1", "stem0.3", "stem0.4", "stem1.1", "stem1.2")

CLASSIFIER = "classifier"

# mtnas-release
LOC, CONF = "loc", "conf"  # then the level, then convolution and batch norm
HEAD = ("0", "1")
SEG_OUT = ("seg_out.0", "seg_out.1")
HAND_TOP_DOWN = "top"  # then the index, convolution `0`, batch norm `1`
HAND_EXTRA = "extra"  # then the index, convolutions `0` and `3`, batch norms `1` and `4`

# mtnas-peer
LATERAL, SMOOTH = "fpn.lateral", "fpn.smooth"
EXTRA = ("extra.0", "extra.1")
UP = (("up.0.0", "up.0.2"), ("up.1.0", "up.1.2"))  # transposed convolution, batch norm
UP_LAST = "up.2"
