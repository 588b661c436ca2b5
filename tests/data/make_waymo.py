#!/usr/bin/env python3
"""Writes tests/data/waymo: a small set in the two published forms of Waymo Open Dataset, for the tests of the readers.

    python3 tests/data/make_waymo.py

Form v1 (TFRecord of `Frame` messages) needs the standard library alone; form v2 (Parquet) needs `pip install pyarrow` and is
left as it is without. Both say the same: `SCENES` below. The files are committed; nothing is fetched."""

import os
import struct
import sys

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "waymo")
CAMERAS = {1: (48, 32), 2: (48, 32), 3: (48, 32), 4: (48, 24), 5: (48, 24)}  # number: width, height
UNKNOWN, VEHICLE, PEDESTRIAN, SIGN, CYCLIST = range(5)

# Boxes: type, centre x, centre y, extent along x, extent along y. A scene: split, segment, boxes of each (frame, camera).
SCENES = [
    ("training", "1111_000_1_000", 3, {
        (0, 1): [(VEHICLE, 20.5, 12.25, 10.0, 6.0), (UNKNOWN, 10.0, 10.0, 4.0, 4.0),
                 (PEDESTRIAN, 40.0, 16.0, 4.0, 12.0), (CYCLIST, 2.0, 30.0, 8.0, 8.0)],
        (0, 4): [(VEHICLE, 24.0, 12.0, 40.0, 20.0)],
        (1, 2): [(PEDESTRIAN, 30.0, 20.0, 3.0, 9.0)],
        (2, 1): [(UNKNOWN, 10.0, 10.0, 4.0, 4.0), (SIGN, 12.0, 8.0, 4.0, 4.0)],
        (2, 2): [(CYCLIST, 24.5, 16.5, 9.0, 15.0)],
    }),
    ("training", "2222_000_1_000", 2, {(0, 1): [(VEHICLE, 8.0, 8.0, 6.0, 4.0)]}),
    ("validation", "3333_000_1_000", 2, {(1, 1): [(PEDESTRIAN, 16.0, 16.0, 5.0, 14.0)]}),
]


def timestamp(frame):
    return 1_500_000_000_000_000 + 100_000 * frame


def luma(segment, frame, camera, block):
    """Brightness of an 8x8 block."""
    return 40 * camera + 5 * frame + int(segment[0]) + 2 * (block % 3)


# --- JPEG: baseline, 4:4:4, one colour a block, grey, so that pixels come back exactly ---

def jpeg(width, height, value_of_block):
    out = bytes([0xFF, 0xD8, 0xFF, 0xDB]) + struct.pack(">HB", 67, 0) + bytes([8] * 64)
    frame = struct.pack(">BHHB", 8, height, width, 3) + bytes(b for c in (1, 2, 3) for b in (c, 0x11, 0))
    out += b"\xff\xc0" + struct.pack(">H", 2 + len(frame)) + frame
    # DC: categories 0 to 7 with codes of 4 bits; AC: end of block alone, one bit.
    dc = bytes([0, 0, 0, 8] + [0] * 12) + bytes(range(8))
    ac = bytes([1] + [0] * 15) + bytes([0])
    for kind, table in ((0x00, dc), (0x10, ac)):
        out += b"\xff\xc4" + struct.pack(">HB", 3 + len(table), kind) + table
    scan = bytes([3, 1, 0, 2, 0, 3, 0, 0, 63, 0])
    out += b"\xff\xda" + struct.pack(">H", 2 + len(scan)) + scan
    bits, last = "", 0
    for block in range((width // 8) * (height // 8)):
        for component in range(3):
            diff = 0
            if component == 0:
                value = value_of_block(block) - 128  # quantised by 8, and a DC coefficient is 8 times the mean
                diff, last = value - last, value
            size = abs(diff).bit_length()
            bits += format(size, "04b")
            if size:
                bits += format(diff if diff > 0 else diff + (1 << size) - 1, f"0{size}b")
            bits += "0"
    bits += "1" * (-len(bits) % 8)
    data = bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))
    return out + data.replace(b"\xff", b"\xff\x00") + b"\xff\xd9"


def picture(segment, frame, camera):
    width, height = CAMERAS[camera]
    return jpeg(width, height, lambda block: luma(segment, frame, camera, block))


# --- v1 ---

def varint(n):
    n &= (1 << 64) - 1
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def number(field, n):
    return varint(field << 3) + varint(n)


def double(field, v):
    return varint(field << 3 | 1) + struct.pack("<d", v)


def single(field, v):
    return varint(field << 3 | 5) + struct.pack("<f", v)


