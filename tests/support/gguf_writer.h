// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace qs::test {

/// Builds the bytes of a GGUF file field by field, right or (on request) wrong in one place.
class GgufWriter {
public:
    std::uint32_t version = 3;
    std::uint64_t alignment = 32; ///< What offsets and padding follow; the key is written only by addAlignment().
    std::int64_t tensorCountError = 0; ///< Added to the tensor count.
    std::int64_t pairCountError = 0;

    struct Tensor {
        std::string name;
        std::vector<std::int64_t> extents; ///< Fastest axis first, as the file has them.
        std::uint32_t type = 0;
        std::string data;
        std::int64_t offsetError = 0; ///< Added to the right offset.
    };

    template <class T> GgufWriter& add(const std::string& key, std::int32_t type, T value)
    {
        beginPair(key, type);
        number(m_pairs, value);
        return *this;
    }
    GgufWriter& add(const std::string& key, const std::string& value)
    {
        beginPair(key, 8);
        text(m_pairs, value);
        return *this;
    }
    GgufWriter& addTexts(const std::string& key, const std::vector<std::string>& values)
    {
        beginPair(key, 9);
        number(m_pairs, std::int32_t{8});
        number(m_pairs, static_cast<std::uint64_t>(values.size()));
        for (const auto& value : values)
            text(m_pairs, value);
        return *this;
    }
    template <class T> GgufWriter& addNumbers(const std::string& key, std::int32_t type, const std::vector<T>& values)
    {
        beginPair(key, 9);
        number(m_pairs, type);
        number(m_pairs, static_cast<std::uint64_t>(values.size()));
        for (const T value : values)
            number(m_pairs, value);
        return *this;
    }
    GgufWriter& addAlignment(std::uint32_t value) { return add("general.alignment", 4, value); }
    /// The bytes of a pair as they are.
    GgufWriter& addRaw(const std::string& key, std::int32_t type, const std::string& value)
    {
        beginPair(key, type);
        m_pairs += value;
        return *this;
    }
    GgufWriter& addTensor(Tensor tensor)
    {
        m_tensors.push_back(std::move(tensor));
        return *this;
    }

    std::string header() const
    {
        std::string out = "GGUF";
        number(out, version);
        number(out, static_cast<std::int64_t>(m_tensors.size()) + tensorCountError);
        number(out, m_pairCount + pairCountError);
        out += m_pairs;
        std::uint64_t offset = 0;
        for (const Tensor& tensor : m_tensors) {
            text(out, tensor.name);
            number(out, static_cast<std::uint32_t>(tensor.extents.size()));
            for (const std::int64_t extent : tensor.extents)
                number(out, extent);
            number(out, tensor.type);
            number(out, offset + static_cast<std::uint64_t>(tensor.offsetError));
            offset += padded(tensor.data.size());
        }
        return out;
    }

    std::string bytes() const
    {
        std::string out = header();
        out.resize(padded(out.size()), '\0');
        for (const Tensor& tensor : m_tensors) {
            out += tensor.data;
            out.resize(padded(out.size()), '\0');
        }
        return out;
    }

    template <class T> static void number(std::string& out, T value)
    {
        char raw[sizeof value];
        std::memcpy(raw, &value, sizeof value);
        out.append(raw, sizeof value);
    }
    static void text(std::string& out, const std::string& value)
    {
        number(out, static_cast<std::uint64_t>(value.size()));
        out += value;
    }
    template <class T> static std::string raw(const std::vector<T>& values)
    {
        std::string out;
        for (const T value : values)
            number(out, value);
        return out;
    }

private:
    std::size_t padded(std::size_t size) const { return (size + alignment - 1) / alignment * alignment; }
    void beginPair(const std::string& key, std::int32_t type)
    {
        ++m_pairCount;
        text(m_pairs, key);
        number(m_pairs, type);
    }

    std::string m_pairs;
    std::int64_t m_pairCount = 0;
    std::vector<Tensor> m_tensors;
};

} // namespace qs::test
