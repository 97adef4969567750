#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares Quantscope's forward pass on a GGUF model with PyTorch on the same weights, dequantized to float32 by gguf-py.

    python3 check_forward.py MODEL.gguf --cli build/release/bin/quantscope-cli --text wiki.test.raw

Through the product's own commands only:
  tokens      the ids that `capture` used are those of an independent tokenizer
  inputs      the input of every linear layer for the first --keep tokens: largest |a - b| / largest |b| per input
  perplexity  `eval --json` against PyTorch over --tokens tokens in windows of --window

The exit status is 1 when an input differs by more than --tolerance (1e-3), or the NLL by more than 1e-4.  Logits themselves are
compared by tests/core/model/tst_engine.cpp with the reference recorded by tests/golden/gen/smollm2_reference.py.

Needs torch, transformers, gguf, tokenizers, h5py, numpy.
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile

import common
import gguf
import h5py
import numpy as np
import torch


def layer_inputs(model, ids):
    """Input of every linear layer of the blocks for one window, by module name."""
    found, hooks = {}, []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            hooks.append(module.register_forward_pre_hook(
                lambda _, inputs, name=name: found.__setitem__(name, inputs[0][0].detach().numpy())))
    with torch.no_grad():
        model.model(input_ids=torch.tensor([ids]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="GGUF file of SmolLM2")
    parser.add_argument("--cli", required=True, help="quantscope-cli")
    parser.add_argument("--text", required=True)
    parser.add_argument("--tokens", type=int, default=32768)
    parser.add_argument("--window", type=int, default=2048)
    parser.add_argument("--keep", type=int, default=512, help="tokens whose layer inputs are compared")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", help="write the figures here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    reader = gguf.GGUFReader(args.model)
    ids = common.gguf_tokenizer(reader).encode(common.read_text(args.text)).ids
    model = common.gguf_model(reader)
    figures = {"versions": common.versions("torch", "transformers", "gguf", "tokenizers", "h5py", "numpy")}
    failed = []

    def report(what, good, line):
        print(f"{'ok    ' if good else 'FAILED'} {what}: {line}", flush=True)
        if not good:
            failed.append(what)

    with tempfile.TemporaryDirectory() as folder:
        dump = pathlib.Path(folder) / "dump.h5"
        subprocess.run([args.cli, "capture", args.model, "--text", args.text, "--samples", "1", "--seq-len", str(args.keep),
                        "--keep-tokens", str(args.keep), "--layers", "layers.0.self_attn.o_proj", "--out", str(dump)],
                       check=True, stdout=subprocess.DEVNULL)
        with h5py.File(dump) as file:
            report("tokens", file["tokens"][0].tolist() == ids[:args.keep], f"{args.keep} ids")
            worst, where, compared = 0.0, "", 0
            for name, expected in layer_inputs(model, ids[:args.keep]).items():
                key = f"{name}:input"
                if key not in file:  # stored under the first layer that reads the same input
                    key = f"{file['layers'][name].attrs['input_id'].decode()}:input"
                ours = np.asarray(file[key], dtype=np.float64)
                error = np.abs(ours - expected).max() / np.abs(expected).max()
                compared += 1
                if not error <= worst:
                    worst, where = float(error), name
            figures["inputs_relative_error"] = worst
            report("inputs", worst <= args.tolerance, f"{compared} layers, {args.keep} tokens, largest relative error "
                   f"{worst:.2e} ({where})")

    output = subprocess.run([args.cli, "eval", args.model, "--text", args.text, "--seq-len", str(args.window),
                             "--max-tokens", str(args.tokens), "--json"], check=True, stdout=subprocess.PIPE).stdout
    ours = json.loads(output)
    reference = common.perplexity(model, ids, args.tokens, args.window)
    figures["quantscope"] = {key: ours[key] for key in ("perplexity", "nll", "tokens")}
    figures["torch"] = reference
    difference = abs(ours["nll"] - reference["nll"])
    report("perplexity", difference <= 1e-4 and ours["tokens"] == reference["tokens_predicted"],
           f"quantscope {ours['perplexity']:.6f} (nll {ours['nll']:.8f}), PyTorch {reference['perplexity']:.6f} "
           f"(nll {reference['nll']:.8f}), {ours['tokens']} predictions")
    common.finish(figures, failed, args.json)


if __name__ == "__main__":
    main()
