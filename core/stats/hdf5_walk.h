// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/stats/hdf5_support.h"

#include <functional>
#include <string>

namespace qs::stats::h5 {

/// What a walk tells about one dataset.
struct DatasetInfo {
    std::string path; ///< Without the leading slash.
    Extents extents;
    H5T_class_t typeClass = H5T_NO_CLASS;
    std::size_t typeSize = 0;
    bool bfloat16 = false; ///< uint16 with the attribute `logical_dtype = "bfloat16"`.

    /// A 2-D or 3-D matrix of activations: a candidate for a layer's input.
    bool isActivations() const;
};

/// Visits every dataset that hard links reach, each once, in the order of names, and refuses what a hostile file can do harm
/// with: external links and link types of other software, external storage, virtual datasets, filters other than deflate,
/// shuffle and fletcher32, extents whose product overflows or is far above what the file can hold, too deep nesting, too many
/// objects. Errors   Format, naming the object. To be called under lock().
Expected<void> walk(hid_t file, const std::function<Expected<void>(const DatasetInfo&, hid_t dataset)>& visit);

/// Walks a file and reads every dataset of it in bounded pieces: what the checking process does.
Expected<void> walkAndRead(const std::string& path);

} // namespace qs::stats::h5