def message(field, b):
    b = b.encode() if isinstance(b, str) else b
    return varint(field << 3 | 2) + varint(len(b)) + b


def label(kind, x, y, dx, dy, name):
    box = double(1, x) + double(2, y) + double(3, 0.0) + double(4, dy) + double(5, dx) + double(7, 0.5)
    return message(1, box) + message(2, double(1, 0.1)) + number(3, kind) + message(4, name) + number(5, 2) + number(6, 1)


def frame_message(segment, frame, boxes):
    calibration = number(1, 1) + b"".join(double(2, v) for v in (2055.5, 2055.5, 939.6)) + number(4, 1920)
    context = message(1, segment) + message(2, calibration) + message(4, message(1, "Day") + number(2, -1))
    images = b"".join(
        message(4, number(1, camera) + message(2, picture(segment, frame, camera)) + message(3, b"".join(double(1, v) for v in range(16)))
                + single(4, 1.5) + double(5, 1.5e9))
        for camera in (1, 2, 4, 3, 5))
    lasers = b"".join(message(5, number(1, k) + message(2, bytes(range(200)) * 2)) for k in range(1, 3))
    laser_label = message(6, label(SIGN, 10.0, -4.0, 1.0, 1.0, "laser"))
    cameras = b"".join(
        message(8, number(1, camera)
                + b"".join(message(2, label(*box, f"{camera}-{i}")) for i, box in enumerate(boxes.get((frame, camera), []))))
        for camera in CAMERAS)
    projected = message(9, number(1, 1) + message(2, label(VEHICLE, 3.0, 3.0, 2.0, 2.0, "projected_FRONT")))
    return message(1, context) + number(2, timestamp(frame)) + message(3, double(1, 1.0)) + images + lasers + laser_label + cameras + projected


def crc32c(data):
    c = 0xFFFFFFFF
    for b in data:
        c ^= b
        for _ in range(8):
            c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
    return c ^ 0xFFFFFFFF


def masked(data):
    c = crc32c(data)
    return struct.pack("<I", ((c >> 15 | c << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(payload):
    length = struct.pack("<Q", len(payload))
    return length + masked(length) + payload + masked(payload)


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)
    print(f"{path}: {len(data)} bytes")


def v1():
    for split, segment, frames, boxes in SCENES:
        path = os.path.join(HERE, "v1", split, f"segment-{segment}_with_camera_labels.tfrecord")
        write(path, b"".join(record(frame_message(segment, f, boxes)) for f in range(frames)))


# --- v2 ---

def v2():
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys = [("key.segment_context_name", pa.string()), ("key.frame_timestamp_micros", pa.int64()), ("key.camera_name", pa.int8())]
    image_schema = pa.schema(keys + [
        ("[CameraImageComponent].image", pa.binary()),
        ("[CameraImageComponent].pose.transform", pa.list_(pa.float64(), 16)),
        ("[CameraImageComponent].velocity.linear_velocity.x", pa.float32()),
        ("[CameraImageComponent].rolling_shutter_params.shutter", pa.float64()),
    ])
    box = "[CameraBoxComponent]."
    box_schema = pa.schema(keys + [("key.camera_object_id", pa.string())]
                           + [(f"{box}box.{n}", pa.float64()) for n in ("center.x", "center.y", "size.x", "size.y")]
                           + [(f"{box}type", pa.int8()), (f"{box}difficulty_level.detection", pa.int8()),
                              (f"{box}difficulty_level.tracking", pa.int8())])
    for split, segment, frames, boxes in SCENES:
        rows, labels = [], []
        for f in range(frames):
            for camera in (1, 2, 4, 3, 5):
                key = (segment, timestamp(f), camera)
                rows.append(key + (picture(segment, f, camera), [float(v) for v in range(16)], 1.5, 1.5e9))
                for i, (kind, x, y, dx, dy) in enumerate(boxes.get((f, camera), [])):
                    labels.append(key + (f"{camera}-{i}", x, y, dx, dy, kind, 2, 1))
        labels.reverse()  # the order of boxes is not that of the pictures
        for component, schema, table in (("camera_image", image_schema, rows), ("camera_box", box_schema, labels)):
            columns = [pa.array([row[i] for row in table], field.type) for i, field in enumerate(schema)]
            path = os.path.join(HERE, "v2", split, component, f"{segment}.parquet")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            # Small groups and pages, so that several of each are there.
            pq.write_table(pa.Table.from_arrays(columns, schema=schema), path, compression="snappy", row_group_size=4,
                           data_page_size=500, write_batch_size=2)
            print(f"{path}: {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    v1()
    try:
        v2()
    except ImportError:
        sys.exit("no pyarrow: the Parquet files were left as they are")
