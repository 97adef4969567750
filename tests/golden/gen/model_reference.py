#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/model/<name>/: tiny random models with logits by transformers.

    python3 model_reference.py OUT

Every folder holds config.json and model.safetensors as transformers saves them
and logits.json: `windows` (token ids), `logits` (windows x positions x vocab,
flat), computed in float64 with eager attention.  llama_gqa also records, per
linear layer, the sum and the sum of squares of its inputs per channel over all
tokens.  llama_gguf/model.gguf holds the weights of llama_gqa, written with the
gguf package in llama.cpp's conventions (rows of Q and K interleaved, llama3
scaling as factors in rope_freqs.weight); its logits are those of llama_gqa.

Made with Python 3.11, torch 2.10.0, transformers 5.17.0, gguf 0.19.0, numpy.
"""

import json
import math
import os
import sys

import gguf
import numpy as np
import torch
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig,
                          MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM)

VOCAB, HIDDEN, FFN, BLOCKS = 64, 32, 48, 2
COMMON = dict(vocab_size=VOCAB, hidden_size=HIDDEN, intermediate_size=FFN,
              num_hidden_layers=BLOCKS, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=64,
              rms_norm_eps=1e-5, attn_implementation="eager")
LLAMA3 = dict(rope_type="llama3", rope_theta=500.0, factor=4.0,
              low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)

MODELS = {
    "llama_gqa": lambda: LlamaForCausalLM(LlamaConfig(
        **COMMON, tie_word_embeddings=True, rope_parameters=LLAMA3)),
    "llama_bias": lambda: LlamaForCausalLM(LlamaConfig(
        **COMMON, head_dim=12, attention_bias=True, mlp_bias=True,
        rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.5))),
    "llama_yarn": lambda: LlamaForCausalLM(LlamaConfig(
        **COMMON, rope_parameters=dict(
            rope_type="yarn", rope_theta=1000.0, factor=4.0,
            original_max_position_embeddings=16))),
    "mistral_window": lambda: MistralForCausalLM(MistralConfig(
        **COMMON, sliding_window=5)),
    "qwen2_bias": lambda: Qwen2ForCausalLM(Qwen2Config(
        **COMMON, tie_word_embeddings=False, use_sliding_window=True,
        sliding_window=6, max_window_layers=1)),
}


def randomise(model, generator):
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            parameter.data = 1.0 + 0.2 * noise
        elif parameter.dim() == 1:
            parameter.data = 0.3 * noise
        elif "embed" in name:
            parameter.data = noise
        else:
            parameter.data = noise * (1.5 / math.sqrt(parameter.shape[1]))
    if model.config.tie_word_embeddings:
        model.tie_weights()


def digits(values):
    return [float(f"{v:.9g}") for v in np.asarray(values, dtype=np.float64).ravel()]


def reference(model, windows, with_inputs):
    model = model.double().eval()
    sums = {}
    hooks = []
    if with_inputs:
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and name != "lm_head":
                def hook(_, inputs, name=name):
                    x = inputs[0].reshape(-1, inputs[0].shape[-1])
                    sums[name] = {"sum": digits(x.sum(0)), "sumsq": digits((x * x).sum(0))}
                hooks.append(module.register_forward_pre_hook(hook))
    with torch.no_grad():
        logits = model(torch.tensor(windows)).logits
    for hook in hooks:
        hook.remove()
    result = {"windows": windows, "logits": digits(logits.numpy()),
              "versions": {"torch": torch.__version__}}
    if with_inputs:
        result["inputs"] = sums
    return result


def interleave(rows, heads):
    """llama.cpp's order of Q and K rows: pair (i, i + D/2) lies side by side."""
    shape = rows.shape
    return np.ascontiguousarray(
        rows.reshape(heads, 2, shape[0] // heads // 2, -1).swapaxes(1, 2)).reshape(shape)


def write_gguf(model, path):
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny random llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(LLAMA3["rope_theta"])
    writer.add_rope_dimension_count(HIDDEN // config.num_attention_heads)
    writer.add_vocab_size(VOCAB)
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
             "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
             "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
             "post_attention_layernorm": "ffn_norm"}
    # factors that divide the frequencies, from the definition of llama3 scaling
    dims = HIDDEN // config.num_attention_heads
    factors = []
    for i in range(dims // 2):
        frequency = LLAMA3["rope_theta"] ** (-2.0 * i / dims)
        wavelength = 2 * math.pi / frequency
        context = LLAMA3["original_max_position_embeddings"]
        if wavelength < context / LLAMA3["high_freq_factor"]:
            factors.append(1.0)
        elif wavelength > context / LLAMA3["low_freq_factor"]:
            factors.append(LLAMA3["factor"])
        else:
            smooth = (context / wavelength - LLAMA3["low_freq_factor"]) / (
                LLAMA3["high_freq_factor"] - LLAMA3["low_freq_factor"])
            factors.append(1.0 / ((1.0 - smooth) / LLAMA3["factor"] + smooth))
    writer.add_tensor("rope_freqs.weight", np.array(factors, dtype=np.float32))
    for name, tensor in model.state_dict().items():
        data = tensor.float().numpy()
        if name == "lm_head.weight":
            continue
        if name == "model.embed_tokens.weight":
            stored = "token_embd.weight"
        elif name == "model.norm.weight":
            stored = "output_norm.weight"
        else:
            _, _, block, rest = name.split(".", 3)
            module, kind = rest.rsplit(".", 1)
            stored = f"blk.{block}.{names[module]}.{kind}"
            if module.endswith("q_proj"):
                data = interleave(data, config.num_attention_heads)
            elif module.endswith("k_proj"):
                data = interleave(data, config.num_key_value_heads)
        writer.add_tensor(stored, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    out = sys.argv[1]
    for number, (name, make) in enumerate(MODELS.items()):
        generator = torch.Generator().manual_seed(1000 + number)
        torch.manual_seed(number)
        model = make()
        randomise(model, generator)
        if name == "llama_bias":  # stored in bfloat16, computed from those values
            model = model.to(torch.bfloat16)
        folder = os.path.join(out, name)
        model.save_pretrained(folder)
        generation = os.path.join(folder, "generation_config.json")
        if os.path.exists(generation):
            os.remove(generation)
        if name == "llama_gqa":
            os.makedirs(os.path.join(out, "llama_gguf"), exist_ok=True)
            write_gguf(model, os.path.join(out, "llama_gguf", "model.gguf"))
        # reloaded, so that no buffer keeps the rounding to bfloat16
        model = type(model).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        windows = torch.randint(0, VOCAB, (2, 20), generator=generator).tolist()
        with open(os.path.join(folder, "logits.json"), "w", encoding="utf-8") as f:
            json.dump(reference(model, windows, name == "llama_gqa"), f, separators=(",", ":"))
            f.write("\n")


if __name__ == "__main__":
    main()
