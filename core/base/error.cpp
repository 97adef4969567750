// SPDX-License-Identifier: Apache-2.0
#include "core/base/error.h"

namespace qs {

const char* errcName(Errc code) noexcept
{
    switch (code) {
    case Errc::InvalidArgument: return "invalid-argument";
    case Errc::NotFound: return "not-found";
    case Errc::Io: return "io";
    case Errc::Format: return "format";
    case Errc::Unsupported: return "unsupported";
    case Errc::Mismatch: return "mismatch";
    case Errc::NotFinite: return "not-finite";
    case Errc::OutOfMemory: return "out-of-memory";
    case Errc::Cancelled: return "cancelled";
    case Errc::Internal: return "internal";
    }
    return "internal";
}

std::string Error::line() const
{
    std::string text;
    if (!where.empty())
        text = where + ": ";
    text += message;
    if (!hint.empty())
        text += " (" + hint + ")";
    for (char& c : text) // names come from files: no line breaks, no escape sequences for the terminal
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            c = ' ';
    return text;
}

} // namespace qs
