# SPDX-License-Identifier: Apache-2.0
qs_add_test(tst_cli SOURCES tst_cli.cpp LABELS cli TIMEOUT 600)
target_compile_definitions(tst_cli PRIVATE QS_CLI="$<TARGET_FILE:quantscope-cli>")
add_dependencies(tst_cli quantscope-cli)
