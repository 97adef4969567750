// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

struct XXH3_state_s;

namespace qs {

/// Streaming 128-bit content digest (XXH3-128) used for identities of inputs: models, tensors, dumps, pipelines.
///
/// It detects accidental differences; it is not cryptographic and is never used to defend against a forger.
/// Cost     about memory bandwidth.   Threads   one instance per thread.   Source   xxHash by Yann Collet, BSD-2.
class Digest {
public:
    Digest();
    ~Digest();
    Digest(const Digest&) = delete;
    Digest& operator=(const Digest&) = delete;

    Digest& add(std::span<const std::byte> bytes);
    Digest& add(std::string_view text); ///< Length-prefixed, so that ("ab","c") differs from ("a","bc").
    Digest& add(double value);
    Digest& add(std::int64_t value);
    std::string hex() const; ///< 32 lower-case hexadecimal digits.

private:
    XXH3_state_s* m_state;
};

} // namespace qs
