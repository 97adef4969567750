// SPDX-License-Identifier: Apache-2.0
#include "core/stats/hdf5_walk.h"

#include <algorithm>
#include <cstddef>
#include <set>
#include <tuple>

namespace qs::stats::h5 {
namespace {

constexpr int kDeepest = 64;
constexpr std::size_t kMostObjects = 1'000'000;
constexpr hsize_t kPieceBytes = hsize_t{8} << 20;
constexpr hsize_t kMostExpansion = 4000; // deflate reaches 1032, and half of a Gram is not written
constexpr hsize_t kFreeBytes = hsize_t{1} << 20; // a small dataset may be unwritten

std::string child(const std::string& parent, const std::string& name)
{
    return parent.empty() ? name : parent + "/" + name;
}

Expected<hsize_t> logicalBytes(const DatasetInfo& info)
{
    hsize_t bytes = std::max<std::size_t>(1, info.typeSize);
    for (const hsize_t extent : info.extents)
        if (__builtin_mul_overflow(bytes, extent, &bytes))
            return fail(Errc::Format, "has extents whose product overflows", info.path);
    return bytes;
}

Expected<void> checkStorage(const DatasetInfo& info, hid_t set)
{
    const Id creation = properties(H5Dget_create_plist(set));
    if (!creation)
        return fail(Errc::Format, "cannot be described: " + lastMessage(), info.path);
    if (H5Pget_layout(creation) == H5D_VIRTUAL)
        return fail(Errc::Format, "is a virtual dataset: it would read other files", info.path, "copy its data into the file");
    if (H5Pget_external_count(creation) != 0)
        return fail(Errc::Format, "keeps its data in another file", info.path, "copy its data into the file");
    const int filters = H5Pget_nfilters(creation);
    for (int i = 0; i < filters; ++i) {
        unsigned flags = 0;
        std::size_t values = 0;
        unsigned config = 0;
        const H5Z_filter_t filter
            = H5Pget_filter2(creation, static_cast<unsigned>(i), &flags, &values, nullptr, 0, nullptr, &config);
        if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_FLETCHER32)
            return fail(Errc::Format,
                "uses filter " + std::to_string(filter) + "; only deflate, shuffle and fletcher32 are read", info.path,
                "repack the file with h5repack -f GZIP=1");
    }
    QS_TRY(bytes, logicalBytes(info));
    const hsize_t stored = H5Dget_storage_size(set);
    if (bytes > kFreeBytes && bytes / kMostExpansion > stored)
        return fail(Errc::Format,
            "claims " + std::to_string(bytes) + " bytes, but only " + std::to_string(stored) + " are stored", info.path);
    return {};
}

class Walker {
public:
    explicit Walker(const std::function<Expected<void>(const DatasetInfo&, hid_t)>& visit)
        : m_visit(visit)
    {
    }

    Expected<void> group(hid_t id, const std::string& path, int depth)
    {
        if (depth > kDeepest)
            return fail(Errc::Format, "groups are nested deeper than " + std::to_string(kDeepest), path);
        QS_TRY(names, linksOf(id, path));
        for (const std::string& name : names) {
            const std::string full = child(path, name);
            H5L_info_t link{};
            if (H5Lget_info(id, name.c_str(), &link, H5P_DEFAULT) < 0)
                return fail(Errc::Format, "a link cannot be read: " + lastMessage(), full);
            if (link.type == H5L_TYPE_SOFT)
                continue; // never followed: what it points to is reached by its own name, or not wanted
            if (link.type != H5L_TYPE_HARD)
                return fail(Errc::Format,
                    link.type == H5L_TYPE_EXTERNAL ? "is a link into another file" : "is a link of an unknown kind", full);
            QS_CHECK(object(id, name, full, depth));
        }
        return {};
    }

private:
    Expected<std::vector<std::string>> linksOf(hid_t id, const std::string& path) const
    {
        std::vector<std::string> names;
        hsize_t position = 0;
        const auto collect = [](hid_t, const char* name, const H5L_info_t*, void* data) -> herr_t {
            auto& all = *static_cast<std::vector<std::string>*>(data);
            all.emplace_back(name);
            return all.size() > kMostObjects ? 1 : 0;
        };
        const herr_t done = H5Literate(id, H5_INDEX_NAME, H5_ITER_INC, &position, collect, &names);
        if (done < 0)
            return fail(Errc::Format, "the group cannot be listed: " + lastMessage(), path);
        if (done > 0)
            return fail(Errc::Format, "holds more than " + std::to_string(kMostObjects) + " links", path);
        return names;
    }

