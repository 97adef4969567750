#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reference values for SmolLM2-135M-Instruct (GGUF, Q4_1), from other people's code.

    python3 smollm2_reference.py --gguf SmolLM2-135M-Instruct.Q4_1.gguf \
        --text wiki.test.raw --out tests/golden/smollm2

The weights are dequantized to float32 by gguf-py, the rows of q_proj and
k_proj are put back from GGUF's interleaved order to that of Hugging Face, and
transformers' LlamaForCausalLM computes on the CPU in float32.  Made with
Python 3.11, gguf 0.19.0, torch 2.10.0, transformers 5.17.0, tokenizers 0.23.3,
numpy 2.4.6.  Nothing of Quantscope is used.

The reference tokenizer is built from the GGUF's own vocabulary and merges by
the `tokenizers` library with the pre-tokenizer of the published SmolLM2
tokenizer.json: Digits(individual_digits) and then ByteLevel(no prefix space,
GPT-2's regex).  transformers' own loading of a GGUF tokenizer is not used: it
leaves the Digits step out, which tokenizes "  12" differently.  Tokens of
type "control" are special tokens; the vocabulary has no token for 21 of the
256 bytes (U+0004 is one of them), and such a byte gives no token.

tokenizer_cases.json   [{"text", "ids"}]
logits.json            the first 64 tokens of the text: ids, NLL of every
                       predicted position, the 50 largest logits at 4
                       positions; the mean NLL over the first 32768 tokens in
                       windows of 2048 side by side, 2047 predictions each, no
                       BOS.
"""

import argparse
import importlib.metadata
import json
import math
import os
import time

import gguf
import numpy as np
import tokenizers
import torch
import transformers
from tokenizer_texts import SMOLLM2_TEXTS

TOKENS = 32768
CONTEXT = 2048


def write(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")


def f32(x):
    return [float(np.format_float_positional(np.float32(v), unique=True, trim="0"))
            for v in x]


def make_tokenizer(field):
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    assert field("tokenizer.ggml.model") == "gpt2"
    assert field("tokenizer.ggml.pre") == "smollm"
    tokens = field("tokenizer.ggml.tokens")
    merges = [tuple(m.split(" ")) for m in field("tokenizer.ggml.merges")]
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tok.decoder = decoders.ByteLevel()
    types = field("tokenizer.ggml.token_type")
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False)
                            for t, kind in zip(tokens, types) if kind == 3])
    assert tok.get_vocab_size() == len(tokens)
    return tok


def make_model(reader, field):
    heads, kv_heads = field("llama.attention.head_count"), field("llama.attention.head_count_kv")
    config = transformers.LlamaConfig(
        vocab_size=field("llama.vocab_size"), hidden_size=field("llama.embedding_length"),
        intermediate_size=field("llama.feed_forward_length"),
        num_hidden_layers=field("llama.block_count"), num_attention_heads=heads,
        num_key_value_heads=kv_heads, max_position_embeddings=field("llama.context_length"),
        rms_norm_eps=field("llama.attention.layer_norm_rms_epsilon"),
        rope_theta=field("llama.rope.freq_base"), tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=2)
    theta = getattr(config, "rope_theta", None) or config.rope_parameters["rope_theta"]
    assert theta == 100000.0, theta
    model = transformers.LlamaForCausalLM(config).eval()
    names = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
             "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
             "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    state = {}
    for tensor in reader.tensors:
        w = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if tensor.name == "token_embd.weight":
            name = "model.embed_tokens.weight"
        elif tensor.name == "output_norm.weight":
            name = "model.norm.weight"
        else:
            _, block, part, _ = tensor.name.split(".")
            name = f"model.layers.{block}.{names[part]}.weight"
            if part in ("attn_q", "attn_k"):
                n = heads if part == "attn_q" else kv_heads
                w = w.reshape(n, w.shape[0] // n // 2, 2, w.shape[1]).swapaxes(1, 2)
                w = w.reshape(-1, w.shape[-1])
        state[name] = torch.from_numpy(np.ascontiguousarray(w))
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unexpected, (missing, unexpected)
    model.tie_weights()
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--tokenizer-only", action="store_true")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    torch.set_num_threads(2)
    reader = gguf.GGUFReader(args.gguf)

    def field(name):
        return reader.fields[name].contents()

    tok = make_tokenizer(field)
    write(args.out, "tokenizer_cases.json",
          [{"text": t, "ids": tok.encode(t).ids} for t in SMOLLM2_TEXTS])
    if args.tokenizer_only:
        return
    model = make_model(reader, field)
    with open(args.text, encoding="utf-8", newline="") as f:
        ids = tok.encode(f.read()).ids

    def run(window, last=None):
        with torch.no_grad():
            hidden = model.model(input_ids=torch.tensor([window]), use_cache=False)[0][0]
            nll, kept = [], []
            for s in range(0, len(window), 256):        # keeps the logits small
                logits = model.lm_head(hidden[s:s + 256])
                target = torch.tensor(window[s + 1:s + 257])
                nll.append(torch.nn.functional.cross_entropy(
                    logits[:len(target)].double(), target, reduction="none"))
                if last:
                    kept.append(logits)
        return (torch.cat(kept) if last else None), torch.cat(nll)

    logits, nll = run(ids[:64], last=True)
    top = []
    for p in (0, 15, 40, 63):
        values, index = logits[p].topk(50)
        top.append({"position": p, "ids": index.tolist(), "logits": f32(values.tolist())})
    total, count, begin = 0.0, 0, time.time()
    for s in range(0, TOKENS, CONTEXT):
        total += run(ids[s:s + CONTEXT])[1].sum().item()
        count += CONTEXT - 1
        print(f"{s + CONTEXT} tokens, perplexity so far {math.exp(total / count):.4f}, "
              f"{time.time() - begin:.0f} s", flush=True)
    write(args.out, "logits.json", {
        "versions": {"gguf": importlib.metadata.version("gguf"), "torch": torch.__version__,
                     "transformers": transformers.__version__,
                     "tokenizers": tokenizers.__version__, "numpy": np.__version__},
        "text": os.path.basename(args.text), "text_tokens": len(ids),
        "ids": ids[:64], "nll": f32(nll.tolist()), "top": top,
        "perplexity": {"tokens": TOKENS, "window": CONTEXT, "tokens_predicted": count,
                       "mean_nll": round(total / count, 8),
                       "perplexity": round(math.exp(total / count), 6)}})


if __name__ == "__main__":
    main()
