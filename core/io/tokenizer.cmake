# SPDX-License-Identifier: Apache-2.0
target_sources(qs_core PRIVATE
    tokenizer.cpp tokenizer_added.cpp tokenizer_bpe.cpp tokenizer_gguf.cpp tokenizer_json.cpp tokenizer_regex.cpp
    tokenizer_split.cpp tokenizer_text.cpp tokenizer_write.cpp)

# Only for the normalizer NFC (Qwen2 tokenizers); without it such files are refused with a message.
pkg_check_modules(ICU IMPORTED_TARGET icu-uc)
if(ICU_FOUND)
    target_link_libraries(qs_core PRIVATE PkgConfig::ICU)
    target_compile_definitions(qs_core PRIVATE QS_HAVE_ICU=1)
endif()
add_feature_info(ICU ICU_FOUND "tokenizers that normalise to NFC")
