#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads recipes written by `quantscope-cli export --format llm-compressor` with llm-compressor itself.

    python3 check_llmcompressor.py RECIPE.yaml [RECIPE.yaml ...]

A recipe passes when Recipe.create_instance() gives a modifier list that is not empty, every modifier of the file is in it, the
quantizing ones resolve their scheme, and every string survived (an unquoted 2:4 would be the integer 124).

Needs llmcompressor.
"""

import argparse
import importlib.metadata
import json
import pathlib

import common
import yaml
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.modifiers.quantization.quantization.mixin import QuantizationMixin
from llmcompressor.recipe import Recipe


def described(modifier):
    """One modifier as llm-compressor resolved it."""
    text = type(modifier).__name__
    if isinstance(modifier, QuantizationMixin):
        config = modifier.resolve_quantization_config()
        for name, scheme in config.config_groups.items():
            weights = scheme.weights
            text += (f" {name}({', '.join(scheme.targets)}: {weights.num_bits} bits, symmetric {weights.symmetric}, "
                     f"{common.enum_text(weights.strategy)} {weights.group_size}, actorder "
                     f"{common.enum_text(weights.actorder)}")
            if scheme.input_activations:
                text += f"; inputs {scheme.input_activations.num_bits} bits {common.enum_text(scheme.input_activations.strategy)}"
            text += ")"
        return text
    for key in ("sparsity", "final_sparsity", "mask_structure", "smoothing_strength", "duo_scaling", "n_grid"):
        value = getattr(modifier, key, None)
        if value is not None:
            text += f" {key}={value!r}"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="+", type=pathlib.Path)
    parser.add_argument("--json", help="write the figures here")
    args = parser.parse_args()
    assert issubclass(QuantizationModifier, QuantizationMixin)
    failed = []
    figures = {"versions": {name: importlib.metadata.version(name)
                            for name in ("llmcompressor", "compressed-tensors", "pyyaml")}, "recipes": {}}
    for path in args.recipes:
        named = [name for stage in yaml.safe_load(path.read_text()).values()
                 for group in stage.values() for name in group]
        try:
            modifiers = Recipe.create_instance(str(path)).modifiers
            lines = [described(modifier) for modifier in modifiers]
            good = bool(modifiers) and sorted(type(m).__name__ for m in modifiers) == sorted(named)
        except Exception as error:  # whatever llm-compressor or pydantic raises is the finding
            good, lines = False, [f"{type(error).__name__}: {error}"]
        print(f"{'ok    ' if good else 'FAILED'} {path}: {len(named)} modifiers in the file", flush=True)
        for line in lines:
            print(f"       {line}")
        figures["recipes"][str(path)] = lines
        if not good:
            failed.append(str(path))
    common.finish(figures, failed, args.json)


if __name__ == "__main__":
    main()
