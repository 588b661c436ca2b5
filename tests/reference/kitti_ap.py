#!/usr/bin/env python3
"""Random scenes and what the official 2-D object evaluation of KITTI makes of them, for the test `equals_the_official_algorithm`.

    python tests/reference/kitti_ap.py > tests/reference/kitti_ap.json

A plain port of the steps of the C++ development kit (clean_data, compute_statistics, get_thresholds, eval_class) with its names and
its sentinels, written from their description and not from the Rust code. Needs nothing but Python. One choice: an object of exactly the
height limit counts (`<`; copies of the kit differ, the description of the benchmark says "min. height").

Coordinates are whole quarter pixels, scores whole 1/64, truncation whole 1/20, so both programs read the same numbers.
Format: {"sets": [{"images": [{"truth": [[type, left, top, right, bottom, occluded, truncated]...],
"found": [[class, score, left, top, right, bottom]...]}...], "r40": [[easy, moderate, hard] of car, pedestrian, cyclist],
"r11": likewise, "counted": likewise}...]}; an AP is -1 where no object counts.
"""
import json
import random

CLASSES = ["Car", "Pedestrian", "Cyclist"]
MIN_OVERLAP = [0.7, 0.5, 0.5]
MIN_HEIGHT = [40, 25, 25]
MAX_OCCLUSION = [0, 1, 2]
MAX_TRUNCATION = [0.15, 0.30, 0.50]
N_SAMPLE_PTS = 41
NO_DETECTION = -10000000

# ---- the algorithm ------------------------------------------------------------------------------------------------------------


def box_overlap(a, b, criterion):
    x1, y1, x2, y2 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    w, h = x2 - x1, y2 - y1
    if w <= 0 or h <= 0:
        return 0.0
    inter = w * h
    a_area = (a[2] - a[0]) * (a[3] - a[1])
    b_area = (b[2] - b[0]) * (b[3] - b[1])
    return inter / (a_area + b_area - inter) if criterion == -1 else inter / a_area


def clean_data(current, gt, det, difficulty):
    ignored_gt, ignored_det, dc, n_gt = [], [], [], 0
    for g in gt:
        height = g["box"][3] - g["box"][1]
        if g["type"] == CLASSES[current]:
            valid = 1
        elif (CLASSES[current], g["type"]) in (("Pedestrian", "Person_sitting"), ("Car", "Van")):
            valid = 0
        else:
            valid = -1
        ignore = (g["occlusion"] > MAX_OCCLUSION[difficulty] or g["truncation"] > MAX_TRUNCATION[difficulty]
                  or height < MIN_HEIGHT[difficulty])
        if valid == 1 and not ignore:
            ignored_gt.append(0)
            n_gt += 1
        elif valid == 0 or (ignore and valid == 1):
            ignored_gt.append(1)
        else:
            ignored_gt.append(-1)
        if g["type"] == "DontCare":
            dc.append(g)
    for d in det:
        height = int(abs(d["box"][1] - d["box"][3]))
        if height < MIN_HEIGHT[difficulty]:
            ignored_det.append(1)
        elif d["type"] == CLASSES[current]:
            ignored_det.append(0)
        else:
            ignored_det.append(-1)
    return ignored_gt, ignored_det, dc, n_gt


