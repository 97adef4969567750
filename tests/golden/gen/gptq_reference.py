#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GPTQ and SparseGPT in float64 NumPy, from the optimal-brain-surgeon equations.

    python3 gptq_reference.py tests/golden/methods/gptq.json

Written from the papers' equations, without a Cholesky factor: for every column the inverse of what is left of the damped second
moment is formed explicitly,

    G = (C + lambda I)[j:, j:]^-1,   e = (w_j - q_j) / G[0, 0],   w[j:] -= e G[0, :],   lambda = damp * mean diag C

(Frantar et al. 2022, arXiv:2210.17323, eq. (2); Frantar and Alistarh 2023, arXiv:2301.00774, eq. (3)).  SparseGPT prunes, per block
of 128 columns, the given share of its entries with the least w^2 / G_j[0, 0]; n:m patterns choose each group when its first column
comes.  Made with Python 3.11, NumPy 2.4.6; nothing of Quantscope is used.
"""

import json
import sys

import numpy as np

from method_inputs import encode, fit, output_error, second_moment, text, tokens, weights

GPTQ = [
    {"seed": 1, "bits": 4, "group": 16, "grid": "sym-fullrange-mid", "actorder": "none", "damp": 0.01},
    {"seed": 2, "bits": 3, "group": -1, "grid": "asym-0", "actorder": "none", "damp": 0.01},
    {"seed": 3, "bits": 4, "group": 32, "grid": "sym-fullrange-mid", "actorder": "static", "damp": 0.01},
    {"seed": 4, "bits": 4, "group": 16, "grid": "asym-0", "actorder": "group", "damp": 0.01},
    {"seed": 5, "bits": 2, "group": 16, "grid": "asym-free", "actorder": "none", "damp": 0.1},
    {"seed": 6, "bits": 4, "group": 16, "grid": "sym-restricted", "actorder": "none", "damp": 0.01, "tokens": 32},
]
SPARSE = [
    {"seed": 11, "sparsity": 0.5, "pattern": "free"},
    {"seed": 12, "sparsity": 0.5, "pattern": "2:4"},
    {"seed": 13, "sparsity": 0.7, "pattern": "free"},
]


def damped(c, damp):
    return c + damp * np.mean(np.diag(c)) * np.eye(len(c))


def gptq(w, c, case):
    rows, cols = w.shape
    bits, grid = case["bits"], case["grid"]
    group = cols if case["group"] < 0 else case["group"]
    order = np.arange(cols)
    if case["actorder"] != "none":
        order = np.argsort(-np.diag(c), kind="stable")
    h = damped(c, case["damp"])[np.ix_(order, order)]
    current = w.astype(np.float64)[:, order].copy()
    codes, what = np.zeros((rows, cols)), np.zeros((rows, cols))
    static = {g: fit(w[:, g : g + group], bits, grid) for g in range(0, cols, group)}
    for j in range(cols):
        if case["actorder"] == "static":
            scale, zero = static[order[j] // group * group]
        elif j % group == 0:
            scale, zero = fit(current[:, j : j + group], bits, grid)
        code = encode(current[:, j], scale, zero, bits, grid)
        q = scale.astype(np.float64) * (code - zero)
        inverse = np.linalg.inv(h[j:, j:])
        error = (current[:, j] - q) / inverse[0, 0]
        current[:, j:] -= np.outer(error, inverse[0])
        codes[:, order[j]], what[:, order[j]] = code, q
    return codes, what


def sparsegpt(w, c, case):
    rows, cols = w.shape
    h = damped(c, 0.01)
    current = w.astype(np.float64).copy()
    keep = np.ones((rows, cols), dtype=bool)
    pivot = np.array([np.linalg.inv(h[j:, j:])[0, 0] for j in range(cols)])
    for j in range(cols):
        if case["pattern"] == "free":
            if j % 128 == 0:
                scores = current[:, j : j + 128] ** 2 / pivot[j : j + 128]
                count = int(np.floor(case["sparsity"] * scores.size + 1e-9))
                chosen = np.argsort(scores.ravel(), kind="stable")[:count]
                block = np.ones(scores.size, dtype=bool)
                block[chosen] = False
                keep[:, j : j + 128] = block.reshape(scores.shape)
        else:
            n, m = map(int, case["pattern"].split(":"))
            if j % m == 0:
                scores = current[:, j : j + m] ** 2 / pivot[j : j + m]
                for r in range(rows):
                    keep[r, j + np.argsort(scores[r], kind="stable")[: m - n]] = False
        q = np.where(keep[:, j], current[:, j], 0.0)
        inverse = np.linalg.inv(h[j:, j:])
        error = (current[:, j] - q) / inverse[0, 0]
        current[:, j:] -= np.outer(error, inverse[0])
        current[:, j] = q
    return keep, current


def main():
    out = {"gptq": [], "sparsegpt": []}
    for case in GPTQ:
        case = {"rows": 24, "cols": 64, "tokens": 256, **case}
        w = weights(case["seed"], case["rows"], case["cols"])
        c = second_moment(tokens(case["seed"], case["tokens"], case["cols"]))
        codes, what = gptq(w, c, case)
        first = -(2 ** (case["bits"] - 1)) if case["grid"] == "sym-restricted" else 0
        out["gptq"].append({**case, "first": first, "codes": text(codes, first), "output_error": output_error(w, what, c)})
    for case in SPARSE:
        case = {"rows": 16, "cols": 160, "tokens": 512, **case}
        w = weights(case["seed"], case["rows"], case["cols"])
        c = second_moment(tokens(case["seed"], case["tokens"], case["cols"]))
        keep, what = sparsegpt(w, c, case)
        out["sparsegpt"].append({**case, "keep": text(keep, 0), "output_error": output_error(w, what, c)})
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(out, file, indent=1)
        file.write("\n")


main()
