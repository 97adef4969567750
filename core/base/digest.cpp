// SPDX-License-Identifier: Apache-2.0
#include "core/base/digest.h"

#include <cstring>
#include <new>
#include <xxhash.h>

namespace qs {

Digest::Digest()
    : m_state(XXH3_createState())
{
    if (!m_state)
        throw std::bad_alloc();
    XXH3_128bits_reset(m_state);
}

Digest::~Digest()
{
    XXH3_freeState(m_state);
}

Digest& Digest::add(std::span<const std::byte> bytes)
{
    XXH3_128bits_update(m_state, bytes.data(), bytes.size());
    return *this;
}

Digest& Digest::add(std::string_view text)
{
    add(static_cast<std::int64_t>(text.size()));
    XXH3_128bits_update(m_state, text.data(), text.size());
    return *this;
}

Digest& Digest::add(double value)
{
    XXH3_128bits_update(m_state, &value, sizeof value);
    return *this;
}

Digest& Digest::add(std::int64_t value)
{
    XXH3_128bits_update(m_state, &value, sizeof value);
    return *this;
}

std::string Digest::hex() const
{
    const XXH128_hash_t hash = XXH3_128bits_digest(m_state);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    text.reserve(32);
    for (const unsigned char byte : canonical.digest) {
        text.push_back(kDigits[byte >> 4]);
        text.push_back(kDigits[byte & 15]);
    }
    return text;
}

} // namespace qs