def compute_statistics(current, gt, det, dc, ignored_gt, ignored_det, compute_fp, thresh=0.0):
    tp = fp = fn = 0
    v = []
    assigned = [False] * len(det)
    ignored_threshold = [compute_fp and d["score"] < thresh for d in det]
    for i, g in enumerate(gt):
        if ignored_gt[i] == -1:
            continue
        det_idx, valid_detection, max_overlap, assigned_ignored_det = -1, NO_DETECTION, 0.0, False
        for j, d in enumerate(det):
            if ignored_det[j] == -1 or assigned[j] or ignored_threshold[j]:
                continue
            overlap = box_overlap(d["box"], g["box"], -1)
            enough = overlap > MIN_OVERLAP[current]
            if not compute_fp and enough and d["score"] > valid_detection:
                det_idx, valid_detection = j, d["score"]
            elif compute_fp and enough and (overlap > max_overlap or assigned_ignored_det) and ignored_det[j] == 0:
                max_overlap, det_idx, valid_detection, assigned_ignored_det = overlap, j, 1, False
            elif compute_fp and enough and valid_detection == NO_DETECTION and ignored_det[j] == 1:
                det_idx, valid_detection, assigned_ignored_det = j, 1, True
        if valid_detection == NO_DETECTION and ignored_gt[i] == 0:
            fn += 1
        elif valid_detection != NO_DETECTION and (ignored_gt[i] == 1 or ignored_det[det_idx] == 1):
            assigned[det_idx] = True
        elif valid_detection != NO_DETECTION:
            tp += 1
            v.append(det[det_idx]["score"])
            assigned[det_idx] = True
    if compute_fp:
        for j in range(len(det)):
            if not (assigned[j] or ignored_det[j] == -1 or ignored_det[j] == 1 or ignored_threshold[j]):
                fp += 1
        nstuff = 0
        for g in dc:
            for j, d in enumerate(det):
                if assigned[j] or ignored_det[j] == -1 or ignored_det[j] == 1 or ignored_threshold[j]:
                    continue
                if box_overlap(d["box"], g["box"], 0) > MIN_OVERLAP[current]:
                    assigned[j] = True
                    nstuff += 1
        fp -= nstuff
    return tp, fp, fn, v


def get_thresholds(v, n_groundtruth):
    t = []
    v = sorted(v, reverse=True)
    current_recall = 0.0
    for i in range(len(v)):
        l_recall = (i + 1) / n_groundtruth
        r_recall = (i + 2) / n_groundtruth if i < len(v) - 1 else l_recall
        if (r_recall - current_recall) < (current_recall - l_recall) and i < len(v) - 1:
            continue
        t.append(v[i])
        current_recall += 1.0 / (N_SAMPLE_PTS - 1.0)
    return t


def eval_class(current, images, difficulty):
    n_gt, v, cleaned = 0, [], []
    for gt, det in images:
        ignored_gt, ignored_det, dc, n = clean_data(current, gt, det, difficulty)
        cleaned.append((gt, det, dc, ignored_gt, ignored_det))
        n_gt += n
        v += compute_statistics(current, gt, det, dc, ignored_gt, ignored_det, False)[3]
    if n_gt == 0:
        return -1.0, -1.0, 0
    thresholds = get_thresholds(v, n_gt)
    assert len(thresholds) <= N_SAMPLE_PTS
    precision = [0.0] * N_SAMPLE_PTS
    for i, t in enumerate(thresholds):
        tp = fp = 0
        for gt, det, dc, ignored_gt, ignored_det in cleaned:
            s = compute_statistics(current, gt, det, dc, ignored_gt, ignored_det, True, t)
            tp, fp = tp + s[0], fp + s[1]
        precision[i] = tp / (tp + fp) if tp + fp else 0.0
    for i in range(len(thresholds)):
        precision[i] = max(precision[i:])
    return sum(precision[1:]) / 40, sum(precision[0::4]) / 11, n_gt


# ---- the scenes ---------------------------------------------------------------------------------------------------------------

# images, objects and stray detections an image (up to), share of crossed classes, score levels, share of regions, room
SETS = [
    dict(images=1, objects=4, strays=2, cross=0.1, levels=64, regions=0.3, room=(600, 300)),
    dict(images=4, objects=6, strays=3, cross=0.1, levels=64, regions=0.3, room=(800, 400)),
    dict(images=4, objects=6, strays=3, cross=0.2, levels=2, regions=0.3, room=(800, 400)),     # nearly all scores tie
    dict(images=3, objects=10, strays=2, cross=0.3, levels=8, regions=0.2, room=(120, 80)),     # heaps: several candidates each
    dict(images=3, objects=8, strays=6, cross=0.1, levels=16, regions=1.5, room=(400, 200)),    # regions everywhere
    dict(images=2, objects=0, strays=4, cross=0.0, levels=8, regions=0.5, room=(400, 200)),     # no object
    dict(images=2, objects=5, strays=0, cross=0.0, levels=8, regions=0.3, room=(400, 200), hits=0),  # no detection
    dict(images=4, objects=8, strays=2, cross=0.3, levels=16, regions=0.3, room=(300, 200), low=0.9),  # around the height limits
]
TYPES = ["Car", "Car", "Car", "Pedestrian", "Pedestrian", "Cyclist", "Van", "Person_sitting", "Truck", "Misc"]


