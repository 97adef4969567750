// SPDX-License-Identifier: GPL-3.0-or-later
#include "text_table.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace qs::cli {
namespace {

/// Display width: UTF-8 continuation bytes take no column.
std::size_t width(const std::string& text)
{
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

bool numeric(const std::string& text)
{
    return text.empty() || text == "-" || std::isdigit(static_cast<unsigned char>(text.front())) != 0
        || ((text.front() == '-' || text.front() == '+') && text.size() > 1
            && std::isdigit(static_cast<unsigned char>(text[1])) != 0)
        || text == "nan" || text == "inf";
}

} // namespace

TextTable::TextTable(std::vector<std::string> headers)
    : m_headers(std::move(headers))
{
}

void TextTable::add(std::vector<std::string> row)
{
    row.resize(m_headers.size());
    for (std::string& cell : row)
        for (char& c : cell) // names come from files: no line breaks, no escape sequences for the terminal
            if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
                c = '?';
    m_rows.push_back(std::move(row));
}

std::string TextTable::text() const
{
    std::vector<std::size_t> widths;
    std::vector<bool> right;
    for (std::size_t c = 0; c < m_headers.size(); ++c) {
        std::size_t w = width(m_headers[c]);
        bool numbers = !m_rows.empty();
        for (const auto& row : m_rows) {
            w = std::max(w, width(row[c]));
            numbers = numbers && numeric(row[c]);
        }
        widths.push_back(w);
        right.push_back(numbers);
    }
    std::string out;
    const auto line = [&](const std::vector<std::string>& row) {
        std::string text;
        for (std::size_t c = 0; c < row.size(); ++c) {
            const std::string pad(widths[c] - width(row[c]), ' ');
            text += right[c] ? pad + row[c] : row[c] + pad;
            if (c + 1 < row.size())
                text += "  ";
        }
        text.erase(text.find_last_not_of(' ') + 1);
        out += text + "\n";
    };
    line(m_headers);
    for (const auto& row : m_rows)
        line(row);
    return out;
}

std::string significant(double value, int digits)
{
    if (!std::isfinite(value))
        return std::isnan(value) ? "nan" : (value > 0 ? "inf" : "-inf");
    if (value == 0.0)
        return "0";
    // Of the rounded value: 0.9996 has three digits as 1.00.
    const std::string scientific = fmt::format("{:.{}e}", value, digits - 1);
    const int magnitude = std::stoi(scientific.substr(scientific.find('e') + 1));
    if (magnitude < -4 || magnitude >= 7)
        return scientific;
    return fmt::format("{:.{}f}", value, std::max(0, digits - 1 - magnitude));
}

std::string percent(double value)
{
    return significant(100.0 * value) + " %";
}

std::string bytesText(double bytes)
{
    static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
    std::size_t unit = 0;
    while (bytes >= 1000.0 && unit + 1 < std::size(kUnits)) {
        bytes /= 1000.0;
        ++unit;
    }
    return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{} {}", significant(bytes), kUnits[unit]);
}

std::string counted(std::size_t count, const std::string& noun)
{
    return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string wrapped(const std::string& title, const std::vector<std::string>& pieces, std::size_t limit)
{
    std::string text, line = title;
    const auto put = [&](const std::string& word) {
        if (line.find_first_not_of(' ') != std::string::npos && width(line) + 1 + width(word) > limit) {
            text += line + "\n";
            line = "  " + word;
        } else {
            line += (line.empty() ? "" : " ") + word;
        }
    };
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        const std::string piece = pieces[i] + (i + 1 < pieces.size() ? ";" : "");
        for (std::size_t begin = 0; begin < piece.size();) {
            const std::size_t end = std::min(piece.find(' ', begin), piece.size());
            if (end > begin)
                put(piece.substr(begin, end - begin));
            begin = end + 1;
        }
    }
    return text + line + "\n";
}

std::string problemsText(const nlohmann::json& problems)
{
    struct Line {
        std::string severity, message, id;
        std::vector<std::string> places;
    };
    std::vector<Line> lines;
    for (const auto& problem : problems) {
        Line next{problem.at("severity"), problem.at("message"), problem.value("id", std::string()), {}};
        const auto same = std::ranges::find_if(lines, [&](const Line& line) {
            return line.severity == next.severity && line.message == next.message && line.id == next.id;
        });
        Line& line = same == lines.end() ? lines.emplace_back(std::move(next)) : *same;
        line.places.push_back(problem.at("where"));
    }
    std::string text;
    for (const Line& line : lines)
        text += fmt::format("{}: {}{}: {}{}\n", line.severity, line.places.front(),
            line.places.size() > 1 ? fmt::format(" and {} more", line.places.size() - 1) : std::string(), line.message,
            line.id.empty() ? std::string() : " [" + line.id + "]");
    return text;
}

} // namespace qs::cli
