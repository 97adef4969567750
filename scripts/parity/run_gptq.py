#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Perplexity of a model that llm-compressor's own GPTQModifier compressed, under the protocol of `quantscope-cli eval`.

    python3 run_gptq.py DENSE_FOLDER --calibration TEXT --evaluation TEXT [--actorder static] [--pipeline basic]

DENSE_FOLDER: a checkpoint that transformers loads, e.g. `quantscope-cli export` of a recipe without rules. --pipeline basic takes all statistics
from the uncompressed model, as Quantscope does; sequential compresses block by block, as the paper does.

Needs llmcompressor, transformers, datasets.
"""

import argparse
import json
import time

import common
import torch
import transformers
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--evaluation", required=True)
    parser.add_argument("--method", choices=["gptq", "rtn"], default="gptq")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--group", type=int, default=64)
    parser.add_argument("--actorder", choices=["none", "static"], default="none")
    parser.add_argument("--pipeline", choices=["basic", "sequential"], default="basic")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--calibration-seq-len", type=int, default=512)
    parser.add_argument("--max-tokens", type=int, default=32768)
    parser.add_argument("--seq-len", type=int, default=2048)
    parser.add_argument("--json", help="write the figures here")
    args = parser.parse_args()
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(args.folder, dtype=torch.float32)

    def ids_of(path):
        return tokenizer(common.read_text(path), add_special_tokens=False)["input_ids"]

    weights = {"num_bits": args.bits, "type": "int", "symmetric": True, "strategy": "group", "group_size": args.group,
               "actorder": None if args.actorder == "none" else args.actorder}
    scheme = {"config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}, "ignore": ["lm_head"]}
    begin = time.time()
    if args.method == "rtn":
        oneshot(model=model, recipe=[QuantizationModifier(**scheme)])
    else:
        ids, length = ids_of(args.calibration), args.calibration_seq_len
        windows = [ids[i * length:(i + 1) * length] for i in range(min(args.samples, len(ids) // length))]
        data = Dataset.from_list([{"input_ids": window, "attention_mask": [1] * length} for window in windows])
        oneshot(model=model, recipe=[GPTQModifier(dampening_frac=0.01, **scheme)], dataset=data, num_calibration_samples=len(windows),
                max_seq_length=length, pipeline=args.pipeline, shuffle_calibration_samples=False)
    figures = {"versions": common.versions("llmcompressor", "compressed-tensors", "torch", "transformers"), "method": args.method,
               "bits": args.bits, "group": args.group, "actorder": args.actorder, "pipeline": args.pipeline,
               "compress_seconds": time.time() - begin}
    figures.update(common.perplexity(model, ids_of(args.evaluation), args.max_tokens, args.seq_len))
    print(json.dumps(figures))
    common.finish(figures, [], args.json)


if __name__ == "__main__":
    main()
