# SPDX-License-Identifier: Apache-2.0
"""Two layers of a golden model in the tensors of compressed-tensors' pack-quantized format, made by compressed-tensors.

Usage: python export_reference.py tests/golden/model/llama_gqa tests/golden/export/packed_layers.json

Scales and zeros are computed in numpy from the formulas of the grids (sym-fullrange-mid: 2 max|w| / (2^b - 1); asym-0:
(max - min) / (2^b - 1) over a range that holds 0, zero = rne(-min / scale)), each group by itself, scales rounded to float16 before
anything else. Quantization and packing are the library's. Nothing of Quantscope is used.

Versions used: torch 2.10.0, safetensors 0.8.0, compressed-tensors 0.19.0, numpy 2.4.6.
"""
import json
import pathlib
import sys

import numpy as np
import torch
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationScheme
from safetensors.torch import load_file

LAYERS = ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj")
SCHEMES = {  # the pipeline of the test: bits, symmetric, group (-1: whole row)
    "rtn(bits=4, group=16)": (4, True, 16),
    "rtn(bits=4, group=16, grid=asym-0)": (4, False, 16),
    "rtn(bits=8, group=-1)": (8, True, -1),
    "rtn(bits=3, group=-1, grid=asym-0)": (3, False, -1),
}
NAMES = {torch.int32: "I32", torch.int64: "I64", torch.float16: "F16"}


def parameters(weight, bits, symmetric, group):
    rows, cols = weight.shape
    w = weight.reshape(rows, -1, cols if group == -1 else group)
    levels = np.float32(2 ** bits - 1)
    if symmetric:
        scale = (np.float32(2) * np.abs(w).max(-1) / levels).astype(np.float16)
        return scale, None
    low, high = np.minimum(w.min(-1), 0), np.maximum(w.max(-1), 0)
    scale = ((high - low) / levels).astype(np.float16)
    zero = np.rint(-low / scale.astype(np.float32)) - 2 ** (bits - 1)  # the library's zeros are signed
    return scale, zero.clip(-2 ** (bits - 1), 2 ** (bits - 1) - 1).astype(np.int8)


def main():
    tensors = load_file(pathlib.Path(sys.argv[1]) / "model.safetensors")
    out = {}
    for text, (bits, symmetric, group) in SCHEMES.items():
        args = {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": "channel" if group == -1 else "group",
                "group_size": None if group == -1 else group}
        scheme = QuantizationScheme(targets=["Linear"], weights=args)
        out[text] = {}
        for layer in LAYERS:
            weight = tensors[f"{layer}.weight"].float().numpy()
            scale, zero = parameters(weight, bits, symmetric, group)
            state = {"weight": torch.from_numpy(weight), "weight_scale": torch.from_numpy(scale).float()}
            if zero is not None:
                state["weight_zero_point"] = torch.from_numpy(zero)
            packed = PackedQuantizationCompressor.compress(state, scheme)
            packed["weight_scale"] = torch.from_numpy(scale)
            for suffix, tensor in packed.items():
                tensor = tensor if isinstance(tensor, torch.Tensor) else torch.tensor(tensor)
                if suffix == "weight_zero_point" and symmetric:
                    continue
                if suffix == "weight_shape":
                    tensor = tensor.to(torch.int64)
                out[text][f"{layer}.{suffix}"] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape),
                                                  "hex": tensor.contiguous().numpy().tobytes().hex()}
    target = pathlib.Path(sys.argv[2])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(out, indent=0, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
