// SPDX-License-Identifier: Apache-2.0
#include "core/stats/hdf5_support.h"

#include <algorithm>
#include <cstdint>

namespace qs::stats::h5 {
namespace {

constexpr std::size_t kLongestString = 65535; // an attribute of an old-format object header cannot be larger

template <class T> T readNumber(hid_t object, const char* name, hid_t native, T fallback)
{
    if (H5Aexists(object, name) <= 0)
        return fallback;
    const Id attr = attribute(H5Aopen(object, name, H5P_DEFAULT));
    const Id stored = type(attr ? H5Aget_type(attr) : H5I_INVALID_HID);
    const Id extent = space(attr ? H5Aget_space(attr) : H5I_INVALID_HID);
    if (!stored || !extent || H5Tget_class(stored) != H5T_INTEGER || H5Sget_simple_extent_npoints(extent) != 1)
        return fallback;
    T value = fallback;
    return H5Aread(attr, native, &value) < 0 ? fallback : value;
}

template <class T> bool writeNumber(hid_t object, const char* name, hid_t stored, hid_t native, T value)
{
    const Id scalar = space(H5Screate(H5S_SCALAR));
    const Id attr = attribute(H5Acreate2(object, name, stored, scalar, H5P_DEFAULT, H5P_DEFAULT));
    return attr && H5Awrite(attr, native, &value) >= 0;
}

} // namespace

std::unique_lock<std::recursive_mutex> lock()
{
    static std::recursive_mutex mutex;
    std::unique_lock held(mutex);
    static const bool prepared = [] {
        // A file that could not be closed (full disk) stays in the library, whose own clean-up at exit then breaks. Ours are
        // closed by then.
        H5dont_atexit();
        H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
        H5PLset_loading_state(0);
        return true;
    }();
    static_cast<void>(prepared);
    return held;
}

Extents extentsOf(hid_t dataset)
{
    const Id extent = space(H5Dget_space(dataset));
    const int rank = extent ? H5Sget_simple_extent_ndims(extent) : -1;
    if (rank <= 0)
        return {};
    Extents result(static_cast<std::size_t>(rank));
    H5Sget_simple_extent_dims(extent, result.data(), nullptr);
    return result;
}

std::string lastMessage()
{
    std::string text;
    H5Ewalk2(
        H5E_DEFAULT, H5E_WALK_UPWARD,
        [](unsigned, const H5E_error2_t* error, void* data) -> herr_t {
            auto& target = *static_cast<std::string*>(data);
            if (target.empty() && error->desc)
                target = error->desc;
            return 0;
        },
        &text);
    return text.empty() ? "unknown HDF5 failure" : text;
}

std::string readString(hid_t object, const char* name)
{
    if (H5Aexists(object, name) <= 0)
        return {};
    const Id attr = attribute(H5Aopen(object, name, H5P_DEFAULT));
    const Id stored = type(attr ? H5Aget_type(attr) : H5I_INVALID_HID);
    const Id extent = space(attr ? H5Aget_space(attr) : H5I_INVALID_HID);
    if (!stored || !extent || H5Tget_class(stored) != H5T_STRING || H5Sget_simple_extent_npoints(extent) != 1)
        return {};
    if (H5Tis_variable_str(stored) > 0) {
        const Id memory = type(H5Tcopy(H5T_C_S1));
        H5Tset_size(memory, H5T_VARIABLE);
        H5Tset_cset(memory, H5Tget_cset(stored));
        char* text = nullptr;
        if (H5Aread(attr, memory, &text) < 0 || !text)
            return {};
        std::string result(text);
        H5free_memory(text);
        return result;
    }
    const std::size_t size = H5Tget_size(stored);
    if (size == 0 || size > kLongestString)
        return {};
    std::string result(size, '\0');
    if (H5Aread(attr, stored, result.data()) < 0)
        return {};
    result.resize(std::min(result.find('\0'), result.size()));
    return result;
}

std::int64_t readInteger(hid_t object, const char* name, std::int64_t fallback)
{
    return readNumber(object, name, H5T_NATIVE_INT64, fallback);
}

std::uint64_t readUnsigned(hid_t object, const char* name, std::uint64_t fallback)
{
    return readNumber(object, name, H5T_NATIVE_UINT64, fallback);
}

bool writeString(hid_t object, const char* name, const std::string& value)
{
    const Id stored = type(H5Tcopy(H5T_C_S1));
    const Id scalar = space(H5Screate(H5S_SCALAR));
    H5Tset_size(stored, std::max<std::size_t>(1, value.size()));
    H5Tset_strpad(stored, H5T_STR_NULLPAD);
    H5Tset_cset(stored, H5T_CSET_UTF8);
    const Id attr = attribute(H5Acreate2(object, name, stored, scalar, H5P_DEFAULT, H5P_DEFAULT));
    const std::string padded = value.empty() ? std::string(1, '\0') : value;
    return attr && H5Awrite(attr, stored, padded.data()) >= 0;
}

bool writeInteger(hid_t object, const char* name, std::int64_t value)
{
    return writeNumber(object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, value);
}

bool writeUnsigned(hid_t object, const char* name, std::uint64_t value)
{
    return writeNumber(object, name, H5T_STD_U64LE, H5T_NATIVE_UINT64, value);
}

} // namespace qs::stats::h5
