#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/dump/: activation files by h5py and their statistics by numpy.

    python3 dump_reference.py OUT

foreign.h5     what other software could write: float32, float16, float64 (3-D)
               and bfloat16-as-uint16 datasets, one big-endian, one in a group.
act_dump.h5    an act-dump/1 file with one input of 300 channels shared by two
               layers: Gram in tiles (lower triangle, gzip), fit, holdout, sink.
reference.json per dataset of foreign.h5 the statistics of its values; for
               act_dump.h5 the seeds suffice (see `activations`).

Made with Python 3.11, h5py 3.16, numpy 2.4.6.
"""

import json
import os
import sys

import h5py
import numpy as np


def activations(seed, shape):
    return np.random.default_rng(seed).standard_normal(shape) * 2.0 + 0.25


def to_bfloat16(x):
    bits = x.astype(np.float32).view(np.uint32)
    return (bits >> 16).astype(np.uint16)  # truncated: the file holds what it holds


def from_bfloat16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def statistics(x):
    x = x.astype(np.float32).astype(np.float64)
    return {"count": len(x), "sum": x.sum(0).tolist(), "sumsq": (x**2).sum(0).tolist(),
            "sumabs": np.abs(x).sum(0).tolist(), "m3": (x**3).sum(0).tolist(),
            "m4": (x**4).sum(0).tolist(), "min": x.min(0).tolist(), "max": x.max(0).tolist(),
            "gram": (x.T @ x).ravel().tolist()}


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    reference = {}
    with h5py.File(os.path.join(out, "foreign.h5"), "w") as f:
        a = activations(1, (40, 6)).astype(np.float32)
        f.create_dataset("plain:input", data=a, chunks=(16, 4), compression="gzip", shuffle=True)
        reference["plain"] = statistics(a)
        b = activations(2, (30, 5)).astype(np.float16)
        f.create_dataset("group/half:input", data=b, fletcher32=True)
        reference["group/half"] = statistics(b)
        c = activations(3, (3, 10, 4)).astype(">f8")
        f.create_dataset("samples:input", data=c)
        reference["samples"] = statistics(c.reshape(-1, 4))
        d = to_bfloat16(activations(4, (20, 3)))
        f.create_dataset("brain:input", data=d).attrs["logical_dtype"] = "bfloat16"
        reference["brain"] = statistics(from_bfloat16(d))
        f.create_dataset("plain:output", data=a)
        f.create_dataset("unnamed", data=a)
        f.create_dataset("labels", data=np.arange(12).reshape(3, 4))
    with h5py.File(os.path.join(out, "act_dump.h5"), "w") as f:
        f.attrs.update(schema="act-dump/1", model_id="m", tokenizer_id="t", dataset_id="d", seq_len=25,
                       n_tokens=100, policy="float", seed=np.uint64(2**63 + 5), created="2024-01-01T00:00:00Z",
                       producer="dump_reference.py")
        f["tokens"] = np.arange(100, dtype=np.int32).reshape(4, 25)
        for name, seed, rows in (("fit", 5, 75), ("holdout", 6, 25)):
            x = np.round(activations(seed, (rows, 300)))  # sums are exact and compress well
            s = statistics(x)
            g = f.create_group(f"stats/model.a/{name}")
            for key, value in s.items():
                if key == "gram":
                    gram = np.tril(np.array(value).reshape(300, 300))
                    g.create_dataset("gram", data=gram, chunks=(256, 256), compression="gzip", shuffle=True)
                elif key == "count":
                    g["count"] = np.int64(value)
                else:
                    g[key] = np.array(value)
            reference[name] = {key: s[key] for key in ("count", "min", "max")}
            reference[name]["gram_column"] = np.array(s["gram"]).reshape(300, 300)[:, 1].tolist()
        sink = f.create_group("stats/model.a/sink")
        sink["count"] = np.int64(12)
        for key, value in (("min", -9.0), ("max", 11.0), ("sumsq", 100.0)):
            sink[key] = np.full(300, value)
        for layer in ("model.a", "model.b"):
            f.create_group(f"layers/{layer}").attrs["input_id"] = "model.a"
    with open(os.path.join(out, "reference.json"), "w", encoding="utf-8") as f:
        json.dump(reference, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
