// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <QByteArray>
#include <QtTest>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace qs::test {

/// Reads a golden JSON file below tests/golden.
inline nlohmann::json readGolden(const std::string& path)
{
    std::ifstream file(std::string(QS_GOLDEN_DIR) + "/" + path);
    if (!file)
        qFatal("golden file %s is missing", path.c_str());
    return nlohmann::json::parse(file);
}

/// An array stored as base64 of little-endian values.
template <class T> std::vector<T> goldenArray(const nlohmann::json& text)
{
    const QByteArray bytes = QByteArray::fromBase64(QByteArray::fromStdString(text.get<std::string>()));
    std::vector<T> values(static_cast<std::size_t>(bytes.size()) / sizeof(T));
    std::memcpy(values.data(), bytes.constData(), values.size() * sizeof(T));
    return values;
}

} // namespace qs::test
