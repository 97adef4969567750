#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reference values for uniform grids, from compressed-tensors and from NumPy.

    python3 quant_reference.py --out tests/golden/quant

Made with Python 3.11, compressed-tensors 0.19.0, torch 2.10.0 (CPU), NumPy
2.4.6; each file records its versions.  Nothing of Quantscope is used.  Arrays
are base64 of little-endian values: float32, or int16 for codes.

compressed_tensors.json  calculate_qparams and quantize / dequantize in float32:
    symmetric (codes and zero shifted by 2^(bits-1) to start at 0) and
    asymmetric, per group and per row.
numpy_grids.json         all seven grids from their equations in float32, three
    storage types of the scale; MSE range search in float64 (the best loss of
    every group, and the loss of the plain range); percentile ranges (the
    least squared error of four shares of the values).
"""

import argparse
import base64
import json
import os

import numpy as np
import torch
import compressed_tensors
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
from compressed_tensors.quantization.utils import calculate_qparams

F = np.float32


def b64(array, dtype):
    return base64.b64encode(np.ascontiguousarray(array).astype(dtype).tobytes()).decode()


def weights(rows, cols, seed):
    """Heavy-tailed, with rows of one sign, a zero group, a constant group and a bfloat16 row."""
    rng = np.random.default_rng(seed)
    w = (rng.standard_normal((rows, cols)) * 0.02).astype(F)
    w[:, ::17] *= F(5)
    w[1] = np.abs(w[1]) + F(0.01)
    w[2] = -np.abs(w[2])
    w[3, :32] = 0
    w[4, :32] = F(0.03125)
    w[5] = torch.from_numpy(w[5]).to(torch.bfloat16).float().numpy()
    w[6] *= F(1e-6)
    return w


def reference_cases(w):
    cases = []
    rows, cols = w.shape
    tensor = torch.from_numpy(w)
    for bits in (2, 3, 4, 8):
        for symmetric in (True, False):
            for group in (16, 32, cols):
                args = QuantizationArgs(num_bits=bits, symmetric=symmetric, strategy="group" if group < cols else "channel",
                                        group_size=group if group < cols else None)
                blocks = tensor.reshape(rows, cols // group, group)
                scale, zero = calculate_qparams(blocks.amin(-1), blocks.amax(-1), args)
                codes = quantize(tensor, scale, zero, args)
                decoded = dequantize(codes, scale, zero, args)
                shift = 2 ** (bits - 1)
                cases.append({
                    "bits": bits, "group": group, "grid": "sym-fullrange-mid" if symmetric else "asym-0",
                    "scale": b64(scale.numpy(), "<f4"), "zero": b64(zero.numpy().astype(F) + shift, "<f4"),
                    "codes": b64(codes.numpy() + shift, "<i2"), "decoded": b64(decoded.numpy(), "<f4")})
    return cases


def stored(scale, kind):
    """The scale as its type stores it; what rounds to 0 becomes the smallest normal number of the type."""
    if kind == "float16":
        scale, tiny = F(np.float16(scale)), F(2.0 ** -14)
    elif kind == "bfloat16":
        scale, tiny = F(torch.tensor(scale).to(torch.bfloat16).float().item()), F(2.0 ** -126)
    else:
        tiny = F(2.0 ** -126)
    return scale if scale > 0 else tiny


def params(lo, hi, bits, grid, kind):
    lo, hi = F(lo), F(hi)
    top, half = F(2 ** bits - 1), F(2 ** (bits - 1))
    m = max(abs(lo), abs(hi))
    if grid == "sym-fullrange-mid":
        return stored(F(2) * m / top, kind), half
    if grid == "sym-restricted":
        return stored(m / (half - F(1)), kind), F(0)
    if grid == "sym-neg-anchored":
        return stored(m / half, kind), F(0)
    if grid == "sym-shifted":
        return stored(m / (half - F(1)), kind), half - F(1)
    if grid == "asym-0" or lo == hi:
        lo, hi = min(lo, F(0)), max(hi, F(0))
    s = stored((hi - lo) / top, kind)
    if grid == "asym-realzero":
        return s, F(np.float16(-lo / s))
    return s, F(np.clip(np.rint(-lo / s), 0, top))


def encode(w, s, z, bits, grid):
    low = -(2 ** (bits - 1)) if grid in ("sym-restricted", "sym-neg-anchored") else 0
    q = np.rint(w / s + z) if grid == "asym-realzero" else np.rint(w / s) + z
    return np.clip(q, low, low + 2 ** bits - 1).astype(np.int16)


GRIDS = ("sym-fullrange-mid", "sym-restricted", "sym-neg-anchored", "sym-shifted", "asym-0", "asym-free", "asym-realzero")


def loss(w, s, z, bits, grid, norm):
    decoded = s * (encode(w, s, z, bits, grid).astype(F) - z)
    extreme = float(np.abs(w).max())
    return float(((np.abs(w.astype(np.float64) - decoded.astype(np.float64)) / extreme) ** norm).sum()) if extreme > 0 else 0.0


def numpy_cases(w):
    cases = []
    rows, cols = w.shape
    group = 32
    for grid in GRIDS:
        for bits in (2, 3, 4, 8):
            for kind in ("float32", "float16", "bfloat16"):
                scale = np.zeros((rows, cols // group), F)
                zero = np.zeros_like(scale)
                codes = np.zeros(w.shape, np.int16)
                decoded = np.zeros(w.shape, F)
                for r in range(rows):
                    for g in range(cols // group):
                        part = w[r, g * group:(g + 1) * group]
                        s, z = params(part.min(), part.max(), bits, grid, kind)
                        scale[r, g], zero[r, g] = s, z
                        c = encode(part, s, z, bits, grid)
                        codes[r, g * group:(g + 1) * group] = c
                        decoded[r, g * group:(g + 1) * group] = s * (c.astype(F) - z)
                cases.append({"grid": grid, "bits": bits, "group": group, "scale_dtype": kind, "scale": b64(scale, "<f4"),
                              "zero": b64(zero, "<f4"), "codes": b64(codes, "<i2"), "decoded": b64(decoded, "<f4")})
    return cases


def range_cases(w):
    cases = []
    group = 32
    for grid in ("sym-fullrange-mid", "sym-restricted", "asym-0", "asym-free"):
        for bits in (2, 3, 4):
            best, plain, least, shares = [], [], [], []
            for row in w:
                for g in range(0, len(row), group):
                    part = row[g:g + group]
                    losses = []
                    for i in range(80):
                        p = F(1 - i / 100)
                        s, z = params(part.min() * p, part.max() * p, bits, grid, "float16")
                        losses.append(loss(part, s, z, bits, grid, 2.4))
                    best.append(min(losses))
                    plain.append(losses[0])
                    losses = [loss(part, *params(part.min(), part.max(), bits, grid, "float16"), bits, grid, 2.0)]
                    for outside in (0.05, 0.005, 0.0005):
                        if grid.startswith("sym"):
                            hi = F(np.quantile(np.abs(part).astype(np.float64), 1 - outside))
                            lo = -hi
                        else:
                            lo = F(np.quantile(part.astype(np.float64), outside / 2))
                            hi = F(np.quantile(part.astype(np.float64), 1 - outside / 2))
                        losses.append(loss(part, *params(lo, hi, bits, grid, "float16"), bits, grid, 2.0))
                    least.append(min(losses))
                    shares.append(losses.index(min(losses)))
            cases.append({"grid": grid, "bits": bits, "group": group, "mse_best": best, "mse_plain": plain,
                          "percentile": 0.95, "percentile_best": least, "percentile_choice": shares})
    return cases


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    out = parser.parse_args().out
    os.makedirs(out, exist_ok=True)
    w = weights(8, 64, 20240)
    head = {"rows": 8, "cols": 64, "seed": 20240, "numpy": np.__version__, "torch": torch.__version__, "w": b64(w, "<f4")}
    with open(os.path.join(out, "compressed_tensors.json"), "w", encoding="utf-8") as file:
        json.dump(head | {"compressed_tensors": compressed_tensors.__version__, "cases": reference_cases(w)}, file, indent=1)
        file.write("\n")
    with open(os.path.join(out, "numpy_grids.json"), "w", encoding="utf-8") as file:
        json.dump(head | {"cases": numpy_cases(w), "ranges": range_cases(w)}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
