#!/usr/bin/env python3
"""Writes labels of a Pascal VOC 2012 with SBD of a few pictures below tests/data/voc.

Standard library only: XML by xml.etree, palette PNG by zlib, and MATLAB level 5 files by struct and zlib after the
published description of the format, with the fields of SBD (GTcls: Boundaries, CategoriesPresent, Segmentation) as
MATLAB writes them, compressed and not.  Pictures are 12 wide and 9 high; the tests write them.
"""

import os
import struct
import xml.etree.ElementTree as ET
import zlib

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "voc")
WIDTH, HEIGHT = 12, 9


def write(name, data):
    path = os.path.join(HERE, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


# ---- boxes -----------------------------------------------------------------------------------------------------------


def add(parent, name, text=None):
    e = ET.SubElement(parent, name)
    e.text = None if text is None else str(text)
    return e


def bndbox(parent, edges, order=("xmin", "ymin", "xmax", "ymax")):
    b = add(parent, "bndbox")
    values = dict(zip(("xmin", "ymin", "xmax", "ymax"), edges))
    for name in order:
        add(b, name, values[name])


def annotation(name, objects):
    root = ET.Element("annotation")
    add(root, "folder", "VOC2012")
    add(root, "filename", name + ".jpg")
    add(add(root, "source"), "database", "The VOC2012 Database")
    size = add(root, "size")
    add(size, "width", WIDTH), add(size, "height", HEIGHT), add(size, "depth", 3)
    add(root, "segmented", 1)
    for o in objects:
        e = add(root, "object")
        add(e, "name", o["name"])
        add(e, "pose", "Unspecified")
        add(e, "truncated", 0)
        if "difficult" in o:
            add(e, "difficult", o["difficult"])
        if o.get("parts"):
            # In the real set parts come before or after the box, with a name and a box of their own.
            part = add(e, "part")
            add(part, "name", "head")
            bndbox(part, (2, 2, 3, 3))
        bndbox(e, o["box"], o.get("order", ("xmin", "ymin", "xmax", "ymax")))
        if o.get("parts"):
            part = add(e, "part")
            add(part, "name", "foot")
            bndbox(part, (4, 4, 5, 5))
    ET.indent(root, "\t")
    write("VOC2012/Annotations/%s.xml" % name, ET.tostring(root) + b"\n")


# ---- label maps ------------------------------------------------------------------------------------------------------


def palette_png(rows):
    """8-bit palette with VOC's colours, so that a reader that decodes colours does not see the indices."""

    def colour(i):
        c = [0, 0, 0]
        for bit in range(8):
            for k in range(3):
                c[k] |= ((i >> (3 * bit + k)) & 1) << (7 - bit)
        return bytes(c)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 3, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + bytes(r) for r in rows), 9)
    parts = [(b"IHDR", head), (b"PLTE", b"".join(colour(i) for i in range(256))), (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(k, d) for k, d in parts)


def element(kind, data, short=True):
    """A data element; up to 4 bytes in the short form, as MATLAB writes them."""
    if short and 0 < len(data) <= 4:
        return struct.pack("<HH", kind, len(data)) + data.ljust(4, b"\0")
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def matrix(klass, sizes, name, body, logical=False):
    flags = struct.pack("<II", klass | (0x200 if logical else 0), 0)
    dims = struct.pack("<%di" % len(sizes), *sizes)
    inner = element(6, flags) + element(5, dims) + element(1, name, short=bool(name)) + body
    return element(14, inner)


def mat(rows, compress):
    height, width = len(rows), len(rows[0])
    column_major = bytes(rows[y][x] for x in range(width) for y in range(height))
    segmentation = matrix(9, (height, width), b"", element(2, column_major))
    # Boundaries: a cell of sparse logical matrices in the real files; here one small full one.
    boundaries = matrix(1, (1, 1), b"", matrix(9, (2, 2), b"", element(2, b"\1\0\0\1"), logical=True))
    present = sorted({v for r in rows for v in r} - {0, 255})
    categories = matrix(9, (len(present), 1), b"", element(2, bytes(present)))
    names = b"".join(n.ljust(32, b"\0") for n in (b"Boundaries", b"Segmentation", b"CategoriesPresent"))
    body = element(5, struct.pack("<i", 32)) + element(1, names) + boundaries + segmentation + categories
    gtcls = matrix(2, (1, 1), b"GTcls", body)
    if compress:
        packed = zlib.compress(gtcls)
        gtcls = struct.pack("<II", 15, len(packed)) + packed
    text = b"MATLAB 5.0 MAT-file, Platform: GLNXA64, Created on: Mon Nov 14 12:00:00 2011"
    return text.ljust(116) + b"\0" * 8 + struct.pack("<H", 0x0100) + b"IM" + gtcls


def rows(seed):
    """Class (x * 2 + y * 3 + seed) mod 22, where 21 is void."""
    value = lambda x, y: (x * 2 + y * 3 + seed) % 22
    return [[v if v < 21 else 255 for v in (value(x, y) for x in range(WIDTH))] for y in range(HEIGHT)]


if __name__ == "__main__":
    annotation(
        "2007_000027",
        [
            {"name": "person", "difficult": 0, "box": (3, 2, 7, 9), "parts": True},
            {"name": "dog", "difficult": 1, "box": (1, 1, 12, 9), "order": ("xmax", "xmin", "ymax", "ymin")},
            # Tools write fractions and leave `difficult` out.
            {"name": "tvmonitor", "box": ("4.5", "2.25", "5.70000076293945", "3.5")},
        ],
    )
    annotation("2007_000032", [])
    annotation("2007_000033", [{"name": "aeroplane", "difficult": 0, "box": (9, 4, 12, 6)}])
    write("VOC2012/ImageSets/Main/train.txt", b"2007_000027\n2007_000032\n")
    write("VOC2012/ImageSets/Main/val.txt", b"2007_000033\n")
    write("VOC2012/ImageSets/Segmentation/train.txt", b"2007_000032\n")
    write("VOC2012/ImageSets/Segmentation/val.txt", b"2007_000033\n")
    write("VOC2012/SegmentationClass/2007_000032.png", palette_png(rows(0)))
    write("VOC2012/SegmentationClass/2007_000033.png", palette_png(rows(5)))
    # SBD: one picture of its own in each list, one that VOC has in train, one that VOC holds out.
    write("benchmark_RELEASE/dataset/train.txt", b"2008_000002\n2007_000032\n")
    write("benchmark_RELEASE/dataset/val.txt", b"2008_000003\n2007_000033\n")
    write("benchmark_RELEASE/dataset/cls/2008_000002.mat", mat(rows(1), True))
    write("benchmark_RELEASE/dataset/cls/2008_000003.mat", mat(rows(2), False))
