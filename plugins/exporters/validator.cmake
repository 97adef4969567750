# SPDX-License-Identifier: Apache-2.0
file(READ ${CMAKE_CURRENT_SOURCE_DIR}/runtimes.json QS_RUNTIMES_JSON)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/runtimes.json)
configure_file(runtimes.h.in ${PROJECT_BINARY_DIR}/generated/plugins/exporters/runtimes.h @ONLY)
target_sources(qs_exporters_stages PRIVATE validator.cpp validate_checkpoint.cpp validate_tensors.cpp validate_recipe.cpp runtimes.cpp verdicts_before.cpp)
