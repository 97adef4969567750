# SPDX-License-Identifier: Apache-2.0
"""Inputs of the method goldens: integers from a hash, so that C++ and Python make the same bits and the files hold results only.

mix(x) is SplitMix64's output function.  value(seed, i) is a sum of four of its bytes minus 510: an integer in -510..510.

    W[r, c]  = value(seed, r * cols + c) / 512
    z[t, j]  = value(seed + 1, t * cols + j),  u[t, k] = value(seed + 2, t * 4 + k)
    x[t, j]  = g[j] * (2 z[t, j] + z[t, (j + 1) % cols] + 3 u[t, j % 4]) / 1024,  g[j] = 9 where mix(seed + 3 + j) % 8 == 0, else 1

Every x is a multiple of 2^-10 below 2^5, so that sums of products over a power of two of tokens are exact in float64 in any order.
"""

import numpy as np

MASK = (1 << 64) - 1


def mix(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def value(seed, i):
    h = mix((mix(seed) + i) & MASK)
    return sum((h >> shift) & 255 for shift in (0, 8, 16, 24)) - 510


def weights(seed, rows, cols):
    w = [[value(seed, r * cols + c) / 512.0 for c in range(cols)] for r in range(rows)]
    return np.array(w, dtype=np.float32)


def tokens(seed, count, cols):
    gain = [9 if mix((seed + 3 + j) & MASK) % 8 == 0 else 1 for j in range(cols)]
    x = np.zeros((count, cols))
    for t in range(count):
        z = [value(seed + 1, t * cols + j) for j in range(cols)]
        u = [value(seed + 2, t * 4 + k) for k in range(4)]
        for j in range(cols):
            x[t, j] = gain[j] * (2 * z[j] + z[(j + 1) % cols] + 3 * u[j % 4]) / 1024.0
    return x


def second_moment(x):
    return x.T @ x / x.shape[0]


def output_error(w, what, c):
    d = w.astype(np.float64) - what
    return float(np.einsum("ij,jk,ik->", d, c, d) / np.einsum("ij,jk,ik->", w.astype(np.float64), c, w.astype(np.float64)))


def fit(values, bits, grid):
    """Scale (stored as float16) and zero of the last axis, float32 arithmetic as an engine stores it."""
    v = values.astype(np.float32)
    lo, hi = v.min(-1), v.max(-1)
    peak = np.maximum(np.abs(lo), np.abs(hi))
    half, steps = np.float32(2 ** (bits - 1)), np.float32(2**bits - 1)

    def stored(s):
        s = s.astype(np.float32).astype(np.float16).astype(np.float32)
        return np.where(s > 0, s, np.float32(2.0**-14)).astype(np.float32)

    if grid == "sym-fullrange-mid":
        return stored(peak / (steps / np.float32(2))), np.full_like(peak, half)
    if grid == "sym-restricted":
        return stored(peak / (half - 1)), np.zeros_like(peak)
    if grid == "sym-neg-anchored":
        return stored(peak / half), np.zeros_like(peak)
    if grid == "sym-shifted":
        return stored(peak / (half - 1)), np.full_like(peak, half - 1)
    if grid == "asym-0":
        lo, hi = np.minimum(lo, 0), np.maximum(hi, 0)
    s = stored((hi - lo) / steps)
    if grid == "asym-realzero":
        return s, (-lo / s).astype(np.float16).astype(np.float32)
    return s, np.clip(np.rint(-lo / s), 0, steps)


def encode(values, scale, zero, bits, grid):
    first = -(2 ** (bits - 1)) if grid in ("sym-restricted", "sym-neg-anchored") else 0
    code = np.rint(values / scale + zero) if grid == "asym-realzero" else np.rint(values / scale) + zero
    return np.clip(code, first, first + 2**bits - 1)


def text(codes, first):
    """One letter per code, one text per row."""
    return ["".join("0123456789abcdef"[int(c) - first] for c in row) for row in codes]
