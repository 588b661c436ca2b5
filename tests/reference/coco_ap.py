#!/usr/bin/env python3
"""Random detection sets and what pycocotools makes of them, for the test `equals_pycocotools` of src/metrics.

    pip install pycocotools==2.0.11 numpy
    python tests/reference/coco_ap.py > tests/reference/coco_ap.json

Coordinates are whole quarter pixels and scores whole 1/4096, so both programs read exactly the same numbers.
Format: {"sets": [{"classes", "images": [{"objects": [[class, x1, y1, x2, y2, ignore]...],
"detections": [[class, score, x1, y1, x2, y2]...]}...], "stats": [12], "ap": [classes], "ap50": [classes]}...]}
with -1 where pycocotools has no value.
"""
import contextlib
import io
import json
import random

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Q, S = 4.0, 4096.0

# name: images, classes, objects and false alarms an image (up to), share of crowds, score levels, sides in quarter pixels
SETS = [
    dict(images=12, classes=3, objects=5, alarms=4, crowd=0.0, levels=4096, side=(16, 1600)),
    dict(images=12, classes=3, objects=6, alarms=4, crowd=0.3, levels=4096, side=(16, 1600)),
    dict(images=16, classes=2, objects=4, alarms=5, crowd=0.2, levels=3, side=(16, 1200)),     # many ties
    dict(images=8, classes=6, objects=3, alarms=2, crowd=0.1, levels=64, side=(8, 160)),       # small only, empty classes
    dict(images=10, classes=1, objects=8, alarms=6, crowd=0.15, levels=16, side=(120, 420)),   # around 32 x 32 and 96 x 96
    dict(images=20, classes=4, objects=1, alarms=1, crowd=0.5, levels=4096, side=(16, 800)),   # many empty images
    dict(images=2, classes=1, objects=30, alarms=140, crowd=0.1, levels=200, side=(40, 400)),  # more than 100 detections
    dict(images=3, classes=2, objects=0, alarms=5, crowd=0.0, levels=10, side=(40, 400)),      # no object at all
    dict(images=3, classes=2, objects=4, alarms=0, crowd=0.0, levels=10, side=(40, 400), hits=0),  # no detection
    dict(images=6, classes=2, objects=5, alarms=2, crowd=1.0, levels=10, side=(40, 400)),      # crowds only
    dict(images=10, classes=2, objects=6, alarms=1, crowd=0.2, levels=4096, side=(100, 500), shift=6),  # high IoU
    dict(images=10, classes=1, objects=12, alarms=4, crowd=0.2, levels=8, side=(8, 16), room=(16, 16)),  # heaps, round IoUs
]


def box(rng, c):
    w, h = rng.randint(*c["side"]), rng.randint(*c["side"])
    x, y = (rng.randint(0, m) for m in c.get("room", (2000, 1200)))
    return [x, y, x + w, y + h]


def near(rng, b, shift):
    """A detection of b, its edges moved by up to 1/shift of its sides."""
    w, h = max(1, (b[2] - b[0]) // shift), max(1, (b[3] - b[1]) // shift)
    x1, y1 = b[0] + rng.randint(-w, w), b[1] + rng.randint(-h, h)
    return [x1, y1, max(x1, b[2] + rng.randint(-w, w)), max(y1, b[3] + rng.randint(-h, h))]


def make(rng, c):
    images = []
    for _ in range(c["images"]):
        objects, detections = [], []
        score = lambda: rng.randint(1, c["levels"]) * (4096 // c["levels"])
        for _ in range(rng.randint(0, c["objects"])):
            # the last class of a set with several stays without objects
            k = rng.randrange(max(1, c["classes"] - (c["classes"] > 2)))
            b = box(rng, c)
            objects.append([k, *b, int(rng.random() < c["crowd"])])
            for _ in range(rng.choice([0, 1, 1, 1, 2, 3]) * c.get("hits", 1)):
                d = b if rng.random() < 0.2 else near(rng, b, c.get("shift", 3))
                detections.append([k if rng.random() < 0.9 else rng.randrange(c["classes"]), score(), *d])
        for _ in range(rng.randint(0, c["alarms"])):
            detections.append([rng.randrange(c["classes"]), score(), *box(rng, c)])
        rng.shuffle(detections)
        images.append(dict(objects=objects, detections=detections))
    return dict(classes=c["classes"], images=images)


def xywh(b):
    return [b[0] / Q, b[1] / Q, (b[2] - b[0]) / Q, (b[3] - b[1]) / Q]


def evaluate(s):
    truth, found = [], []
    for i, im in enumerate(s["images"], 1):
        for k, *b, ignore in im["objects"]:
            q = xywh(b)
            truth.append(dict(id=len(truth) + 1, image_id=i, category_id=k + 1, bbox=q, area=q[2] * q[3], iscrowd=ignore))
        for k, score, *b in im["detections"]:
            found.append(dict(image_id=i, category_id=k + 1, bbox=xywh(b), score=score / S))
    gt = COCO()
    gt.dataset = dict(images=[dict(id=i + 1) for i in range(len(s["images"]))], annotations=truth,
                      categories=[dict(id=k + 1, name=str(k)) for k in range(s["classes"])])
    gt.createIndex()
    if found:
        dt = gt.loadRes(found)
    else:
        dt = COCO()
        dt.dataset = dict(gt.dataset, annotations=[])
        dt.createIndex()
    e = COCOeval(gt, dt, "bbox")
    e.evaluate()
    e.accumulate()
    e.summarize()
    p = e.eval["precision"][:, :, :, 0, 2]
    s["stats"] = [float(v) for v in e.stats]
    s["ap"] = [float(np.mean(p[:, :, k])) for k in range(s["classes"])]
    s["ap50"] = [float(np.mean(p[0, :, k])) for k in range(s["classes"])]
    return s


def main():
    with contextlib.redirect_stdout(io.StringIO()):
        sets = [evaluate(make(random.Random(1000 * n + r), c)) for n, c in enumerate(SETS) for r in range(3)]
    print('{"sets": [\n' + ",\n".join(json.dumps(s, separators=(",", ":")) for s in sets) + "\n]}")


if __name__ == "__main__":
    main()
