# SPDX-License-Identifier: Apache-2.0
"""Small checkpoint files written by the reference libraries, with the values that those libraries read back.

Usage: python formats_reference.py OUTPUT_FOLDER        (tests/golden/formats)

Versions used: torch 2.10.0, safetensors 0.8.0, gguf 0.19.0, compressed-tensors 0.19.0, numpy 2.4.6. Seed 20240607.
  plain.safetensors, plain.json     one tensor per type; values widened to float32 by torch
  blocks.gguf, blocks.json          quantized by gguf-py and dequantized by gguf-py
  packed/                           compressed-tensors pack-quantized layers; float32 values computed from the unpacked codes by
                                    (code - zero) * scale in numpy, and checked against the library's own decompression
"""
import json
import pathlib
import sys

import gguf
import numpy as np
import torch
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationScheme
from safetensors.torch import save_file

SEED = 20240607


def hexFloats(values):
    return np.asarray(values, dtype="<f4").tobytes().hex()


def plain(out):
    generator = torch.Generator().manual_seed(SEED)
    normal = torch.randn(6, 5, generator=generator)
    special = torch.tensor([0.0, -0.0, 1.0, -2.5, float("inf"), -float("inf"), 6.1e-5, 5.9e-8, 65504.0])
    tensors = {
        "f32": normal, "f64": normal.double() * 1.000000119, "f16": normal.half(), "bf16": normal.bfloat16(),
        "f16.special": special.half(), "bf16.special": special.bfloat16(),
        "f8_e4m3": torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).reshape(16, 16),
        "f8_e5m2": torch.arange(256, dtype=torch.uint8).view(torch.float8_e5m2).reshape(16, 16),
        "f8_e8m0": torch.arange(256, dtype=torch.uint8).view(torch.float8_e8m0fnu).reshape(16, 16),
        "f8_e4m3fnuz": torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fnuz).reshape(16, 16),
        "f8_e5m2fnuz": torch.arange(256, dtype=torch.uint8).view(torch.float8_e5m2fnuz).reshape(16, 16),
        "bool": normal > 0, "u8": (normal * 50).abs().to(torch.uint8), "i8": (normal * 50).to(torch.int8),
        "i16": (normal * 9000).to(torch.int16), "i32": (normal * 5e8).to(torch.int32), "i64": (normal * 1e18).to(torch.int64),
        "scalar": torch.tensor(3.25), "empty": torch.zeros(0, 4), "three.d": torch.arange(24.0).reshape(2, 3, 4),
    }
    save_file(tensors, out / "plain.safetensors", metadata={"format": "pt", "note": "Grüße"})
    expected = {name: {"shape": list(t.shape), "f32_hex": hexFloats(t.float().numpy())} for name, t in tensors.items()}
    (out / "plain.json").write_text(json.dumps(expected, indent=1) + "\n")


def blocks(out):
    rng = np.random.default_rng(SEED)
    writer = gguf.GGUFWriter(str(out / "blocks.gguf"), "llama")
    writer.add_block_count(1)
    writer.add_float32("llama.rope.freq_base", 10000.5)
    writer.add_bool("test.flag", True)
    writer.add_array("test.words", ["a", "", "Grüße"])
    writer.add_array("test.numbers", [1, -2, 3])
    writer.add_array("test.floats", [0.5, -1.25])
    types = [gguf.GGMLQuantizationType[n] for n in ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")]
    expected = {}
    for kind in types:
        values = rng.standard_normal((3, 64)).astype(np.float32)
        packed = gguf.quants.quantize(values, kind)
        name = f"{kind.name.lower()}.weight"
        writer.add_tensor(name, packed, raw_dtype=kind)
        expected[name] = {"type": kind.name, "shape": [3, 64], "f32_hex": hexFloats(gguf.quants.dequantize(packed, kind))}
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (out / "blocks.json").write_text(json.dumps(expected, indent=1) + "\n")


def packed(out):
    generator = torch.Generator().manual_seed(SEED)
    folder = out / "packed"
    folder.mkdir(exist_ok=True)
    cases = { # layer: bits, symmetric, group size (-1: channel), shape, scale type
        "model.a": (4, True, 16, (10, 64), torch.float16),
        "model.b": (4, False, 16, (10, 64), torch.bfloat16),
        "model.c": (3, True, -1, (7, 50), torch.float32),
        "model.d": (8, False, 32, (5, 64), torch.float32),
        "model.e": (5, False, 10, (33, 30), torch.float16),
        "model.f": (2, False, -1, (17, 20), torch.bfloat16),
    }
    groups, tensors, expected = {}, {"model.norm.weight": torch.ones(8)}, {}
    for number, (name, (bits, symmetric, group, shape, dtype)) in enumerate(cases.items()):
        strategy = "channel" if group == -1 else "group"
        args = {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": strategy, "group_size": group}
        groups[f"group_{number}"] = {"targets": [name if number % 2 else f"re:.*{name[-2:].replace('.', chr(92) + '.')}$"],
                                     "format": "pack-quantized", "weights": args, "input_activations": None, "output_activations": None}
        scheme = QuantizationScheme(targets=["Linear"], weights=args)
        columns = shape[1] if group == -1 else group
        count = shape[1] // columns
        lo, hi = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        codes = torch.randint(lo, hi + 1, shape, generator=generator)
        scale = (torch.rand(shape[0], count, generator=generator) + 0.01).to(dtype)
        zero = torch.zeros(shape[0], count, dtype=torch.int8) if symmetric else \
            torch.randint(lo, hi + 1, (shape[0], count), generator=generator).to(torch.int8)
        wide = (codes - zero.to(torch.int64).repeat_interleave(columns, 1)).double().numpy()
        values = (wide * scale.double().repeat_interleave(columns, 1).numpy()).astype(np.float32)
        state = PackedQuantizationCompressor.compress(
            {"weight": torch.from_numpy(values.astype(np.float64)), "weight_scale": scale.double(), "weight_zero_point": zero}, scheme)
        state["weight_scale"] = scale.contiguous()
        again = PackedQuantizationCompressor.decompress({**state, "weight_scale": scale.float()}, scheme)["weight"]
        assert np.array_equal(again.numpy(), values), name
        tensors.update({f"{name}.{k}": v.contiguous() for k, v in state.items()})
        expected[f"{name}.weight"] = {"shape": list(shape), "f32_hex": hexFloats(values)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"architectures": ["LlamaForCausalLM"], "quantization_config": {
        "quant_method": "compressed-tensors", "format": "mixed-precision", "quantization_status": "compressed", "config_groups": groups,
        "ignore": ["lm_head"], "kv_cache_scheme": None, "sparsity_config": {}, "transform_config": {}}}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (out / "packed.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    plain(target)
    blocks(target)
    packed(target)
