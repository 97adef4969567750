#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Round to nearest, magnitude and Wanda masks, SmoothQuant scales and the AWQ search in NumPy, from the papers' equations.

    python3 methods_reference.py tests/golden/methods/simple.json

Round to nearest: Jacob et al. 2018, arXiv:1712.05877, eq. (1), scales stored as float16.  Magnitude: Han et al. 2015,
arXiv:1506.02626.  Wanda: Sun et al. 2023, arXiv:2306.11695, eq. (1).  SmoothQuant: Xiao et al. 2022, arXiv:2211.10438, eq. (4).
AWQ: Lin et al. 2023, arXiv:2306.00978, eq. (4) and (5), with the loss of the single linear layer on the tokens themselves.
Made with Python 3.11, NumPy 2.4.6; nothing of Quantscope is used.
"""

import json
import sys

import numpy as np

from method_inputs import encode, fit, text, tokens, weights

GRIDS = ["sym-fullrange-mid", "sym-restricted", "sym-neg-anchored", "sym-shifted", "asym-0", "asym-free", "asym-realzero"]


def nearest(w, bits, group, grid):
    codes, what = np.zeros(w.shape), np.zeros(w.shape, dtype=np.float32)
    for g in range(0, w.shape[1], group):
        scale, zero = fit(w[:, g : g + group], bits, grid)
        code = encode(w[:, g : g + group], scale[:, None], zero[:, None], bits, grid).astype(np.float32)
        codes[:, g : g + group] = code
        what[:, g : g + group] = scale[:, None] * (code - zero[:, None])
    return codes, what


def lowest(scores, count):
    keep = np.ones(scores.size, dtype=bool)
    keep[np.argsort(scores.ravel(), kind="stable")[:count]] = False
    return keep.reshape(scores.shape)


def mask(scores, sparsity, pattern, per_row):
    if pattern != "free":
        n, m = map(int, pattern.split(":"))
        groups = scores.reshape(-1, m)
        return np.array([lowest(row, m - n) for row in groups]).reshape(scores.shape)
    if per_row:
        count = int(np.floor(sparsity * scores.shape[1] + 1e-9))
        return np.array([lowest(row, count) for row in scores])
    return lowest(scores, int(np.floor(sparsity * scores.size + 1e-9)))


def awq(w, x, bits, group, grid):
    mean = np.abs(x).mean(0)
    losses = []
    for i in range(20):
        s = np.maximum(mean ** (i / 20), 1e-4)
        s /= np.sqrt(s.max() * s.min())
        _, q = nearest((w * s).astype(np.float32), bits, group, grid)
        d = w.astype(np.float64) - (q / s).astype(np.float32)
        losses.append(float((((x @ d.T) ** 2).sum()) / len(x)))
    best = int(np.argmin(losses))
    return {"ratio": best / 20, "loss": losses[best], "loss_nearest": losses[0]}


def main():
    out = {"rtn": [], "masks": [], "smooth": [], "awq": []}
    for seed, grid in enumerate(GRIDS, 21):
        for bits in (4, 3):
            w = weights(seed, 8, 32)
            codes, what = nearest(w, bits, 16, grid)
            first = -(2 ** (bits - 1)) if grid in ("sym-restricted", "sym-neg-anchored") else 0
            out["rtn"].append({"seed": seed, "rows": 8, "cols": 32, "bits": bits, "group": 16, "grid": grid, "first": first,
                               "codes": text(codes, first), "sum": float(what.astype(np.float64).sum())})
    cases = [(0.5, "free"), (0.29, "free"), (0.9, "free"), (0.5, "2:4"), (0.5, "4:8"), (0.5, "1:4")]
    for seed, (sparsity, pattern) in enumerate(cases, 41):
        w = weights(seed, 16, 32)
        x = tokens(seed, 128, 32)
        norm = np.sqrt((x * x).sum(0))
        magnitude = np.abs(w.astype(np.float64))
        out["masks"].append({"seed": seed, "rows": 16, "cols": 32, "tokens": 128, "sparsity": sparsity, "pattern": pattern,
                             "magnitude": text(mask(magnitude, sparsity, pattern, False), 0),
                             "wanda": text(mask(magnitude * norm, sparsity, pattern, True), 0)})
    for seed, alpha in ((51, 0.5), (52, 0.85), (53, 0.0), (54, 1.0)):
        consumers = [weights(seed, 12, 24), weights(seed + 100, 6, 24)]
        x = tokens(seed, 64, 24)
        wmax = np.max([np.abs(w.astype(np.float64)).max(0) for w in consumers], axis=0)
        s = np.maximum(np.abs(x).max(0), 1e-5) ** alpha / np.maximum(wmax, 1e-5) ** (1 - alpha)
        out["smooth"].append({"seed": seed, "rows": [12, 6], "cols": 24, "tokens": 64, "alpha": alpha, "scale": list(np.maximum(s, 1e-5))})
    for seed, bits, grid in ((61, 3, "sym-fullrange-mid"), (62, 3, "asym-free"), (63, 4, "asym-0")):
        w = weights(seed, 16, 32)
        x = tokens(seed, 256, 32)
        out["awq"].append({"seed": seed, "rows": 16, "cols": 32, "tokens": 256, "bits": bits, "group": 16, "grid": grid,
                           **awq(w, x, bits, 16, grid)})
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(out, file, indent=1)
        file.write("\n")


main()
