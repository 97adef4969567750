# SPDX-License-Identifier: Apache-2.0
# Writes OUT, a source file with a digest of the code that results depend on. Run at build time with -DROOT=... -DOUT=...
file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/core/*.cpp ${ROOT}/core/*.h ${ROOT}/plugins/*.cpp ${ROOT}/plugins/*.h)
list(FILTER files EXCLUDE REGEX "/tests/|^core/session/")
list(SORT files)
set(all "")
foreach(name IN LISTS files)
    file(SHA256 ${ROOT}/${name} digest)
    string(APPEND all "${name} ${digest}\n")
endforeach()
string(SHA256 digest "${all}")
string(SUBSTRING ${digest} 0 16 digest)
file(WRITE ${OUT} "// Made at build time.\n#include \"core/base/version.h\"\n\nstd::string_view qs::sourceDigest()\n{\n    return \"${digest}\";\n}\n")
