#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loads an exported compressed-tensors checkpoint as its consumers do and compares it with what Quantscope predicted.

    quantscope-cli export MODEL --recipe R --dump D --format compressed-tensors --out EXPORT
    quantscope-cli eval MODEL --text TEXT --seq-len 2048 --max-tokens 32768 --recipe R --dump D --json > predicted.json
    python3 check_compressed_tensors.py EXPORT --text TEXT --predicted predicted.json --gguf MODEL

Checked, each with a line of its own; the exit status is 1 when one of them fails:
  config     compressed-tensors parses quantization_config, and every target is a packed layer
  tokens     AutoTokenizer on the exported files gives the ids of an independent tokenizer of the GGUF file, for the whole text
  weights    what transformers computes with is (code - zero) * scale of the stored tensors, bit for bit
  perplexity transformers on the CPU in float32, the protocol of `eval`, within --tolerance of the prediction

Needs transformers 5 (before it, dequantize=True was spelled run_compressed=False), compressed-tensors, safetensors, torch; gguf and tokenizers with --gguf.
"""

import argparse
import json
import os
import pathlib

import common
import torch
import transformers
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from compressed_tensors.quantization import QuantizationConfig
from safetensors import safe_open


def stored_weights(folder):
    """Layer -> float32 weight from the stored tensors, by compressed-tensors' unpacking and one product."""
    files = sorted(folder.glob("*.safetensors"))
    tensors = {}
    for file in files:
        with safe_open(file, framework="pt") as handle:
            tensors.update({name: handle.get_tensor(name) for name in handle.keys()})
    config = json.loads((folder / "config.json").read_text())
    groups = QuantizationConfig.model_validate(config["quantization_config"]).config_groups
    weights = {}
    for name, packed in tensors.items():
        if not name.endswith(".weight_packed"):
            continue
        layer = name.removesuffix(".weight_packed")
        args = scheme_of(layer, groups)
        shape = torch.Size(tensors[f"{layer}.weight_shape"].tolist())
        codes = unpack_from_int32(packed, args.num_bits, shape).float()
        scale = tensors[f"{layer}.weight_scale"].float()
        zero = tensors.get(f"{layer}.weight_zero_point")
        if zero is not None:
            zero = unpack_from_int32(zero, args.num_bits, scale.shape, packed_dim=0).float()
        index = tensors.get(f"{layer}.weight_g_idx")
        if index is None:
            index = torch.arange(shape[1]) // (shape[1] // scale.shape[1])
        index = index.long()
        weights[layer] = scale[:, index] * (codes - (zero[:, index] if zero is not None else 0.0))
    return weights


def scheme_of(layer, groups):
    import re
    for group in groups.values():
        for target in group.targets:
            if target in ("Linear", layer) or (target.startswith("re:") and re.match(target[3:], layer)):
                return group.weights
    raise SystemExit(f"{layer} is packed, but no group of the config covers it")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", type=pathlib.Path, help="folder written by quantscope-cli export")
    parser.add_argument("--text", help="text of the evaluation")
    parser.add_argument("--predicted", help="output of quantscope-cli eval --json for the same recipe")
    parser.add_argument("--recipe", type=int, default=0, help="which recipe of --predicted, counted from 0")
    parser.add_argument("--gguf", help="the GGUF file that was exported: checks token ids against its vocabulary")
    parser.add_argument("--tokens", type=int, default=32768)
    parser.add_argument("--window", type=int, default=2048)
    parser.add_argument("--tolerance", type=float, default=0.005, help="relative difference of perplexity (0.005)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", help="write the figures here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    figures = {"versions": common.versions("torch", "transformers", "compressed-tensors", "safetensors", "tokenizers")}
    failed = []

    def report(what, good, line):
        print(f"{'ok    ' if good else 'FAILED'} {what}: {line}", flush=True)
        if not good:
            failed.append(what)

    config = json.loads((args.export / "config.json").read_text())
    weights = {}
    if "quantization_config" in config:
        parsed = QuantizationConfig.model_validate(config["quantization_config"])
        weights = stored_weights(args.export)
        schemes = [f"{len(group.targets)} targets, {group.weights.num_bits} bits, "
                   f"{common.enum_text(group.weights.strategy)} {group.weights.group_size}, "
                   f"symmetric {group.weights.symmetric}" for group in parsed.config_groups.values()]
        report("config", bool(weights), f"{len(weights)} packed layers; {'; '.join(schemes)}")
        figures["schemes"] = schemes
    else:
        print("       config: nothing is quantized, the checkpoint is dense")

    ids = None
    if args.text:
        text = common.read_text(args.text)
        tokenizer = transformers.AutoTokenizer.from_pretrained(args.export)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        figures["text_tokens"] = len(ids)
        plain = tokenizer(text[:2000], add_special_tokens=False)["input_ids"]
        added = len(tokenizer(text[:2000])["input_ids"]) - len(plain)
        print(f"       tokens: a plain call adds {added or 'no'} special tokens", flush=True)
    if args.gguf and ids is not None:
        import gguf
        expected = common.gguf_tokenizer(gguf.GGUFReader(args.gguf)).encode(text).ids
        report("tokens", ids == expected, f"{len(ids)} ids from AutoTokenizer, {len(expected)} from the GGUF's vocabulary, "
               f"{sum(a != b for a, b in zip(ids, expected))} differ")

    # float32 throughout: the stored float16 scales are widened exactly and nothing is rounded back.
    how = {"quantization_config": transformers.CompressedTensorsConfig(dequantize=True)} if weights else {}
    model = transformers.AutoModelForCausalLM.from_pretrained(args.export, dtype=torch.float32, **how).eval()
    worst, compared = 0.0, 0
    for layer, weight in weights.items():
        loaded = model.get_submodule(layer).weight.data
        if loaded.dtype != torch.float32 or loaded.shape != weight.shape:
            report("weights", False, f"{layer} is {loaded.dtype} {tuple(loaded.shape)} after loading")
            break
        difference = (loaded - weight).abs().max().item() / weight.abs().max().item()
        worst = worst if difference <= worst else difference  # NaN counts as worst
        compared += 1
    if compared:
        report("weights", worst == 0.0, f"{compared} layers, largest relative difference to (code - zero) * scale {worst:.3g}")
    figures["weights_relative_difference"] = worst

    if ids is not None:
        measured = common.perplexity(model, ids, args.tokens, args.window)
        figures["transformers"] = measured
        if args.predicted:
            document = json.loads(pathlib.Path(args.predicted).read_text())
            predicted = {**document["recipes"][args.recipe], "protocol": document["protocol"]}
            figures["recipe"] = predicted.get("recipe")
            figures["quantscope"] = {key: predicted[key] for key in ("perplexity", "nll", "tokens")}
            difference = measured["perplexity"] / predicted["perplexity"] - 1.0
            figures["relative_difference"] = difference
            same = predicted["tokens"] == measured["tokens_predicted"] \
                and int(predicted["protocol"]["text_tokens"]) == len(ids)
            report("protocol", same, f"{predicted['tokens']} and {measured['tokens_predicted']} predictions, "
                   f"{predicted['protocol']['text_tokens']} and {len(ids)} tokens of text")
            report("perplexity", abs(difference) <= args.tolerance,
                   f"predicted {predicted['perplexity']:.6f}, transformers {measured['perplexity']:.6f}, "
                   f"relative difference {difference:+.2e}")
        else:
            print(f"perplexity {measured['perplexity']:.6f} over {measured['tokens_predicted']} predictions")
    common.finish(figures, failed, args.json)


if __name__ == "__main__":
    main()
