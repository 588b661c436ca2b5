#!/usr/bin/env python3
"""Writes COCO detection files of a few pictures below tests/data/coco, with the fields of instances_*2017.json.

Standard library only.  Category ids have gaps, as the real ones, and are not in order; the second file has its parts in
another order, with the annotations of a picture apart from each other.  Pictures are 64 x 36; the tests write them.
"""

import json
import os

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "coco", "annotations")

CATEGORIES = [(18, "animal", "dog"), (1, "person", "person"), (90, "indoor", "toothbrush"), (3, "vehicle", "car")]


def image(i, name):
    return {
        "license": 4,
        "file_name": name,
        "coco_url": "http://images.cocodataset.org/train2017/" + name,
        "height": 36,
        "width": 64,
        "date_captured": "2013-11-14 17:02:52",
        "id": i,
    }


def annotation(i, image_id, category, x, y, w, h, crowd=0):
    outline = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    if crowd:
        outline = {"counts": [272, 2, 4, 4, 4], "size": [36, 64]}
    return {
        "segmentation": outline,
        "area": w * h,
        "iscrowd": crowd,
        "image_id": image_id,
        "bbox": [x, y, w, h],
        "category_id": category,
        "id": i,
    }


def categories():
    return [{"supercategory": s, "id": i, "name": n} for i, s, n in CATEGORIES]


HEAD = {"info": {"description": "COCO 2017 Dataset", "year": 2017}, "licenses": [{"url": "u", "id": 1, "name": "n"}]}

if __name__ == "__main__":
    os.makedirs(HERE, exist_ok=True)
    train = dict(HEAD)
    train["images"] = [image(391895, "000000391895.jpg"), image(522418, "000000522418.jpg"), image(9, "000000000009.jpg")]
    train["annotations"] = [
        annotation(156, 522418, 3, 1.5, 2.25, 20.5, 10.0),
        annotation(509, 391895, 1, 30.0, 4.0, 3.5, 11.25),
        annotation(603, 522418, 18, 10.0, 10.0, 54.0, 26.0),
        # Some boxes of the real set have no width or height.
        annotation(918, 522418, 18, 10.0, 10.0, 0.0, 5.0),
        annotation(900100391895, 391895, 1, 0.0, 0.0, 64.0, 9.0, crowd=1),
    ]
    train["categories"] = categories()
    with open(os.path.join(HERE, "instances_train2017.json"), "w") as f:
        json.dump(train, f)
    val = {"annotations": [annotation(7, 2, 90, 5, 6, 7, 8)], "categories": categories()}
    val["images"] = [image(2, "000000000002.jpg")]
    val.update(HEAD)
    with open(os.path.join(HERE, "instances_val2017.json"), "w") as f:
        json.dump(val, f, indent=1)
