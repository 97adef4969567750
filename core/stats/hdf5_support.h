// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/base/types.h"

#include <hdf5.h>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace qs::stats::h5 {

/// The lock under which every call into HDF5 is made: the library is not thread-safe. The first lock also silences its error
/// printing and forbids the loading of filter plugins.
std::unique_lock<std::recursive_mutex> lock();

/// An HDF5 identifier that is closed when it goes. To be destroyed under lock().
class Id {
public:
    Id() = default;
    Id(hid_t id, herr_t (*close)(hid_t))
        : m_id(id)
        , m_close(close)
    {
    }
    Id(Id&& other) noexcept
        : m_id(std::exchange(other.m_id, H5I_INVALID_HID))
        , m_close(other.m_close)
    {
    }
    Id& operator=(Id&& other) noexcept
    {
        std::swap(m_id, other.m_id);
        std::swap(m_close, other.m_close);
        return *this;
    }
    ~Id()
    {
        if (m_id >= 0)
            m_close(m_id);
    }
    explicit operator bool() const { return m_id >= 0; }
    operator hid_t() const { return m_id; } // NOLINT(google-explicit-constructor): used where the C interface wants one
    hid_t release() { return std::exchange(m_id, H5I_INVALID_HID); }

private:
    hid_t m_id = H5I_INVALID_HID;
    herr_t (*m_close)(hid_t) = nullptr;
};

inline Id file(hid_t id)
{
    return {id, H5Fclose};
}
inline Id group(hid_t id)
{
    return {id, H5Gclose};
}
inline Id dataset(hid_t id)
{
    return {id, H5Dclose};
}
inline Id space(hid_t id)
{
    return {id, H5Sclose};
}
inline Id type(hid_t id)
{
    return {id, H5Tclose};
}
inline Id attribute(hid_t id)
{
    return {id, H5Aclose};
}
inline Id properties(hid_t id)
{
    return {id, H5Pclose};
}
inline Id object(hid_t id)
{
    return {id, H5Oclose};
}

using Extents = std::vector<hsize_t>;

/// Extents of a dataset; empty for a scalar or on failure.
Extents extentsOf(hid_t dataset);
/// The innermost message of HDF5's error stack: "unable to open file", ...
std::string lastMessage();

/// String attribute, of fixed or variable length; empty when it is absent or not a string.
std::string readString(hid_t object, const char* name);
/// Integer attribute; `fallback` when it is absent or not an integer.
std::int64_t readInteger(hid_t object, const char* name, std::int64_t fallback);
bool writeString(hid_t object, const char* name, const std::string& value);
bool writeInteger(hid_t object, const char* name, std::int64_t value);
std::uint64_t readUnsigned(hid_t object, const char* name, std::uint64_t fallback);
bool writeUnsigned(hid_t object, const char* name, std::uint64_t value);

} // namespace qs::stats::h5