def make(rng, c):
    images = []
    for _ in range(c["images"]):
        truth, found = [], []

        def some_box():
            w = rng.randint(40, 400)
            h = rng.choice([100, 160, rng.randint(94, 106), rng.randint(154, 166)]) if rng.random() < c.get("low", 0.3) \
                else rng.randint(60, 500)
            x, y = rng.randint(0, c["room"][0]), rng.randint(0, c["room"][1])
            return [x, y, x + w, y + h]

        def near(b):
            if rng.random() < 0.15:
                return list(b)
            w, h = max(1, (b[2] - b[0]) // 8), max(1, (b[3] - b[1]) // rng.choice([8, 12, 30]))
            x1, y1 = b[0] + rng.randint(-w, w), b[1] + rng.randint(-h, h)
            return [x1, y1, max(x1 + 1, b[2] + rng.randint(-w, w)), max(y1 + 1, b[3] + rng.randint(-h, h))]

        score = lambda: rng.randint(1, c["levels"]) * (64 // c["levels"])
        for _ in range(rng.randint(min(1, c["objects"]), c["objects"]) if c["objects"] else 0):
            kind, b = rng.choice(TYPES), some_box()
            truth.append([kind, *b, rng.choice(c.get("occluded", [0, 0, 0, 1, 2, 3])),
                          rng.choice(c.get("truncated", [0, 0, 0, 3, 4, 6, 7, 10, 11]))])
            own = {"Car": 0, "Van": 0, "Pedestrian": 1, "Person_sitting": 1, "Cyclist": 2}.get(kind, rng.randrange(3))
            for _ in range(rng.choice([0, 1, 1, 1, 2, 3]) * c.get("hits", 1)):
                found.append([own if rng.random() >= c["cross"] else rng.randrange(3), score(), *near(b)])
        for _ in range(int(c["regions"] + rng.random())):
            b = some_box()
            truth.append(["DontCare", *b, -1, -20])
            for _ in range(rng.randint(0, 2)):
                found.append([rng.randrange(3), score(), *near(b)])
        for _ in range(rng.randint(0, c["strays"])):
            found.append([rng.randrange(3), score(), *some_box()])
        rng.shuffle(truth)
        rng.shuffle(found)
        images.append(dict(truth=truth, found=found))
    return images


def evaluate(images):
    plain = lambda b: [v / 4.0 for v in b]
    read = [([dict(type=t[0], box=plain(t[1:5]), occlusion=t[5], truncation=t[6] / 20) for t in im["truth"]],
             [dict(type=CLASSES[d[0]], score=d[1] / 64.0, box=plain(d[2:])) for d in im["found"]]) for im in images]
    every = [[eval_class(c, read, d) for d in range(3)] for c in range(3)]
    return dict(images=images, r40=[[e[0] for e in row] for row in every], r11=[[e[1] for e in row] for row in every],
                counted=[[e[2] for e in row] for row in every])


def large():
    """Sets with more than 40 objects of a class, where thresholds are thinned."""
    plain = dict(occluded=[0, 0, 0, 0, 0, 1], truncated=[0, 0, 0, 0, 0, 3, 4])
    return [dict(images=10, objects=40, strays=4, cross=0.1, levels=levels, regions=0.2, room=(2000, 500), **plain) for levels in (64, 4)]


def main():
    sets = [evaluate(make(random.Random(1000 * n + r), c)) for n, c in enumerate(SETS) for r in range(20)]
    sets += [evaluate(make(random.Random(90000 + 10 * n + r), c)) for n, c in enumerate(large()) for r in range(2)]
    text = ",\n".join(json.dumps(s, separators=(",", ":")) for s in sets)
    print('{"sets": [\n' + text + "\n]}")


if __name__ == "__main__":
    main()
