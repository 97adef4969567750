# SPDX-License-Identifier: Apache-2.0
"""What the parity scripts share: a GGUF file's weights and tokenizer by other people's code, and the protocol of `quantscope-cli eval`."""

import importlib.metadata
import json
import math
import pathlib
import time

import numpy as np
import torch

LLAMA_PARTS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
               "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
               "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
               "ffn_down": "mlp.down_proj"}


def versions(*names):
    return {name: importlib.metadata.version(name) for name in names}


def enum_text(value):
    """Name of an enumeration's value; compressed-tensors keeps some of them as plain strings."""
    return str(getattr(value, "value", value))


def read_text(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def gguf_tokenizer(reader):
    """A byte-level BPE of the tokenizers library from a GGUF file's vocabulary and merges.

    Its pre-tokenizer is that of the published SmolLM2 tokenizer.json: Digits(individual) and ByteLevel with GPT-2's
    pattern.  transformers' own loading of a GGUF tokenizer leaves the Digits step out.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    def field(name):
        return reader.fields[name].contents()

    if field("tokenizer.ggml.model") != "gpt2" or field("tokenizer.ggml.pre") != "smollm":
        raise SystemExit("this script knows the pre-tokenizer of SmolLM2 only")
    tokens = field("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in field("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)
                                  for token, kind in zip(tokens, field("tokenizer.ggml.token_type")) if kind == 3])
    return tokenizer


def gguf_model(reader):
    """transformers' LlamaForCausalLM in float32 with the weights that gguf-py decodes."""
    import gguf
    import transformers

    def field(name):
        return reader.fields[name].contents()

    heads, kv_heads = field("llama.attention.head_count"), field("llama.attention.head_count_kv")
    config = transformers.LlamaConfig(
        vocab_size=field("llama.vocab_size"), hidden_size=field("llama.embedding_length"),
        intermediate_size=field("llama.feed_forward_length"), num_hidden_layers=field("llama.block_count"),
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=field("llama.context_length"),
        rms_norm_eps=field("llama.attention.layer_norm_rms_epsilon"), rope_theta=field("llama.rope.freq_base"),
        tie_word_embeddings="output.weight" not in {tensor.name for tensor in reader.tensors})
    model = transformers.LlamaForCausalLM(config).eval()
    state = {}
    for tensor in reader.tensors:
        weight = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if tensor.name == "token_embd.weight":
            name = "model.embed_tokens.weight"
        elif tensor.name == "output_norm.weight":
            name = "model.norm.weight"
        elif tensor.name == "output.weight":
            name = "lm_head.weight"
        else:
            _, block, part, _ = tensor.name.split(".")
            name = f"model.layers.{block}.{LLAMA_PARTS[part]}.weight"
            if part in ("attn_q", "attn_k"):  # GGUF stores the rows of Q and K for interleaved rotation
                n = heads if part == "attn_q" else kv_heads
                weight = weight.reshape(n, weight.shape[0] // n // 2, 2, weight.shape[1]).swapaxes(1, 2)
                weight = weight.reshape(-1, weight.shape[-1])
        state[name] = torch.from_numpy(np.ascontiguousarray(weight))
    missing, unexpected = model.load_state_dict(state, strict=False)
    if set(missing) - {"lm_head.weight"} or unexpected:
        raise SystemExit(f"weights do not fit: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    return model


def window_nll(model, window):
    """NLL of every predicted token of one window, float64 sums over float32 logits."""
    with torch.no_grad():
        hidden = model.model(input_ids=torch.tensor([window]), use_cache=False)[0][0]
        parts = []
        for start in range(0, len(window), 256):  # keeps the logits small
            logits = model.lm_head(hidden[start:start + 256])
            target = torch.tensor(window[start + 1:start + 257])
            parts.append(torch.nn.functional.cross_entropy(
                logits[:len(target)].double(), target, reduction="none"))
    return torch.cat(parts)


def perplexity(model, ids, tokens, window):
    """Windows side by side, no BOS, window - 1 predictions each, the tail dropped."""
    total, count, begin = 0.0, 0, time.time()
    for start in range(0, tokens - window + 1, window):
        total += window_nll(model, ids[start:start + window]).sum().item()
        count += window - 1
        print(f"  {start + window} tokens, perplexity so far {math.exp(total / count):.4f}, {time.time() - begin:.0f} s",
              flush=True)
    return {"nll": total / count, "perplexity": math.exp(total / count), "tokens_predicted": count}


def finish(figures, failed, path):
    """Writes the figures where a path is given; a check that failed is the exit status."""
    if path:
        pathlib.Path(path).write_text(json.dumps(figures, indent=1) + "\n")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")
