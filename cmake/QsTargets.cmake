# SPDX-License-Identifier: Apache-2.0
# Flags come from these INTERFACE targets, never from CMAKE_CXX_FLAGS.

# -Wshadow only where sources are compiled alone: in a unity build the names of one file lie in another's sight.
add_library(qs_warnings INTERFACE)
target_compile_options(qs_warnings INTERFACE
    -Wall -Wextra -Wpedantic $<$<NOT:$<BOOL:${CMAKE_UNITY_BUILD}>>:-Wshadow> -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-align -Wunused -Wformat=2
    -Wimplicit-fallthrough -Wno-missing-field-initializers
    $<$<BOOL:${QS_WERROR}>:-Werror>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # GCC 12 reports -Wrestrict inside std::string concatenation (GCC bug 105651), fixed in 13.
    target_compile_options(qs_warnings INTERFACE -Wno-restrict)
endif()

add_library(qs_sanitizers INTERFACE)
if(QS_SANITIZE)
    target_compile_options(qs_sanitizers INTERFACE -fsanitize=${QS_SANITIZE} -fno-omit-frame-pointer -g1)
    target_link_options(qs_sanitizers INTERFACE -fsanitize=${QS_SANITIZE})
    if(QS_SANITIZE MATCHES "undefined")
        target_compile_options(qs_sanitizers INTERFACE -fno-sanitize-recover=undefined)
    endif()
endif()

# Every target of ours: the two above, source-root includes, and no FMA contraction, so that results do not depend on the compiler's mood.
add_library(qs_common INTERFACE)
target_link_libraries(qs_common INTERFACE qs_warnings qs_sanitizers)
target_include_directories(qs_common INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/generated)
target_compile_options(qs_common INTERFACE -ffp-contract=off)
target_compile_definitions(qs_common INTERFACE QT_NO_KEYWORDS QT_NO_CAST_TO_ASCII QT_NO_FOREACH)

# qs_add_plugin(<family> STAGES <sources without Qt> ENTRY <plugin.cpp> [NEEDS <libs>])
#   qs_<family>_stages  static library, no Qt: linked by unit tests and by the module
#   qs_<family>         the module that PluginManager loads; its JSON and methods/*.json are copied beside it
function(qs_add_plugin family)
    cmake_parse_arguments(ARG "" "ENTRY" "STAGES;NEEDS" ${ARGN})
    add_library(qs_${family}_stages STATIC ${ARG_STAGES})
    target_link_libraries(qs_${family}_stages PUBLIC qs_core ${ARG_NEEDS} PRIVATE qs_common)
    add_library(qs_${family} MODULE ${ARG_ENTRY})
    set_target_properties(qs_${family} PROPERTIES
        AUTOMOC ON PREFIX "" OUTPUT_NAME ${family}
        LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/plugins/${family}
        INSTALL_RPATH "$ORIGIN/../../..")
    target_link_libraries(qs_${family} PRIVATE qs_${family}_stages Qt6::Core qs_common)
    file(GLOB methods CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/methods/*.json)
    foreach(method IN LISTS methods)
        get_filename_component(name ${method} NAME)
        configure_file(${method} ${PROJECT_BINARY_DIR}/plugins/${family}/methods/${name} COPYONLY)
    endforeach()
    install(TARGETS qs_${family} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/quantscope/plugins/${family})
    if(methods)
        install(FILES ${methods} DESTINATION ${CMAKE_INSTALL_LIBDIR}/quantscope/plugins/${family}/methods)
    endif()
    set_property(GLOBAL APPEND PROPERTY QS_PLUGIN_MODULES qs_${family})
endfunction()

# What every test includes, parsed once for the tests without a window and once for those with one: Qt's test headers depend on QT_WIDGETS_LIB.
# Only the tests, so that every other source proves that it includes what it uses.
function(qs_add_test_headers name)
    add_executable(${name} EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/tests/support/precompiled.cpp)
    target_link_libraries(${name} PRIVATE ${ARGN} Qt6::Test qs_common)
    qs_test_options(${name})
    target_precompile_headers(${name} PRIVATE <QtTest> <algorithm> <cmath> <filesystem> <fstream> <functional> <map> <memory> <numeric> <optional> <random>
        <set> <span> <string> <unordered_map> <vector> <fmt/format.h> <nlohmann/json.hpp>)
endfunction()

# Tests are compiled quickly; what they test is compiled as shipped.
function(qs_test_options name)
    # Each test has its own value for these (QFINDTESTDATA, unused here), and a shared precompiled header allows one.
    target_compile_options(${name} PRIVATE -UQT_TESTCASE_BUILDDIR -UQT_TESTCASE_SOURCEDIR)
    if(QS_SANITIZE)
        target_compile_options(${name} PRIVATE -O0)
    else()
        target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>)
    endif()
    target_compile_options(${name} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>) # what ccache asks for
    target_link_libraries(${name} PRIVATE fmt::fmt nlohmann_json::nlohmann_json)
endfunction()

# qs_add_test(<name> SOURCES <files> [LIBS <libs>] [LABELS <labels>] [GUI])
# Offscreen platform, sources of the test tree, and paths to golden and sample data as definitions.
function(qs_add_test name)
    cmake_parse_arguments(ARG "GUI" "TIMEOUT" "SOURCES;LIBS;LABELS" ${ARGN})
    add_executable(${name} ${ARG_SOURCES})
    set_target_properties(${name} PROPERTIES AUTOMOC ON UNITY_BUILD OFF RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
    target_link_libraries(${name} PRIVATE ${ARG_LIBS} Qt6::Test qs_common)
    qs_test_options(${name})
    if("qs_views" IN_LIST ARG_LIBS OR "qs_gui" IN_LIST ARG_LIBS)
        target_precompile_headers(${name} REUSE_FROM qs_test_headers_gui)
    else()
        target_precompile_headers(${name} REUSE_FROM qs_test_headers)
    endif()
    target_compile_definitions(${name} PRIVATE
        QS_SOURCE_DIR="${PROJECT_SOURCE_DIR}" QS_BINARY_DIR="${PROJECT_BINARY_DIR}"
        QS_GOLDEN_DIR="${PROJECT_SOURCE_DIR}/tests/golden" QS_DATA_DIR="${PROJECT_SOURCE_DIR}/tests/data"
        QS_SAMPLE_DIR="${PROJECT_SOURCE_DIR}/resources/sample")
    add_test(NAME ${name} COMMAND ${name})
    set(labels ${ARG_LABELS})
    if(NOT labels)
        set(labels unit)
    endif()
    if(NOT ARG_TIMEOUT)
        set(ARG_TIMEOUT 300)
    endif()
    # tests-<label> builds what `ctest -L <label>` runs.
    foreach(label IN LISTS labels)
        if(NOT TARGET tests-${label})
            add_custom_target(tests-${label})
        endif()
        add_dependencies(tests-${label} ${name})
    endforeach()
    set_tests_properties(${name} PROPERTIES LABELS "${labels}" TIMEOUT ${ARG_TIMEOUT}
        ENVIRONMENT "QT_QPA_PLATFORM=offscreen;OMP_WAIT_POLICY=passive;TSAN_OPTIONS=ignore_noninstrumented_modules=1 halt_on_error=1;QS_PLUGIN_PATH=${PROJECT_BINARY_DIR}/plugins")
endfunction()
