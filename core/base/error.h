// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace qs {

/// Kind of an expected failure. Bugs are exceptions; everything a user or a file can cause is one of these.
enum class Errc {
    InvalidArgument, ///< An option or argument is outside its range.
    NotFound, ///< A file, tensor, layer, stage or method does not exist.
    Io, ///< The operating system refused a read or write (full disk, permissions, vanished file).
    Format, ///< A file breaks a rule of its format.
    Unsupported, ///< Valid, but nothing here can handle it.
    Mismatch, ///< Two inputs do not belong together (dump of another model, contradicting shapes).
    NotFinite, ///< NaN or Inf where a number is needed.
    OutOfMemory,
    Cancelled,
    Internal, ///< An exception that reached a job border: a bug of ours.
};

/// Stable lower-case name of a code, used in JSON ("invalid-argument", "not-found", ...).
const char* errcName(Errc code) noexcept;

/// One failure, told in a way a user can act on: what, where, what to do.
struct Error {
    Errc code = Errc::Internal;
    std::string message; ///< What went wrong, without a trailing full stop.
    std::string where; ///< File, tensor, field or option that it is about; may be empty.
    std::string hint; ///< What to do; may be empty.

    /// "where: message (hint)" on one line.
    std::string line() const;
};

template <class T> using Expected = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(Errc code, std::string message, std::string where = {}, std::string hint = {})
{
    return tl::unexpected<Error>(Error{code, std::move(message), std::move(where), std::move(hint)});
}

} // namespace qs

/// Evaluates an Expected<T> expression; on failure returns its error from the enclosing function, else binds `var` to the
/// value.
#define QS_CONCAT_INNER(a, b) a##b
#define QS_CONCAT(a, b) QS_CONCAT_INNER(a, b)
#define QS_TRY(var, ...) QS_TRY_IMPL(QS_CONCAT(qsTry_, __LINE__), var, __VA_ARGS__)
#define QS_TRY_IMPL(tmp, var, ...)                                                                                             \
    auto tmp = (__VA_ARGS__);                                                                                                  \
    if (!tmp)                                                                                                                  \
        return tl::unexpected(std::move(tmp).error());                                                                         \
    auto& var = *tmp
/// The same for Expected<void>, or where the value is not needed.
#define QS_CHECK(...)                                                                                                          \
    do {                                                                                                                       \
        if (auto qsCheck_ = (__VA_ARGS__); !qsCheck_)                                                                          \
            return tl::unexpected(std::move(qsCheck_).error());                                                                \
    } while (false)
