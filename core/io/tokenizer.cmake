# SPDX-License-Identifier: Apache-2.0
target_sources(qs_core PRIVATE
    tokenizer.cpp tokenizer_added.cpp tokenizer_bpe.cpp tokenizer_gguf.cpp tokenizer_json.cpp tokenizer_regex.cpp
    tokenizer_split.cpp tokenizer_text.cpp tokenizer_write.cpp)

# The normalizer NFC (Qwen2 tokenizers).
pkg_check_modules(ICU REQUIRED IMPORTED_TARGET icu-uc)
target_link_libraries(qs_core PRIVATE PkgConfig::ICU)
