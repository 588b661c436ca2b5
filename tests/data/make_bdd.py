#!/usr/bin/env python3
"""Writes the label files of a BDD100K of three pictures in every published form, below tests/data/bdd100k.

Standard library only; a writer that shares nothing with the reader under test.  Layout and fields are those of the
downloads of 2018 (bdd100k_labels_release, one file a picture and merged) and 2020 (det_20), the masks those of sem_seg
and of the older seg.  Pictures are 64 x 36; the tests write them.
"""

import json
import os
import struct
import zlib

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bdd100k")

# name -> [(type of 2020, x1, y1, x2, y2)]
PICTURES = {
    "train": {
        "0000f77c-6257be58": [
            ("car", 1.5, 2.25, 20.0, 14.5),
            ("pedestrian", 30.0, 4.0, 33.5, 15.25),
            ("traffic light", 50.125, 0.0, 52.0, 3.875),
            ("bicycle", 40.0, 20.0, 47.0, 30.0),
        ],
        "0000f77c-62c2a288": [
            ("motorcycle", 5.0, 5.0, 9.0, 9.0),
            ("rider", 5.0, 1.0, 8.5, 7.0),
            ("truck", 10.0, 10.0, 64.0, 36.0),
        ],
    },
    "val": {"b1c66a42-6f7d68ca": [("bus", 0.0, 0.0, 10.0, 10.0), ("train", 20.0, 20.0, 30.0, 30.0)]},
}
OLD = {"pedestrian": "person", "motorcycle": "motor", "bicycle": "bike"}
WEATHER = {"weather": "clear", "scene": "city street", "timeofday": "daytime"}


def write(name, data):
    path = os.path.join(HERE, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def box(b):
    return dict(zip(("x1", "y1", "x2", "y2"), b[1:]))


def labels_2018(boxes, single):
    """Boxes between a lane and an area, which have polygons and no box."""
    lane = {
        "category": "lane/road curb" if single else "lane",
        "attributes": {"direction": "parallel", "style": "solid"},
        "manualShape": True,
        "manualAttributes": True,
        "poly2d": [{"vertices": [[1.0, 30.5], [60.25, 31.0]], "types": "LL", "closed": False}],
        "id": 0,
    }
    if single:
        lane["poly2d"] = [[1.0, 30.5, "L"], [60.25, 31.0, "L"]]
    area = dict(lane, category="area/drivable" if single else "drivable area", id=99)
    rows = [lane]
    for i, b in enumerate(boxes):
        rows.append(
            {
                "category": OLD.get(b[0], b[0]),
                "attributes": {"occluded": False, "truncated": i % 2 == 1, "trafficLightColor": "none"},
                "manualShape": True,
                "manualAttributes": True,
                "box2d": box(b),
                "id": i + 1,
            }
        )
    return rows + [area]


def form_2018_merged():
    for split, pictures in PICTURES.items():
        frames = []
        for name, boxes in pictures.items():
            frames.append(
                {"name": name + ".jpg", "attributes": WEATHER, "timestamp": 10000, "labels": labels_2018(boxes, False)}
            )
        text = json.dumps(frames, indent=4)
        write("2018-merged/labels/bdd100k_labels_images_%s.json" % split, text.encode())


def form_2018_single():
    for split, pictures in PICTURES.items():
        for name, boxes in pictures.items():
            file = {
                "name": name,
                "frames": [{"timestamp": 10000, "objects": labels_2018(boxes, True)}],
                "attributes": WEATHER,
            }
            write("2018-single/labels/100k/%s/%s.json" % (split, name), json.dumps(file).encode())


def form_2020():
    for split, pictures in PICTURES.items():
        frames = []
        for name, boxes in pictures.items():
            labels = []
            for i, b in enumerate(boxes):
                labels.append(
                    {
                        "id": "%d" % i,
                        "attributes": {"occluded": False, "truncated": False, "trafficLightColor": "NA"},
                        "category": b[0],
                        "box2d": box(b),
                    }
                )
            frames.append({"name": name + ".jpg", "attributes": WEATHER, "timestamp": 10000, "labels": labels})
        if split == "val":
            # A picture without labels, one with only ignored ones, and a crowd.
            frames.append({"name": "b1c81faa-3df17267.jpg", "attributes": WEATHER, "timestamp": 10000})
            extra = [
                {"id": "0", "category": "other vehicle", "box2d": box(("", 1.0, 1.0, 5.0, 5.0))},
                {"id": "1", "category": "trailer", "box2d": box(("", 6.0, 1.0, 9.0, 5.0))},
                {
                    "id": "2",
                    "category": "pedestrian",
                    "attributes": {"crowd": True},
                    "box2d": box(("", 10.0, 1.0, 19.0, 5.0)),
                },
            ]
            frames.append({"name": "b1c9c847-3bda4659.jpg", "timestamp": 10000, "labels": extra})
            frames.append({"name": "b1d0a191-03dcecc2.jpg", "timestamp": 10000, "labels": None})
        write("2020/labels/det_20/det_%s.json" % split, json.dumps(frames).encode())


def png(width, height, rows):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + bytes(r) for r in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def masks():
    """Train id (column / 3) mod 20, where 19 becomes 255."""
    rows = [[v if v < 19 else 255 for v in ((x // 3 + y) % 20 for x in range(64))] for y in range(36)]
    for split, name in (("train", "0004a4c0-d4dff0ad"), ("val", "7d06fefd-f7be05a6")):
        write("masks/labels/sem_seg/masks/%s/%s.png" % (split, name), png(64, 36, rows))
        write("masks-old/seg/labels/%s/%s_train_id.png" % (split, name), png(64, 36, rows))


if __name__ == "__main__":
    form_2018_merged()
    form_2018_single()
    form_2020()
    masks()
