#!/usr/bin/env python3
"""Peers of the loader: JPEG files to normalised, augmented (3, H, W) float32, one after another on one thread.

    python loader.py --make pictures                        # 48 pictures of 1280x720, an image folder
    python loader.py pictures --peer torchvision --json -
    python loader.py pictures --peer opencv --seconds 10

All do what `mtnas bench loader pictures` does: read, decode, resize to 320x512 (the whole picture), mirror every other
one, the colour changes of SSD (brightness by 32, contrast and saturation 0.5 to 1.5, hue by 18 degrees, channel order,
each every other time), normalise by the mean and deviation of ImageNet.

| peer | what |
| --- | --- |
| torchvision | PIL pictures through `transforms.v2`, as its reference scripts do |
| torchvision-tensor | PIL decodes and resizes, the colours change as an 8-bit tensor |
| torchvision-draft | as torchvision, decoded at half the size where that is enough (`Image.draft`): other pixels |
| opencv | 8 bits as long as that goes, bilinear without antialiasing: its fastest way |
| opencv-area | the same, resized by areas, which does not alias |
| opencv-float | the colour changes in float32, as the SSD code in PyTorch has them |
"""

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time

import numpy as np

SIZE = (320, 512)
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def make(folder, count, quality):
    """Smooth noise with edges and flat parts: some 90 KB each at quality 75, about what dash cameras write."""
    from PIL import Image
    h, w = 720, 1280
    fy, fx = np.meshgrid(np.fft.fftfreq(h), np.fft.rfftfreq(w), indexing="ij")
    fall = 1.0 / np.maximum(np.hypot(fy, fx), 1.0 / w) ** 1.5
    r = np.random.default_rng(7)
    os.makedirs(os.path.join(folder, "train", "all"), exist_ok=True)
    os.makedirs(os.path.join(folder, "val", "all"), exist_ok=True)
    sizes = []
    for i in range(count):
        def field():
            noise = np.fft.irfft2(fall * np.fft.rfft2(r.standard_normal((h, w))), s=(h, w))
            return noise / noise.std()
        grey = field()
        picture = np.stack([grey + 0.25 * field() for _ in range(3)], -1) * 45 + 110
        for _ in range(40):
            y, x = r.integers(0, h), r.integers(0, w)
            dy, dx = r.integers(8, 200, 2)
            part = picture[y : y + dy, x : x + dx]
            part[:] = 0.35 * part + 0.65 * r.integers(0, 256, 3)
        picture = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
        name = os.path.join(folder, "train" if i % 8 else "val", "all", f"{i:03}.jpg")
        picture.save(name, quality=quality, subsampling=2)
        sizes.append(os.path.getsize(name))
    print(f"{count} pictures of {statistics.mean(sizes) / 1024:.0f} KiB on average in {folder}", file=sys.stderr)


def torchvision_peer(kind):
    import torch
    from PIL import Image
    from torchvision.transforms import v2
    torch.set_num_threads(1)
    distort = v2.RandomPhotometricDistort(brightness=(0.875, 1.125), contrast=(0.5, 1.5), saturation=(0.5, 1.5),
                                          hue=(-0.05, 0.05), p=0.5)
    first = [v2.Resize(SIZE, antialias=True), v2.RandomHorizontalFlip(0.5)]
    last = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN.tolist(), STD.tolist())]
    middle = [v2.ToImage(), distort] if kind == "torchvision-tensor" else [distort, v2.ToImage()]
    change = v2.Compose(first + middle + last)

    def one(path):
        with Image.open(path) as picture:
            if kind == "torchvision-draft":
                picture.draft("RGB", (SIZE[1], SIZE[0]))
            return change(picture.convert("RGB"))

    import torchvision
    return one, {"torch": torch.__version__, "torchvision": torchvision.__version__}


