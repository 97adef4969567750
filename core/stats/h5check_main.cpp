// SPDX-License-Identifier: Apache-2.0

// quantscope-h5check FILE CPU_SECONDS: walks and reads an HDF5 file under limits, so that a file that breaks the library breaks
// only this process. Exit status 0: sound; 1: refused, with object, message and hint on three lines of stdout; anything else:
// it broke.

#include "core/stats/hdf5_walk.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <sys/resource.h>

namespace {

void limit(int resource, rlim_t value, rlim_t grace = 0)
{
    const rlimit bound{value, value + grace};
    setrlimit(static_cast<__rlimit_resource>(resource), &bound);
}

} // namespace

int main(int argc, char** argv)
{
    if (argc != 3)
        return 2;
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_FSIZE, 0);
    // SIGXCPU first, which tells the parent why; SIGKILL a second later.
    limit(RLIMIT_CPU, static_cast<rlim_t>(std::max(1L, std::strtol(argv[2], nullptr, 10))), 1);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) // those reserve terabytes of addresses
    limit(RLIMIT_AS, rlim_t{4} << 30);
#endif
    try {
        const auto checked = qs::stats::h5::walkAndRead(argv[1]);
        if (checked)
            return 0;
        std::printf(
            "%s\n%s\n%s\n", checked.error().where.c_str(), checked.error().message.c_str(), checked.error().hint.c_str());
    } catch (const std::exception& error) {
        std::printf("\n%s\n\n", error.what());
    }
    return 1;
}
