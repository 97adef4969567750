// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/io/checkpoint.h"

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>

namespace qs::model {

/// Hugging Face names of a checkpoint's tensors.
///
/// Threads  const members may be called concurrently.   Source   names of llama.cpp's `gguf` tables: `formats.md` 1.2.
class TensorNames {
public:
    TensorNames(const io::Checkpoint& checkpoint, bool gguf);

    const io::TensorInfo* find(std::string_view hfName) const;
    const std::string& hfName(const io::TensorInfo& tensor) const; ///< The stored name where it has no other.
    const std::string& prefix() const { return m_prefix; } ///< "model.", or "" for a base model without its head.
    const std::set<int>& blocks() const { return m_blocks; } ///< Numbers of the decoder blocks that tensors are named for.

private:
    std::map<std::string, const io::TensorInfo*, std::less<>> m_byName;
    std::map<std::string, std::string, std::less<>> m_hfName; // of stored names
    std::set<int> m_blocks;
    std::string m_prefix = "model.";
};

} // namespace qs::model
