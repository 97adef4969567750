#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the bundled sample model from the text that corpus.py wrote.

    python3 train.py tokenizer --corpus WORK --out MODEL
    python3 train.py train     --corpus WORK --out MODEL --steps 2400 --stop 2000
    python3 train.py finish    --corpus WORK --out MODEL

`tokenizer` trains the byte-level BPE of 2048 tokens, `train` the network in
float32 (checkpoint.pt in --corpus), `finish` plants the outlier channels by a
function-preserving rescaling, rounds to bfloat16, writes MODEL and measures
perplexities (report.json in --corpus).  Rounding comes last on purpose, and
the planted factors are powers of two, so that the rescaled bfloat16 weights
are the exact images of the plain bfloat16 weights.

Made with Python 3.11, torch 2.10.0, transformers 5.17.0, tokenizers 0.23.3,
safetensors 0.8.0 on two CPU cores.  Seeds are fixed (--seed, 20240607); the
schedule is by number of steps, set by --steps or measured from --minutes, so
a re-run with the same --steps, versions and kind of CPU gives the same
model up to the order of floating-point sums.
"""

import argparse
import json
import math
import os
import random
import shutil
import time

CONTEXT = 512
VOCAB = 2048
EOT = "<|endoftext|>"

# (block, norm, channels, factor): gamma[c] *= factor, columns c of the
# projections behind that norm /= factor.
NORM_OUTLIERS = (
    (0, "input_layernorm", (5, 77), 8.0),
    (1, "input_layernorm", (19, 77, 101), 16.0),
    (2, "input_layernorm", (77, 112), 8.0),
    (3, "input_layernorm", (33, 77), 16.0),
    (4, "input_layernorm", (77,), 32.0),
    (5, "input_layernorm", (12, 77), 8.0),
    (1, "post_attention_layernorm", (44, 77), 8.0),
    (2, "post_attention_layernorm", (19, 77), 16.0),
    (4, "post_attention_layernorm", (77, 90), 16.0),
    (5, "post_attention_layernorm", (77,), 8.0),
)
# (block, units, factor): row u of up_proj *= factor, column u of down_proj /=.
UP_OUTLIERS = (
    (0, (17, 301), 16.0),
    (3, (64, 200, 350), 16.0),
    (5, (128,), 32.0),
)


def tokenizer(args):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[EOT], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    with open(os.path.join(args.corpus, "train.txt"), encoding="utf-8") as f:
        documents = f.read().split("\n\x00\n")
    tok.train_from_iterator(documents, trainer)
    assert tok.get_vocab_size() == VOCAB and tok.token_to_id(EOT) == 0
    os.makedirs(args.out, exist_ok=True)
    tok.save(os.path.join(args.out, "tokenizer.json"))
    write_json(os.path.join(args.out, "tokenizer_config.json"), {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": EOT, "eos_token": EOT, "unk_token": None, "pad_token": None,
        "add_bos_token": False, "add_eos_token": False, "add_prefix_space": False,
        "clean_up_tokenization_spaces": False, "model_max_length": CONTEXT,
        "added_tokens_decoder": {"0": {
            "content": EOT, "lstrip": False, "normalized": False, "rstrip": False,
            "single_word": False, "special": True}},
    })
    write_json(os.path.join(args.out, "special_tokens_map.json"),
               {"bos_token": EOT, "eos_token": EOT})
    print("tokenizer written")


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=2, ensure_ascii=False)
        f.write("\n")


def encode(args, name):
    import numpy as np
    from tokenizers import Tokenizer
    tok = Tokenizer.from_file(os.path.join(args.out, "tokenizer.json"))
    with open(os.path.join(args.corpus, name), encoding="utf-8") as f:
        documents = f.read().split("\n\x00\n")
    out = []
    for doc in tok.encode_batch(documents, add_special_tokens=False):
        if len(documents) > 1:
            out.append(0)
        out.extend(doc.ids)
    return np.array(out, dtype=np.int64)


def make_model():
    from transformers import LlamaConfig, LlamaForCausalLM
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=128, intermediate_size=384,
        num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2,
        head_dim=32, max_position_embeddings=CONTEXT, rms_norm_eps=1e-5,
        rope_theta=10000.0, tie_word_embeddings=True, hidden_act="silu",
        attention_bias=False, mlp_bias=False, bos_token_id=0, eos_token_id=0,
        initializer_range=0.05, use_cache=True)
    config._attn_implementation = "sdpa"
    return LlamaForCausalLM(config)


def train(args):
    import numpy as np
    import torch
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    ids = encode(args, "train.txt")
    print("training tokens", len(ids), flush=True)
    model = make_model()
    print("parameters", sum(p.numel() for p in model.parameters()), flush=True)
    with torch.no_grad():       # smaller residual writes, as GPT-2 does
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight /= math.sqrt(2 * 6)
            layer.mlp.down_proj.weight /= math.sqrt(2 * 6)
    decay = [p for p in model.parameters() if p.dim() == 2]
    plain = [p for p in model.parameters() if p.dim() == 1]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.1},
                             {"params": plain, "weight_decay": 0.0}],
                            lr=args.lr, betas=(0.9, 0.95), eps=1e-8, fused=True)
    batch = args.batch
    length = args.window
    starts = []

    def next_batch():
        nonlocal starts
        while len(starts) < batch:          # an epoch: shifted windows, shuffled
            offset = int(rng.integers(0, length))
            fresh = np.arange(offset, len(ids) - length - 1, length)
            rng.shuffle(fresh)
            starts = starts + fresh.tolist()
        take, starts = starts[:batch], starts[batch:]
        return torch.from_numpy(np.stack([ids[s:s + length + 1] for s in take]))

    steps = args.steps
    model.train()
    begin = time.time()
    step = 0
    ema = None
    while steps is None or step < min(steps, args.stop or steps):
        total = steps or 10 ** 9
        warm = 60
        if step < warm:
            lr = args.lr * (step + 1) / warm
        else:
            progress = (step - warm) / max(1, total - warm)
            lr = args.lr * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))
        for group in opt.param_groups:
            group["lr"] = lr
        window = next_batch()
        logits = model(input_ids=window[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits.float().reshape(-1, VOCAB), window[:, 1:].reshape(-1))
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        step += 1
        ema = loss.item() if ema is None else 0.97 * ema + 0.03 * loss.item()
        if steps is None and step == 50:
            # measured after the slow first steps; CPU time would not see sharing
            per_step = (time.time() - begin) / step
            steps = max(200, int(args.minutes * 60 / per_step))
            print(f"{per_step:.3f} s a step: {steps} steps", flush=True)
        if step % 50 == 0:
            print(f"step {step} lr {lr:.2e} loss {ema:.4f} "
                  f"{time.time() - begin:.0f} s", flush=True)
        if step % 100 == 0 or step in (steps, args.stop):
            torch.save({"model": model.state_dict(), "step": step, "steps": steps,
                        "batch": batch, "window": length, "lr": args.lr,
                        "seed": args.seed, "tokens": len(ids)},
                       os.path.join(args.corpus, "checkpoint.pt"))
    print("done", step, flush=True)


def perplexity(model, ids):
    """(tokens predicted, mean nll): windows of 512, 511 predictions each, tail dropped."""
    import torch
    total, count = 0.0, 0
    model.eval()
    with torch.no_grad():
        for s in range(0, len(ids) - CONTEXT + 1, CONTEXT):
            window = torch.from_numpy(ids[s:s + CONTEXT])[None]
            logits = model(input_ids=window, use_cache=False).logits[0, :-1].double()
            nll = torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum")
            total += nll.item()
            count += CONTEXT - 1
    return count, total / count


def bigram(train_ids, eval_ids, dev_ids):
    """Perplexities of n-gram models on the predictions that perplexity() makes.

    The bigram is interpolated with the (add-one) unigram by a weight that
    depends on the history, c(h) / (c(h) + k); k is tuned on calibration.txt.
    A trigram of the same making is given for comparison."""
    import numpy as np
    uni = np.bincount(train_ids, minlength=VOCAB).astype(np.float64)
    p1 = (uni + 1) / (uni.sum() + VOCAB)
    bi = np.zeros((VOCAB, VOCAB))
    np.add.at(bi, (train_ids[:-1], train_ids[1:]), 1.0)
    row = bi.sum(1)
    tri, tri_h = {}, {}
    for a, b, c in zip(train_ids[:-2].tolist(), train_ids[1:-1].tolist(), train_ids[2:].tolist()):
        tri[(a, b, c)] = tri.get((a, b, c), 0) + 1
        tri_h[(a, b)] = tri_h.get((a, b), 0) + 1

    def windows(ids):
        return [ids[s:s + CONTEXT] for s in range(0, len(ids) - CONTEXT + 1, CONTEXT)]

    def nll2(ids, k, floor):
        total = count = 0.0
        for w in windows(ids):
            h, t = w[:-1], w[1:]
            lam = row[h] / (row[h] + k) * floor
            p = lam * bi[h, t] / np.maximum(row[h], 1) + (1 - lam) * p1[t]
            total -= np.log(p).sum()
            count += len(t)
        return total / count

    def nll3(ids, k2, floor, k3):
        total = count = 0.0
        for w in windows(ids):
            h, t = w[:-1], w[1:]
            lam = row[h] / (row[h] + k2) * floor
            p2 = lam * bi[h, t] / np.maximum(row[h], 1) + (1 - lam) * p1[t]
            for i in range(len(t)):
                p = p2[i]
                if i:
                    key = (int(w[i - 1]), int(w[i]))
                    c = tri_h.get(key, 0)
                    if c:
                        l3 = c / (c + k3)
                        p = l3 * tri.get(key + (int(t[i]),), 0) / c + (1 - l3) * p
                total -= math.log(p)
            count += len(t)
        return total / count

    best = min(((nll2(dev_ids, k, f), k, f) for k in (1, 3, 10, 30, 100, 300)
                for f in (0.8, 0.9, 0.95, 0.98, 1.0)))
    _, k, f = best
    k3 = min((nll3(dev_ids, k, f, k3), k3) for k3 in (3, 10, 30, 100))[1]
    uni_nll = float(np.mean([-np.log(p1[w[1:]]).mean() for w in windows(eval_ids)]))
    return {"unigram": math.exp(uni_nll), "bigram": math.exp(nll2(eval_ids, k, f)),
            "bigram_k": k, "bigram_cap": f,
            "trigram": math.exp(nll3(eval_ids, k, f, k3)), "trigram_k": k3}


def behind(layer, norm):
    if norm == "input_layernorm":
        a = layer.self_attn
        return layer.input_layernorm, (a.q_proj, a.k_proj, a.v_proj)
    return layer.post_attention_layernorm, (layer.mlp.gate_proj, layer.mlp.up_proj)


def plant(model):
    import torch
    with torch.no_grad():
        for block, norm, channels, factor in NORM_OUTLIERS:
            gamma, readers = behind(model.model.layers[block], norm)
            for c in channels:
                gamma.weight[c] *= factor
                for reader in readers:
                    reader.weight[:, c] /= factor
        for block, units, factor in UP_OUTLIERS:
            mlp = model.model.layers[block].mlp
            for u in units:
                mlp.up_proj.weight[u] *= factor
                mlp.down_proj.weight[:, u] /= factor


def input_peaks(model, ids, windows=8):
    """{module: (max over channels of the channel's rms) / (median channel rms)}."""
    import torch
    sums, hooks = {}, []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            def hook(_, inputs, name=name):
                x = inputs[0].reshape(-1, inputs[0].shape[-1]).double()
                sums[name] = sums.get(name, 0) + (x * x).sum(0)
            hooks.append(module.register_forward_pre_hook(hook))
    with torch.no_grad():
        for s in range(0, windows * CONTEXT, CONTEXT):
            model(input_ids=torch.from_numpy(ids[s:s + CONTEXT])[None], use_cache=False)
    for h in hooks:
        h.remove()
    return {n: float(v.max().sqrt() / v.median().sqrt()) for n, v in sums.items()}


def save(model, folder):
    """model.safetensors without the tied lm_head, and a config.json that both
    the 4.x and the 5.x line of transformers read."""
    import torch
    from safetensors.torch import save_file
    tensors = {n: p.detach().to(torch.bfloat16).contiguous()
               for n, p in model.named_parameters()}
    assert "lm_head.weight" not in tensors
    path = os.path.join(folder, "model.safetensors")
    save_file(tensors, path, metadata={"format": "pt"})
    os.chmod(path, 0o644)
    write_json(os.path.join(folder, "config.json"), {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False,
        "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 0,
        "head_dim": 32, "hidden_act": "silu", "hidden_size": 128,
        "initializer_range": 0.05, "intermediate_size": 384,
        "max_position_embeddings": CONTEXT, "mlp_bias": False, "model_type": "llama",
        "num_attention_heads": 4, "num_hidden_layers": 6, "num_key_value_heads": 2,
        "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_scaling": None,
        "rope_theta": 10000.0, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "use_cache": True, "vocab_size": VOCAB})
    write_json(os.path.join(folder, "generation_config.json"),
               {"bos_token_id": 0, "eos_token_id": 0})


def finish(args):
    import torch
    from transformers import LlamaForCausalLM
    torch.set_num_threads(args.threads)
    state = torch.load(os.path.join(args.corpus, "checkpoint.pt"))
    model = make_model()
    model.load_state_dict(state.pop("model"))
    model.eval()
    evaluation, calibration = encode(args, "evaluation.txt"), encode(args, "calibration.txt")
    report = {"training": state, "evaluation_tokens": len(evaluation),
              "calibration_tokens": len(calibration),
              "parameters": sum(p.numel() for p in model.parameters())}
    report["tokens_predicted"], nll = perplexity(model, evaluation)
    report["perplexity_float32"] = math.exp(nll)
    with torch.no_grad():       # the weights alone: .to() would round RoPE's table too
        for p in model.parameters():
            p.copy_(p.to(torch.bfloat16))
    report["perplexity_bfloat16_weights"] = math.exp(perplexity(model, evaluation)[1])
    probe = torch.from_numpy(evaluation[:CONTEXT])[None]
    before_peaks = input_peaks(model, calibration)
    with torch.no_grad():
        before = model(input_ids=probe, use_cache=False).logits
        plant(model)
        after = model(input_ids=probe, use_cache=False).logits
    report["planting_max_abs_logit_change"] = float((before - after).abs().max())
    for name, p in model.named_parameters():       # powers of two: still bfloat16
        assert torch.equal(p, p.to(torch.bfloat16).float()), name
    after_peaks = input_peaks(model, calibration)
    report["input_rms_max_over_median"] = {
        n: [round(before_peaks[n], 2), round(after_peaks[n], 2)] for n in after_peaks}
    count, nll = perplexity(model, evaluation)
    report["perplexity_shipped"], report["nll_shipped"] = math.exp(nll), nll

    save(model, args.out)
    again = LlamaForCausalLM.from_pretrained(args.out, dtype=torch.float32)
    with torch.no_grad():
        report["reload_max_abs_logit_change"] = float(
            (again(input_ids=probe, use_cache=False).logits - after).abs().max())
    for name in ("calibration.txt", "evaluation.txt"):
        shutil.copyfile(os.path.join(args.corpus, name), os.path.join(args.out, name))
    report["n-gram perplexities"] = bigram(encode(args, "train.txt"), evaluation, calibration)
    report["damage"] = damage(again, evaluation)
    with open(os.path.join(args.corpus, "report.json"), "w", encoding="utf-8") as f:
        json.dump(report, f, indent=1)
    print(json.dumps(report, indent=1))


def damage(model, ids):
    """Perplexities after plain round-to-nearest (groups of 32 and whole rows,
    asymmetric) and magnitude pruning of all block projections: do they separate?"""
    import torch
    linears = [m for n, m in model.named_modules()
               if isinstance(m, torch.nn.Linear) and n != "lm_head"]
    keep = [m.weight.detach().clone() for m in linears]
    out = {}

    def measure(name, change):
        with torch.no_grad():
            for m, w in zip(linears, keep):
                m.weight.copy_(change(w.clone()))
        out[name] = math.exp(perplexity(model, ids)[1])

    def rtn(bits, group):
        def change(w):
            g = w.reshape(-1, group or w.shape[1])
            low, high = g.amin(1, keepdim=True), g.amax(1, keepdim=True)
            scale = ((high - low) / (2 ** bits - 1)).clamp_min(1e-12)
            q = ((g - low) / scale).round()
            return (q * scale + low).reshape(w.shape)
        return change

    def prune(w):
        k = w.numel() // 2
        return w * (w.abs() > w.abs().flatten().kthvalue(k).values)

    for bits in (8, 4, 3, 2):
        measure(f"rtn {bits} bit, group 32", rtn(bits, 32))
    for bits in (4, 3, 2):
        measure(f"rtn {bits} bit, whole row", rtn(bits, None))
    measure("magnitude 50 %", prune)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=("tokenizer", "train", "finish"))
    parser.add_argument("--corpus", required=True, help="what corpus.py wrote")
    parser.add_argument("--out", required=True, help="the model's folder")
    parser.add_argument("--seed", type=int, default=20240607)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--stop", type=int,
                        help="stop after so many steps of the schedule of --steps")
    parser.add_argument("--minutes", type=float, default=22.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--window", type=int, default=CONTEXT)
    parser.add_argument("--lr", type=float, default=3e-3)
    args = parser.parse_args()
    random.seed(args.seed)
    {"tokenizer": tokenizer, "train": train, "finish": finish}[args.stage](args)


if __name__ == "__main__":
    main()
