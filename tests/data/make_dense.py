#!/usr/bin/env python3
"""Writes tests/data/dense: small data sets with a target for every pixel, in the forms that are published.

Standard library only; the same bytes each time. Run it from anywhere:  python3 tests/data/make_dense.py
Every picture is 6 x 4 pixels; the formulas below are repeated in the tests that read the files.
"""

import json
import math
import struct
import zlib
from pathlib import Path

OUT = Path(__file__).parent / "dense"
W, H = 6, 4


def put(name, data):
    path = OUT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def png(width, height, colour, depth, rows):
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    raw = b"".join(b"\0" + row for row in rows)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
            + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def rgb(value):
    return png(W, H, 2, 8, [bytes(v for x in range(W) for v in value(x, y)) for y in range(H)])


def grey8(value):
    return png(W, H, 0, 8, [bytes(value(x, y) for x in range(W)) for y in range(H)])


def grey16(value):
    rows = [b"".join(struct.pack(">H", value(x, y)) for x in range(W)) for y in range(H)]
    return png(W, H, 0, 16, rows)


def npy(shape, values, code="f", order="<", version=1, fortran=False, descr=None):
    """`values` in C order; `code` is that of the module struct."""
    names = {"f": "f4", "d": "f8", "e": "f2", "b": "i1", "B": "u1", "h": "i2", "H": "u2",
             "i": "i4", "I": "u4", "q": "i8", "Q": "u8", "?": "b1"}
    size = struct.calcsize("=" + code)
    if descr is None:
        descr = repr(("|" if size == 1 else order) + names[code])
    if fortran:
        strides = [math.prod(shape[d + 1:]) for d in range(len(shape))]
        index = lambda k: sum((k // math.prod(shape[:d]) % shape[d]) * strides[d] for d in range(len(shape)))
        values = [values[index(k)] for k in range(len(values))]
    text = "(%s)" % ("%d," % shape[0] if len(shape) == 1 else ", ".join(map(str, shape)))
    head = "{'descr': %s, 'fortran_order': %s, 'shape': %s, }" % (descr, fortran, text)
    fixed = 10 if version == 1 else 12
    head += " " * (-(fixed + len(head) + 1) % 64) + "\n"
    length = struct.pack("<H" if version == 1 else "<I", len(head))
    data = struct.pack("%s%d%s" % (">" if order == ">" else "<", len(values), code), *values)
    return b"\x93NUMPY" + bytes([version, 0]) + length + head.encode() + data


def plane(value, code="f", channels=1, keep=False):
    flat = []
    for y in range(H):
        for x in range(W):
            v = value(x, y)
            flat.extend(v if channels > 1 else [v])
    shape = (H, W, channels) if channels > 1 or keep else (H, W)
    return npy(shape, flat, code)


# The formulas.
def picture(n):
    return lambda x, y: (20 * x + n, 30 * y, 7)


def classes(n, count, unknown):
    return lambda x, y: unknown if (x, y) == (0, 0) else (x + y + n) % count


def depth(x, y):
    return 0.0 if (x, y) == (5, 3) else 0.5 + 0.25 * x + y


def coded(x, y):
    if (x, y) == (1, 2):
        return (255, 255, 255)
    return (255, 128, 128) if (x, y) == (0, 0) else (128 + 10 * x, 128 - 10 * y, 200)


def unit(x, y):
    v = (x - 2.5, y - 1.5, 3.0)
    length = math.sqrt(sum(c * c for c in v))
    return (0.0, 0.0, 0.0) if (x, y) == (1, 2) else tuple(c / length for c in v)


def share(n):
    return lambda x, y: tuple(v / 255 for v in picture(n)(x, y))


# Arrays of every kind: 12 numbers of shape (2, 3, 2).
SHAPE = (2, 3, 2)
signed = [v - 4 for v in range(12)]
for name, code, order in [("f2", "e", "<"), ("f4", "f", "<"), ("f4_big", "f", ">"), ("f8", "d", "<"), ("f8_big", "d", ">"),
                          ("i1", "b", "<"), ("i2", "h", "<"), ("i2_big", "h", ">"), ("i4", "i", "<"), ("i8", "q", "<"), ("i8_big", "q", ">")]:
    put("npy/%s.npy" % name, npy(SHAPE, signed, code, order))
for name, code, order in [("u1", "B", "<"), ("u2", "H", "<"), ("u2_big", "H", ">"), ("u4", "I", "<"), ("u8", "Q", "<")]:
    put("npy/%s.npy" % name, npy(SHAPE, list(range(12)), code, order))
put("npy/bool.npy", npy(SHAPE, [v % 3 == 0 for v in range(12)], "?"))
put("npy/version2.npy", npy(SHAPE, signed, version=2))
put("npy/version3.npy", npy(SHAPE, signed, version=3))
put("npy/fortran.npy", npy(SHAPE, signed, fortran=True))
put("npy/fortran_i8_big.npy", npy(SHAPE, signed, "q", ">", fortran=True))
put("npy/one.npy", npy((3,), [1.5, -2.0, 3.0]))
put("npy/records.npy", npy((3,), [1.0, 2.0, 3.0], descr="[('a', '<f4')]"))
put("npy/objects.npy", npy((1,), [1.0], descr="'|O'"))

# NYUv2, MTL-NAS: two lists.
for split, count in [("training", 2), ("testing", 1)]:
    for kind, folder in [("seg", "seg"), ("normal_mask", "norm")]:
        lines = ["/%s/image/%d.png /%s/%s/%d.png" % (split, n, split, folder, n) for n in range(count)]
        put("nyuv2-lists/list/%s_%s.txt" % (split, kind), "\n".join(lines) + "\n")
    for n in range(count):
        base = "nyuv2-lists/nyu_train_val/%s" % split
        m = n + (10 if split == "testing" else 0)
        put("%s/image/%d.png" % (base, n), rgb(picture(m)))
        put("%s/seg/%d.png" % (base, n), grey8(classes(n, 40, 255)))
        put("%s/norm/%d.png" % (base, n), rgb(coded))

# NYUv2, AutoMTL: a JSON listing, depth as arrays.
rows = {}
for split, ids in [("train", [0, 1]), ("train1", [0]), ("train2", [1]), ("test", [2])]:
    rows[split] = [["image/%d.png" % n, "seg/%d.png" % n, "normal/%d.png" % n, "depth/%d.npy" % n] for n in ids]
put("nyuv2-json/nyu_v2_3task.json", json.dumps(rows))
for n in range(3):
    put("nyuv2-json/image/%d.png" % n, rgb(picture(n)))
    put("nyuv2-json/seg/%d.png" % n, grey8(classes(n, 40, 255)))
    put("nyuv2-json/normal/%d.png" % n, rgb(coded))
    put("nyuv2-json/depth/%d.npy" % n, plane(depth))

# NYUv2, MTAN: arrays. Pictures and labels are f8 there.
for split, ids in [("train", [0, 1, 2]), ("val", [0])]:
    for n in ids:
        m, base = n + (10 if split == "val" else 0), "nyuv2-npy/%s" % split
        put("%s/image/%d.npy" % (base, n), plane(share(m), "d", 3))
        put("%s/label/%d.npy" % (base, n), plane(lambda x, y: float(classes(n, 13, -1)(x, y)), "d"))
        put("%s/depth/%d.npy" % (base, n), plane(depth, "f", 1, True))
        put("%s/normal/%d.npy" % (base, n), plane(unit, "f", 3))

# Cityscapes, MTAN and AutoMTL: arrays and a listing.
rows = {}
for split, ids in [("train", [0, 1]), ("val", [0])]:
    for n in ids:
        m, base = n + (10 if split == "val" else 0), "cityscapes-npy/%s" % split
        put("%s/image/%d.npy" % (base, n), plane(share(m), "f", 3))
        put("%s/depth/%d.npy" % (base, n), plane(lambda x, y: depth(x, y) / 10, "f", 1, True))
        for count in (2, 7, 19):
            put("%s/label_%d/%d.npy" % (base, count, n), plane(classes(n, count, -1), "i"))
    files = lambda n: ["%s/%s/%d.npy" % (split, f, n) for f in ("image", "depth", "label_2", "label_7", "label_19")]
    rows["test" if split == "val" else split] = [files(n) for n in ids]
rows["train1"], rows["train2"] = rows["train"][:1], rows["train"][1:]
put("cityscapes-npy/cityscape.json", json.dumps(rows))

# Cityscapes as published, with disparity.
for split, ids in [("train", [0, 1]), ("val", [2])]:
    for n in ids:
        name = "%s/ulm/ulm_%06d_000019" % (split, n)
        put("cityscapes/leftImg8bit/%s_leftImg8bit.png" % name, rgb(picture(n)))
        put("cityscapes/gtFine/%s_gtFine_labelIds.png" % name, grey8(lambda x, y: (x + 6 * y) % 34))
        value = lambda x, y: 0 if (x, y) == (0, 0) else 1 + 256 * x + y
        put("cityscapes/disparity/%s_disparity.png" % name, grey16(value))

# Tiny-Taskonomy: a JSON listing, files in the folder of the split, one folder a building and task.
TASKS = [("rgb", "rgb"), ("segment_semantic", "segmentsemantic"), ("normal", "normal"), ("depth_zbuffer", "depth_zbuffer"),
         ("keypoints2d", "keypoints2d"), ("edge_texture", "edge_texture")]


def scan(x, y):
    return {(5, 3): 65535, (4, 3): 64500, (3, 3): 64499}.get((x, y), 512 * (x + 1) + y)


rows = {}
for split, ids in [("train", [0, 1]), ("test", [0])]:
    rows[split] = []
    for n in ids:
        building = "adairsville" if split == "train" else "athens"
        files = ["%s/%s/point_%d_view_0_domain_%s.png" % (building, folder, n, name) for folder, name in TASKS]
        rows[split].append(files)
        m = n + (10 if split == "test" else 0)
        made = [rgb(picture(m)), grey8(lambda x, y: (x + 6 * y) % 18), rgb(coded), grey16(scan),
                grey16(lambda x, y: 60000 if (x, y) == (5, 3) else 40 * x + 10 * y), grey16(lambda x, y: 1000 * x + 100 * y)]
        for name, data in zip(files, made):
            put("taskonomy/%s/%s" % (split, name), data)
put("taskonomy/taskonomy.json", json.dumps(rows))