    Expected<void> object(hid_t parent, const std::string& name, const std::string& path, int depth)
    {
        const Id opened = h5::object(H5Oopen(parent, name.c_str(), H5P_DEFAULT));
        H5O_info_t info{};
        if (!opened || H5Oget_info2(opened, &info, H5O_INFO_BASIC) < 0)
            return fail(Errc::Format, "cannot be opened: " + lastMessage(), path);
        if (!m_seen.emplace(info.fileno, info.addr).second)
            return {}; // a second name, or a cycle
        if (m_seen.size() > kMostObjects)
            return fail(Errc::Format, "the file holds more than " + std::to_string(kMostObjects) + " objects", path);
        if (info.type == H5O_TYPE_GROUP)
            return group(opened, path, depth + 1);
        if (info.type != H5O_TYPE_DATASET)
            return {};
        DatasetInfo described;
        described.path = path;
        described.extents = extentsOf(opened);
        const Id stored = type(H5Dget_type(opened));
        if (!stored)
            return fail(Errc::Format, "has no readable type: " + lastMessage(), path);
        described.typeClass = H5Tget_class(stored);
        described.typeSize = H5Tget_size(stored);
        described.bfloat16 = described.typeClass == H5T_INTEGER && described.typeSize == 2
            && readString(opened, "logical_dtype") == "bfloat16";
        QS_CHECK(checkStorage(described, opened));
        return m_visit(described, opened);
    }

    const std::function<Expected<void>(const DatasetInfo&, hid_t)>& m_visit;
    std::set<std::pair<unsigned long, haddr_t>> m_seen;
};

/// Reads a whole dataset in pieces of rows; only numbers have pieces of a known size.
Expected<void> readAll(const DatasetInfo& info, hid_t set)
{
    if (info.typeClass != H5T_INTEGER && info.typeClass != H5T_FLOAT)
        return {}; // never read by this program
    const Id stored = type(H5Dget_type(set));
    const Id native = type(H5Tget_native_type(stored, H5T_DIR_ASCEND));
    const std::size_t size = native ? H5Tget_size(native) : 0;
    if (size == 0 || size > 64)
        return fail(Errc::Format, "has no type of this machine", info.path);
    hsize_t rowElements = 1;
    for (std::size_t i = 1; i < info.extents.size(); ++i)
        rowElements *= info.extents[i]; // does not overflow: checkStorage() saw to it
    const hsize_t rows = info.extents.empty() ? 1 : info.extents[0];
    if (rowElements > (hsize_t{1} << 30))
        return fail(Errc::Format, "has rows of more than 2^30 values", info.path);
    const hsize_t piece
        = std::clamp<hsize_t>(kPieceBytes / std::max<hsize_t>(1, rowElements * size), 1, std::max<hsize_t>(1, rows));
    std::vector<std::byte> buffer(static_cast<std::size_t>(piece * rowElements) * size);
    for (hsize_t row = 0; row < rows && rowElements > 0; row += piece) {
        const hsize_t count = std::min(piece, rows - row);
        const Id fileSpace = space(H5Dget_space(set));
        Extents start(info.extents.size(), 0), block = info.extents;
        if (!info.extents.empty()) {
            start[0] = row;
            block[0] = count;
            H5Sselect_hyperslab(fileSpace, H5S_SELECT_SET, start.data(), nullptr, block.data(), nullptr);
        }
        // of the same rank as in the file: HDF5 goes element by element where ranks differ
        const Id memory = info.extents.empty() ? space(H5Screate(H5S_SCALAR))
                                               : space(H5Screate_simple(static_cast<int>(block.size()), block.data(), nullptr));
        if (H5Dread(set, native, memory, fileSpace, H5P_DEFAULT, buffer.data()) < 0)
            return fail(Errc::Format, "cannot be read: " + lastMessage(), info.path);
    }
    return {};
}

} // namespace

bool DatasetInfo::isActivations() const
{
    const bool floating = typeClass == H5T_FLOAT && (typeSize == 2 || typeSize == 4 || typeSize == 8);
    return (floating || bfloat16) && (extents.size() == 2 || extents.size() == 3);
}

Expected<void> walk(hid_t file, const std::function<Expected<void>(const DatasetInfo&, hid_t)>& visit)
{
    const Id root = group(H5Gopen2(file, "/", H5P_DEFAULT));
    if (!root)
        return fail(Errc::Format, "has no root group: " + lastMessage());
    return Walker(visit).group(root, {}, 0);
}

Expected<void> walkAndRead(const std::string& path)
{
    const auto held = lock();
    const Id opened = file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT));
    if (!opened)
        return fail(Errc::Format, "is not a readable HDF5 file: " + lastMessage());
    return walk(opened, readAll);
}

} // namespace qs::stats::h5
