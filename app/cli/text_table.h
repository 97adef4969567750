// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace qs::cli {

/// A table of text for terminals: columns as wide as their widest cell, numbers right aligned.
class TextTable {
public:
    explicit TextTable(std::vector<std::string> headers);
    void add(std::vector<std::string> row);
    std::string text() const;

private:
    std::vector<std::string> m_headers;
    std::vector<std::vector<std::string>> m_rows;
};

std::string significant(double value, int digits = 3); ///< "0.00123", "12.3", "nan".
std::string percent(double value); ///< "1.23 %".
std::string bytesText(double bytes); ///< "94.2 MB" (powers of 1000).

/// What is wrong and where, one line for all places of which the same is said: "error: A and 5 more: ...".
std::string problemsText(const nlohmann::json& problems);
std::string counted(std::size_t count, const std::string& noun); ///< "1 layer", "2 layers".
/// Pieces joined by "; " in lines of at most `width` columns; lines after the first are indented by two blanks.
std::string wrapped(const std::string& title, const std::vector<std::string>& pieces, std::size_t width = 100);

} // namespace qs::cli
