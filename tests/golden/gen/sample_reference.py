#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reference values for the bundled sample model, from Hugging Face's own code.

    python3 sample_reference.py --model resources/sample --out tests/golden/sample

Made with Python 3.11, torch 2.10.0 (CPU, float32, two threads, "eager"
attention), transformers 5.17.0, tokenizers 0.23.3, numpy 2.4.6; each file
records the versions it was made with.  Nothing of Quantscope is used.

tokenizer_cases.json   [{"text", "ids"}], encoded with add_special_tokens left
                       at its default.
logits.json            two windows: ids, the natural-log NLL of every predicted
                       position (nll[i] is for ids[i + 1]), and all logits at
                       some positions, base64 of little-endian float32; and the
                       perplexity on evaluation.txt: windows of 512 tokens side
                       by side, 511 predictions each, tail dropped, no BOS.
activations.json       for the first two windows of 512 tokens of calibration.txt,
                       each run by itself: per input channel of three projections
                       the sums of x, x^2, x^3, x^4 and max |x|; and of the Gram
                       matrix G = sum x x^T its trace, Frobenius norm and u^T G u,
                       where u_j = ((37 j + 11) mod 101) / 50 - 1, j from 0.
"""

import argparse
import base64
import json
import math
import os

import numpy as np
import tokenizers
import torch
import transformers
from tokenizer_texts import TEXTS

CONTEXT = 512
MODULES = ("model.layers.0.self_attn.q_proj", "model.layers.3.mlp.down_proj",
           "model.layers.5.self_attn.o_proj")


def write(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")


def f32(x):
    """The shortest decimal that reads back as the same float32."""
    return [float(np.format_float_positional(np.float32(v), unique=True, trim="0"))
            if 1e-4 <= abs(v) < 1e7 or v == 0 else float(np.format_float_scientific(np.float32(v)))
            for v in x]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    torch.set_num_threads(2)
    torch.manual_seed(0)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__,
                "tokenizers": tokenizers.__version__, "numpy": np.__version__}

    tok = transformers.AutoTokenizer.from_pretrained(args.model)
    plain = tokenizers.Tokenizer.from_file(os.path.join(args.model, "tokenizer.json"))
    cases = []
    for text in TEXTS:
        ids = tok.encode(text)
        assert ids == plain.encode(text).ids, text
        assert plain.decode(ids, skip_special_tokens=False) == text, text
        cases.append({"text": text, "ids": ids})
    write(args.out, "tokenizer_cases.json", cases)

    model = transformers.LlamaForCausalLM.from_pretrained(
        args.model, dtype=torch.float32, attn_implementation="eager").eval()

    def text_ids(name):
        with open(os.path.join(args.model, name), encoding="utf-8", newline="") as f:
            return plain.encode(f.read()).ids

    evaluation, calibration = text_ids("evaluation.txt"), text_ids("calibration.txt")

    def run(ids):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
        nll = torch.nn.functional.cross_entropy(
            logits[:-1].double(), torch.tensor(ids[1:]), reduction="none")
        return logits, nll

    generator = np.random.default_rng(16)
    windows = []
    for name, ids, positions in (
            ("evaluation.txt, tokens 0 to 63", evaluation[:64], (0, 1, 31, 63)),
            ("16 random tokens", generator.integers(0, 2048, 16).tolist(), (7, 15))):
        logits, nll = run(ids)
        windows.append({
            "window": name, "ids": ids, "nll": f32(nll.tolist()),
            "logits": [{"position": p, "float32le_base64": base64.b64encode(
                logits[p].numpy().astype("<f4").tobytes()).decode()} for p in positions]})
    total, count, used = 0.0, 0, 0
    for s in range(0, len(evaluation) - CONTEXT + 1, CONTEXT):
        _, nll = run(evaluation[s:s + CONTEXT])
        total, count, used = total + nll.sum().item(), count + CONTEXT - 1, used + 1
    write(args.out, "logits.json", {
        "versions": versions, "windows": windows,
        "evaluation": {"window": CONTEXT, "windows": used, "tokens": len(evaluation),
                       "tokens_predicted": count, "mean_nll": round(total / count, 8),
                       "perplexity": round(math.exp(total / count), 6)}})

    kept = {name: [] for name in MODULES}
    modules = dict(model.named_modules())
    hooks = [modules[name].register_forward_pre_hook(
        lambda _, x, name=name: kept[name].append(x[0][0].double())) for name in MODULES]
    for s in (0, CONTEXT):
        run(calibration[s:s + CONTEXT])
    for hook in hooks:
        hook.remove()

    def statistics(x):
        gram = x.T @ x
        u = ((37 * torch.arange(x.shape[1]) + 11) % 101).double() / 50 - 1
        return {"sum": f32(x.sum(0).tolist()), "sum_x2": f32(x.square().sum(0).tolist()),
                "m3": f32(x.pow(3).sum(0).tolist()), "m4": f32(x.pow(4).sum(0).tolist()),
                "max_abs": f32(x.abs().amax(0).tolist()),
                "gram": {"trace": gram.trace().item(), "frobenius": gram.norm().item(),
                         "quadratic": (u @ gram @ u).item()}}

    write(args.out, "activations.json", {
        "versions": versions, "text": "calibration.txt",
        "windows": [f"tokens {s} to {s + CONTEXT - 1}" for s in (0, CONTEXT)],
        "tokens": CONTEXT, "calibration_tokens": len(calibration),
        "first_ids": calibration[:16],
        "modules": {name: [statistics(x) for x in windows] for name, windows in kept.items()}})
    print("mean nll", total / count, "perplexity", math.exp(total / count), "over", count)


if __name__ == "__main__":
    main()
