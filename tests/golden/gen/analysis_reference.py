#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reference values for the analysis of a layer's input, from NumPy and SciPy.

    python3 analysis_reference.py --out tests/golden/analysis

Made with Python 3.11, NumPy 2.4.6, SciPy (version in the file).  Nothing of
Quantscope is used: everything follows from the tokens themselves, in float64.

analysis.json   two inputs: "regular" (600 tokens, 32 channels, outlier and
    shifted channels) and "deficient" (20 tokens, 32 channels), tokens as base64
    of little-endian float32.  Tokens come in sequences of `sequence`; the last
    `holdout` tokens are the holdout; the first 4 positions of each sequence are
    sinks.  "weight" is a (24, 32) layer with its round-to-nearest error (4 bits,
    groups of 32, asymmetric range that holds 0, float16 scales) on the holdout.
"""

import argparse
import base64
import json
import os

import numpy as np
import scipy
import scipy.stats
from scipy.special import gammaln, ndtri, psi

SEED = 7


def b64(array):
    return base64.b64encode(np.ascontiguousarray(array).astype("<f4").tobytes()).decode()


def tokens(count, seed):
    rng = np.random.default_rng(seed)
    d = 32
    mix = rng.standard_normal((d, d)) * 0.25 + np.eye(d)
    x = rng.standard_normal((count, d)) @ mix
    x[:, 5] *= 9
    x[:, 17] = x[:, 17] * 0.5 + 4
    x[:, 23] *= 0.01
    x[0, 11] = 40  # a sink position
    return x.astype(np.float32)


def qsur(x, k=6.0, bits=4):
    t, d = x.shape
    mean = x.mean(0)
    c = x - mean
    sigma = c.T @ c / t
    diag = np.diag(sigma)
    eig, vec = np.linalg.eigh(sigma)
    eig, vec = eig[::-1], vec[:, ::-1]
    rank = int((eig > 1e-7 * eig[0]).sum())
    out = {"rank": rank, "lambda1": eig[0], "lambda2": eig[1], "published_stable": bool(eig[0] >= 1.05 * eig[1]),
           "r_subspace": float(np.sqrt(rank / d * np.exp(np.log(eig[:rank]).mean()) / diag.max()))}
    tr, tr2 = diag.sum(), (sigma ** 2).sum()
    rho = min(1.0, ((1 - 2 / d) * tr2 + tr ** 2) / ((t + 1 - 2 / d) * (tr2 - tr ** 2 / d)))
    shrunk = (1 - rho) * sigma + rho * tr / d * np.eye(d)
    out["shrinkage"] = float(rho)
    out["r_shrunk"] = float(np.exp(np.linalg.slogdet(shrunk)[1] / (2 * d)) / np.sqrt(np.diag(shrunk).max()))
    step = 2 * k * np.sqrt(diag.max()) / 2 ** bits
    out["rate_bits"] = float(np.log2(1 + 12 * np.maximum(eig, 0) / step ** 2).sum() / (2 * d))
    if t <= d:
        return out | {"r": 0.0, "deficient": True, "published_stable": None}
    logdet = np.linalg.slogdet(sigma)[1]
    r = np.exp(logdet / (2 * d)) / np.sqrt(diag.max())
    corr = sigma / np.sqrt(np.outer(diag, diag))
    root = np.exp(logdet / (2 * d))
    reach = k * np.sqrt(diag)
    unit_ball = d / 2 * np.log(np.pi) - gammaln(d / 2 + 1)
    published_edge = 2 * np.sqrt(eig[0]) * np.abs(vec[:, 0]).max()
    bias = float((psi((t - np.arange(1, d + 1)) / 2) + np.log(2 / t)).mean())
    return out | {
        "deficient": False, "r": float(r), "lost_bits": float(-np.log2(r)),
        "ceiling_scaling": float(np.exp(np.linalg.slogdet(corr)[1] / (2 * d))),
        "ceiling_rotation": float(np.sqrt(np.exp(logdet / d) / (tr / d))),
        "published": float(np.sqrt(np.exp(logdet / d) / eig[0]) / (np.sqrt(d) * np.abs(vec[:, 0]).max())),
        "log_published": float(unit_ball + logdet / 2 - d * np.log(published_edge)),
        "log_box": float(unit_ball + logdet / 2 - d * np.log(2 * np.sqrt(diag.max()))),
        "log_bound": float(unit_ball - d * np.log(2)),
        "r_mean_symmetric": float(k * root / (np.abs(mean) + reach).max()),
        "r_mean_asymmetric": float(2 * k * root / ((mean + reach).max() - (mean - reach).min())),
        "sampling_bias": bias, "r_unbiased": float(min(1.0, r * np.exp(-bias / 2)))}


def analyse(x):
    x = x.astype(np.float64)
    t, d = x.shape
    c = x.T @ x / t
    eig = np.linalg.eigvalsh(c)[::-1]
    rank = int((eig > 1e-7 * eig[0]).sum())
    amax = np.abs(x).max(0)
    centred = x - x.mean(0)
    overall = x - x.mean()
    hessian = {"trace": float(np.trace(c)), "lambda_max": float(eig[0]), "rank": rank, "tokens_per_channel": t / d,
               "condition": float(eig[0] / eig[-1]) if rank == d else None,
               "damped_condition": float((eig[0] + 0.01 * np.trace(c) / d) / (max(eig[-1], 0) + 0.01 * np.trace(c) / d))}
    outliers = {"int8_channels": int((amax >= 6).sum()), "max_over_median": float(amax.max() / np.median(amax)),
                "kurtosis": float((centred ** 4).mean() / (centred ** 2).mean() ** 2),
                "kurtosis_overall": float((overall ** 4).mean() / (overall ** 2).mean() ** 2)}
    std = centred.std(0)
    channels = {"abs_max": amax.tolist(), "std": std.tolist(), "mean": x.mean(0).tolist(), "mean_abs": np.abs(x).mean(0).tolist(),
                "kurtosis": ((centred ** 4).mean(0) / std ** 4).tolist()}
    return {"hessian": hessian, "outliers": outliers, "channels": channels, "qsur": qsur(x)}


def rtn_error(w, c):
    lo = np.minimum(w.min(1), 0).astype(np.float32)
    hi = np.maximum(w.max(1), 0).astype(np.float32)
    s = np.float32(np.float16((hi - lo) / np.float32(15)))
    z = np.clip(np.rint(-lo / s), 0, 15)
    q = np.clip(np.rint(w / s[:, None]) + z[:, None], 0, 15)
    what = (s[:, None] * (q - z[:, None])).astype(np.float32)
    dw = w.astype(np.float64) - what
    full = w.astype(np.float64)
    return float(np.trace(dw @ c @ dw.T) / np.trace(full @ c @ full.T)), float((dw ** 2).sum() / (full ** 2).sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    out = parser.parse_args().out
    os.makedirs(out, exist_ok=True)
    result = {"numpy": np.__version__, "scipy": scipy.__version__, "seed": SEED, "channels": 32, "chi2_256_99": float(scipy.stats.chi2.ppf(0.99, 256)),
              "normal_99": float(ndtri(0.99))}
    for name, count, sequence, holdout in (("regular", 600, 60, 60), ("deficient", 20, 10, 0)):
        x = tokens(count, SEED)
        result[name] = {"tokens": count, "sequence": sequence, "holdout": holdout, "x": b64(x)} | analyse(x)
    x = tokens(600, SEED).astype(np.float64)
    w = (np.random.default_rng(SEED + 1).standard_normal((24, 32)) * 0.05).astype(np.float32)
    error, weight_error = rtn_error(w, x[-60:].T @ x[-60:] / 60)
    result["weight"] = {"w": b64(w), "sensitivity": error, "weight_error": weight_error}
    with open(os.path.join(out, "analysis.json"), "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
