#!/usr/bin/env python3
"""Random label maps, coded as Cityscapes codes them, and what NumPy makes of them, for the test `equals_numpy` of src/metrics.

    pip install numpy
    python tests/reference/confusion.py > tests/reference/confusion.json

Label ids become the 19 train ids by the table of the Cityscapes scripts, all others 255. The matrix is the usual
`bincount(19 * truth + predicted)` over pixels whose truth is not 255; IoU = diagonal / (row + column - diagonal). Two means:
over classes with a pixel in the ground truth (MTNAS), over classes whose diagonal is not 0 (AutoMTL).
Format: {"sets": [{"maps": [{"width", "ids": hex, "predicted": hex}...], "matrix": [[19]...], "present": mean, "diagonal": mean,
"accuracy": share of right pixels}...]}, a byte a pixel.
"""
import json

import numpy as np

LABEL_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
N = len(LABEL_IDS)


def train_ids(ids):
    table = np.full(256, 255, np.int64)
    table[LABEL_IDS] = np.arange(N)
    return table[ids]


def make(rng, size, classes, right, lost):
    """Blocks of some ids, a prediction that is right in a share of the pixels; ignored pixels are predicted as something too. Classes
    below `lost` are never found."""
    h, w = size
    pool = rng.permutation(np.concatenate([LABEL_IDS, [0, 1, 4, 9, 15, 29, 255]]))[:classes]
    ids = pool[rng.integers(0, classes, (h // 4 + 1, w // 4 + 1))].repeat(4, 0).repeat(4, 1)[:h, :w]
    truth = train_ids(ids)
    predicted = np.where(rng.random((h, w)) < right, truth, rng.integers(0, N, (h, w)))
    predicted = np.where(predicted == 255, rng.integers(0, N, (h, w)), predicted)
    predicted = np.where((truth < lost) & (predicted == truth), N - 1 - truth, predicted)
    return ids.astype(np.uint8), predicted.astype(np.uint8)


def evaluate(maps):
    matrix = np.zeros((N, N), np.int64)
    for ids, predicted in maps:
        truth = train_ids(ids).ravel()
        keep = truth != 255
        matrix += np.bincount(N * truth[keep] + predicted.ravel()[keep].astype(np.int64), minlength=N * N).reshape(N, N)
    diagonal, rows, columns = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    union = rows + columns - diagonal
    iou = np.where(union > 0, diagonal / np.maximum(union, 1), 0.0)
    mean = lambda chosen: float(iou[chosen].mean()) if chosen.any() else None
    total = int(matrix.sum())
    return dict(maps=[dict(width=i.shape[1], ids=i.tobytes().hex(), predicted=p.tobytes().hex()) for i, p in maps],
                matrix=matrix.tolist(), present=mean(rows > 0), diagonal=mean(diagonal > 0),
                accuracy=float(diagonal.sum() / total) if total else None)


def main():
    rng = np.random.default_rng(1)
    cases = [((24, 32), 6, 0.8), ((16, 48), 20, 0.5), ((13, 17), 3, 0.0), ((8, 8), 26, 0.9), ((20, 20), 1, 1.0), ((9, 40), 12, 0.3)]
    sets = [evaluate([make(rng, size, classes, right, 5 * (k % 2)) for _ in range(1 + k % 3)]) for k, (size, classes, right) in enumerate(cases)]
    ignored = np.full((4, 4), 3, np.uint8), np.zeros((4, 4), np.uint8)
    sets.append(evaluate([ignored]))
    print('{"sets": [\n' + ",\n".join(json.dumps(s, separators=(",", ":")) for s in sets) + "\n]}")


if __name__ == "__main__":
    main()
