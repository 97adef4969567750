# SPDX-License-Identifier: Apache-2.0
qs_add_test(tst_tokenizer SOURCES ${CMAKE_CURRENT_LIST_DIR}/tst_tokenizer.cpp LIBS qs_core)
qs_add_test(tst_tokenizer_hostile SOURCES ${CMAKE_CURRENT_LIST_DIR}/tst_tokenizer_hostile.cpp LIBS qs_core)