def opencv_peer(kind):
    import cv2
    cv2.setNumThreads(0)
    how = cv2.INTER_AREA if kind == "opencv-area" else cv2.INTER_LINEAR
    scale, shift = 1 / (255 * STD), -MEAN / STD
    coin = lambda: random.random() < 0.5  # noqa: E731
    ramp = np.arange(256, dtype=np.float32)

    def bytes_of(picture):
        add = random.uniform(-32, 32) if coin() else 0.0
        times = random.uniform(0.5, 1.5) if coin() else 1.0
        first = coin()
        contrast = np.clip(ramp * times, 0, 255).astype(np.uint8) if times != 1 else None
        table = np.clip(ramp + add, 0, 255)
        if first:
            table = np.clip(table * times, 0, 255)
        if add or (first and times != 1):
            picture = cv2.LUT(picture, table.astype(np.uint8))
        colour, turn = (random.uniform(0.5, 1.5) if coin() else 1.0), (random.uniform(-18, 18) if coin() else 0.0)
        if colour != 1 or turn:
            hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
            tables = np.stack([(ramp + turn / 2) % 180, np.clip(ramp * colour, 0, 255), ramp], -1)
            hsv = cv2.LUT(hsv, tables.astype(np.uint8).reshape(1, 256, 3))
            picture = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        if not first and contrast is not None:
            picture = cv2.LUT(picture, contrast)
        return picture

    def floats_of(picture):
        picture = picture.astype(np.float32)
        if coin():
            picture = np.clip(picture + random.uniform(-32, 32), 0, 255)
        first = coin()
        times = random.uniform(0.5, 1.5) if coin() else 1.0
        if first and times != 1:
            picture = np.clip(picture * np.float32(times), 0, 255)
        colour, turn = (random.uniform(0.5, 1.5) if coin() else 1.0), (random.uniform(-18, 18) if coin() else 0.0)
        if colour != 1 or turn:
            hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
            hsv[..., 1] = np.minimum(hsv[..., 1] * colour, 1)
            hsv[..., 0] = (hsv[..., 0] + turn) % 360
            picture = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        if not first and times != 1:
            picture = np.clip(picture * np.float32(times), 0, 255)
        return picture

    change = floats_of if kind == "opencv-float" else bytes_of

    def one(path):
        picture = cv2.imread(path, cv2.IMREAD_COLOR)
        picture = cv2.resize(picture, (SIZE[1], SIZE[0]), interpolation=how)
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        if coin():
            picture = cv2.flip(picture, 1)
        picture = change(picture)
        order = random.sample(range(3), 3) if coin() else [0, 1, 2]
        out = np.empty((3, *SIZE), np.float32)
        planes = cv2.split(picture)
        for c in range(3):
            np.multiply(planes[order[c]], scale[c], out=out[c])
            out[c] += shift[c]
        return out

    return one, {"opencv": cv2.__version__}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("folder")
    p.add_argument("--make", action="store_true", help="make the pictures")
    p.add_argument("--count", type=int, default=48)
    p.add_argument("--quality", type=int, default=75)
    p.add_argument("--peer", default="torchvision")
    p.add_argument("--seconds", type=float, default=3.0)
    p.add_argument("--json", default="", help="file; - for the standard output")
    a = p.parse_args()
    if a.make:
        return make(a.folder, a.count, a.quality)
    random.seed(1)
    one, versions = (torchvision_peer if a.peer.startswith("torchvision") else opencv_peer)(a.peer)
    top = os.path.join(a.folder, "train")
    paths = sorted(os.path.join(d, f) for d, _, files in os.walk(top) for f in files)
    for path in paths[:3]:
        out = one(path)
    assert tuple(out.shape) == (3, *SIZE), out.shape
    ms, first, cpu = [], time.perf_counter(), time.process_time()
    while len(ms) < 3 or time.perf_counter() - first < a.seconds:
        start = time.perf_counter()
        one(paths[len(ms) % len(paths)])
        ms.append((time.perf_counter() - start) * 1e3)
    cpu = (time.process_time() - cpu) * 1e3 / len(ms)
    found = {"peer": a.peer, "images": len(ms), "ms": {"median": statistics.median(ms), "mean": statistics.mean(ms)},
             "cpu_ms": cpu, "images_per_s": 1e3 / statistics.mean(ms),
             "environment": {"python": platform.python_version(), "numpy": np.__version__, **versions}}
    if a.json and a.json != "-":
        with open(a.json, "w") as f:
            json.dump(found, f, indent=1)
    elif a.json:
        print(json.dumps(found))
    else:
        print(f"{a.peer}: {found['ms']['median']:.2f} ms, {found['images_per_s']:.1f} images/s")


if __name__ == "__main__":
    sys.exit(main())
