// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <QString>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Small helpers that several tests share.
namespace qs::test {

inline std::string readFile(const std::filesystem::path& path)
{
    std::ifstream stream(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(stream), {});
}

inline void writeFile(const std::filesystem::path& path, std::string_view bytes)
{
    std::ofstream stream(path, std::ios::binary);
    stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

inline nlohmann::json goldenJson(const std::string& name)
{
    return nlohmann::json::parse(readFile(std::filesystem::path(QS_GOLDEN_DIR) / name));
}

inline std::string fromHex(const std::string& hex)
{
    std::string bytes;
    bytes.reserve(hex.size() / 2);
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
        bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    return bytes;
}

template <class T> std::vector<T> fromHexAs(const std::string& hex)
{
    const std::string bytes = fromHex(hex);
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!values.empty())
        std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
    return values;
}

/// Position of the first value whose bits differ, or -1. Two NaN of any payload count as equal.
inline long firstDifference(std::span<const float> a, std::span<const float> b)
{
    for (std::size_t i = 0; i < a.size() || i < b.size(); ++i) {
        if (i >= a.size() || i >= b.size())
            return static_cast<long>(i);
        if (a[i] != a[i] && b[i] != b[i])
            continue;
        if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0)
            return static_cast<long>(i);
    }
    return -1;
}

inline std::size_t filesIn(const std::filesystem::path& folder)
{
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator()));
}

/// A safetensors file from the text of its header.
inline std::string safetensorsBytes(const std::string& header, const std::string& data = {})
{
    std::string bytes(8, '\0');
    for (std::size_t i = 0; i < 8; ++i)
        bytes[i] = static_cast<char>(header.size() >> (8 * i) & 255U);
    return bytes + header + data;
}

} // namespace qs::test

/// Fails the test with the error's line when an Expected holds one.
#define QS_VERIFY_OK(expected)                                                                                                 \
    do {                                                                                                                       \
        const auto& qsResult_ = (expected);                                                                                    \
        QVERIFY2(qsResult_.has_value(), qsResult_.has_value() ? "" : qsResult_.error().line().c_str());                        \
    } while (false)
/// Checks that an Expected is an error of a kind whose line contains a text.
#define QS_VERIFY_ERROR(expected, errc, part)                                                                                  \
    do {                                                                                                                       \
        const auto& qsResult_ = (expected);                                                                                    \
        QVERIFY2(!qsResult_.has_value(), "an error was expected");                                                             \
        const std::string qsLine_ = qsResult_.error().line();                                                                  \
        QVERIFY2(qsResult_.error().code == (errc), qsLine_.c_str());                                                           \
        QVERIFY2(qsLine_.find(part) != std::string::npos, qsLine_.c_str());                                                    \
    } while (false)
