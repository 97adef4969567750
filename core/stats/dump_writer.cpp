// SPDX-License-Identifier: Apache-2.0
#include "core/stats/dump.h"

#include "core/base/version.h"
#include "core/exec/parallel.h"
#include "core/stats/dump_layout.h"
#include "core/stats/hdf5_support.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <fmt/format.h>
#include <set>
#include <span>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <unistd.h>
#include <zlib.h>

namespace qs::stats {
namespace fs = std::filesystem;

namespace {

static_assert(std::endian::native == std::endian::little, "chunks are packed in the byte order of this machine");

using Bytes = std::vector<unsigned char>;

/// What HDF5's shuffle and deflate filters make of one chunk: bytes of equal significance side by side, then a zlib stream.
template <class T> Bytes packChunk(std::span<const T> values)
{
    const auto* source = reinterpret_cast<const unsigned char*>(values.data());
    Bytes shuffled(values.size_bytes());
    for (std::size_t byte = 0; byte < sizeof(T); ++byte)
        for (std::size_t i = 0; i < values.size(); ++i)
            shuffled[byte * values.size() + i] = source[i * sizeof(T) + byte];
    // Run lengths and Huffman codes only: floats hold no longer repetitions, and the search for them takes most of deflate's
    // time.
    z_stream stream{};
    if (deflateInit2(&stream, 1, Z_DEFLATED, MAX_WBITS, MAX_MEM_LEVEL, Z_RLE) != Z_OK)
        throw std::bad_alloc();
    Bytes packed(deflateBound(&stream, static_cast<uLong>(shuffled.size())));
    stream.next_in = shuffled.data();
    stream.avail_in = static_cast<uInt>(shuffled.size());
    stream.next_out = packed.data();
    stream.avail_out = static_cast<uInt>(packed.size());
    const int status = deflate(&stream, Z_FINISH);
    packed.resize(stream.total_out);
    deflateEnd(&stream);
    if (status != Z_STREAM_END)
        throw std::logic_error("deflate did not finish within its own bound");
    return packed;
}

std::string now()
{
    const std::time_t time = std::time(nullptr);
    std::tm utc{};
    gmtime_r(&time, &utc);
    char text[32];
    return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc));
}

/// Why HDF5 failed: the system's reason where there is one ("No space left on device"), else the library's. Its own messages
/// name the temporary file and its counters.
std::string writeFailure()
{
    int number = 0;
    H5Ewalk2(
        H5E_DEFAULT, H5E_WALK_UPWARD,
        [](unsigned, const H5E_error2_t* error, void* data) -> herr_t {
            constexpr std::string_view kMark = "errno = ";
            const std::string_view text = error->desc ? error->desc : "";
            if (const auto at = text.find(kMark); at != std::string_view::npos)
                *static_cast<int*>(data) = std::atoi(error->desc + at + kMark.size());
            return 0;
        },
        &number);
    return number > 0 ? std::generic_category().message(number) : h5::lastMessage();
}

class Hdf5Writer final : public DumpWriter {
public:
    Hdf5Writer(fs::path target, fs::path temporary, h5::Id file, DumpWriteOptions options)
        : m_target(std::move(target))
        , m_temporary(std::move(temporary))
        , m_file(std::move(file))
        , m_options(options)
    {
    }
    Hdf5Writer(const Hdf5Writer&) = delete;
    Hdf5Writer& operator=(const Hdf5Writer&) = delete;
    ~Hdf5Writer() override
    {
        const auto held = h5::lock();
        m_file = h5::Id();
        if (!m_temporary.empty())
            ::unlink(m_temporary.c_str());
    }

    Expected<void> start(const DumpInfo& info)
    {
        const auto held = h5::lock();
        const bool written = h5::writeString(m_file, "schema", kSchema) && h5::writeString(m_file, "model_id", info.modelId)
            && h5::writeString(m_file, "tokenizer_id", info.tokenizerId)
            && h5::writeString(m_file, "dataset_id", info.datasetId) && h5::writeString(m_file, "policy", info.policy)
            && h5::writeString(m_file, "created", info.created.empty() ? now() : info.created)
            && h5::writeString(m_file, "producer", info.producer.empty() ? std::string(kProducer) : info.producer)
            && h5::writeInteger(m_file, "seq_len", info.seqLen) && h5::writeInteger(m_file, "n_tokens", info.tokens)
            && h5::writeUnsigned(m_file, "seed", info.seed);
        if (!written || !makeGroup(m_file, "stats") || !makeGroup(m_file, "layers"))
            return broken();
        return {};
    }

    Expected<void> addInput(
        const std::string& inputId, const std::vector<std::string>& layers, const InputStats& stats) override
    {
        QS_CHECK(usable());
        if (!m_inputs.insert(inputId).second)
            return fail(Errc::InvalidArgument, "is added twice", inputId);
        const auto held = h5::lock();
        const h5::Id input = makeGroup(m_file, "stats/" + linkName(inputId));
        if (!input)
            return broken();
        QS_CHECK(addPart(input, "fit", stats.fit));
        if (stats.hasHoldout())
            QS_CHECK(addPart(input, "holdout", stats.holdout));
        if (!addSink(input, "sink", stats.sink)
            || (stats.holdoutSink.count > 0 && !addSink(input, "holdout_sink", stats.holdoutSink)))
            return broken();
        for (const std::string& layer : layers) {
            const h5::Id group = makeGroup(m_file, "layers/" + linkName(layer));
            if (!group || !h5::writeString(group, "input_id", inputId))
                return broken();
        }
        return {};
    }

    Expected<void> addRawTokens(const std::string& layer, MatrixView tokens) override
    {
        QS_CHECK(usable());
        const std::string name = layer + kInputSuffix;
        if (layer.empty() || layer.front() == '/' || layer.find("//") != std::string::npos
            || ("/" + name).find("/./") != std::string::npos)
            return fail(Errc::InvalidArgument, "cannot name a dataset", layer);
        if (m_options.tokensFloat16)
            for (Index r = 0; r < tokens.rows(); ++r)
                for (const float value : tokens.row(r))
                    if (std::isfinite(value) && std::abs(value) > 65504.0F)
                        return fail(Errc::InvalidArgument, fmt::format("holds {}, which is beyond float16", value), name,
                            "store raw tokens in float32");
        const auto held = h5::lock();
        const h5::Extents extents{static_cast<hsize_t>(tokens.rows()), static_cast<hsize_t>(tokens.cols())};
        const h5::Extents chunk{std::clamp<hsize_t>(extents[0], 1, kTile), std::clamp<hsize_t>(extents[1], 1, kTile)};
        const h5::Id stored = m_options.tokensFloat16 ? float16() : h5::type(H5Tcopy(H5T_IEEE_F32LE));
        const h5::Id space = h5::space(H5Screate_simple(2, extents.data(), nullptr));
        const h5::Id links = h5::properties(H5Pcreate(H5P_LINK_CREATE));
        H5Pset_create_intermediate_group(links, 1);
        const h5::Id set = h5::dataset(H5Dcreate2(m_file, name.c_str(), stored, space, links, packed(chunk), H5P_DEFAULT));
        if (!set)
            return broken();
        RowMatrix contiguous;
        const float* data = tokens.data();
        if (!tokens.contiguous()) {
            contiguous = RowMatrix(tokens);
            data = contiguous.data();
        }
        if (!tokens.empty() && H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
            return broken();
        return {};
    }

    Expected<void> addTokenIds(const std::vector<std::vector<std::int32_t>>& ids) override
    {
        QS_CHECK(usable());
        if (ids.empty())
            return {};
        std::vector<std::int32_t> flat;
        for (const auto& sample : ids) {
            if (sample.size() != ids.front().size())
                return fail(Errc::InvalidArgument, "samples of token ids differ in length");
            flat.insert(flat.end(), sample.begin(), sample.end());
        }
        const auto held = h5::lock();
        const h5::Extents extents{ids.size(), ids.front().size()};
        const h5::Extents chunk{std::min<hsize_t>(extents[0], 64), std::clamp<hsize_t>(extents[1], 1, 4096)};
        const h5::Id space = h5::space(H5Screate_simple(2, extents.data(), nullptr));
        const h5::Id set
            = h5::dataset(H5Dcreate2(m_file, "tokens", H5T_STD_I32LE, space, H5P_DEFAULT, packed(chunk), H5P_DEFAULT));
        if (!set || (!flat.empty() && H5Dwrite(set, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, flat.data()) < 0))
            return broken();
        return {};
    }

    Expected<void> commit() override
    {
        QS_CHECK(usable());
        const auto held = h5::lock();
        if (H5Fflush(m_file, H5F_SCOPE_GLOBAL) < 0)
            return broken();
        if (H5Fclose(m_file.release()) < 0)
            return broken();
        const int fd = ::open(m_temporary.c_str(), O_RDONLY | O_CLOEXEC);
        const bool synced = fd >= 0 && ::fsync(fd) == 0;
        const int number = errno;
        if (fd >= 0)
            ::close(fd);
        if (!synced || ::rename(m_temporary.c_str(), m_target.c_str()) != 0)
            return fail(Errc::Io, "cannot be put in place: " + std::generic_category().message(synced ? errno : number),
                m_target.string(), "free space on that disk, or choose another folder");
        m_temporary.clear();
        markTrusted(m_target);
        return {};
    }

private:
    Expected<void> usable() const
    {
        if (!m_file)
            return fail(Errc::InvalidArgument, "the dump is closed already", m_target.string());
        return {};
    }
    tl::unexpected<Error> broken() const
    {
        return fail(Errc::Io, "cannot be written: " + writeFailure(), m_target.string(),
            "free space on that disk, or choose another folder");
    }
    static h5::Id makeGroup(hid_t parent, const std::string& name)
    {
        return h5::group(H5Gcreate2(parent, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    }
    static h5::Id float16()
    {
        h5::Id half = h5::type(H5Tcopy(H5T_IEEE_F32LE));
        H5Tset_fields(half, 15, 10, 5, 0, 10);
        H5Tset_size(half, 2);
        H5Tset_ebias(half, 15);
        return half;
    }
    static h5::Id packed(const h5::Extents& chunk)
    {
        h5::Id creation = h5::properties(H5Pcreate(H5P_DATASET_CREATE));
        H5Pset_chunk(creation, static_cast<int>(chunk.size()), chunk.data());
        H5Pset_shuffle(creation);
        H5Pset_deflate(creation, 1);
        return creation;
    }
    static bool addScalar(hid_t group, const char* name, std::int64_t value)
    {
        const h5::Id scalar = h5::space(H5Screate(H5S_SCALAR));
        const h5::Id set = h5::dataset(H5Dcreate2(group, name, H5T_STD_I64LE, scalar, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
        return set && H5Dwrite(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value) >= 0;
    }
    static bool addVector(hid_t group, const char* name, const std::vector<double>& values)
    {
        const hsize_t extent = values.size();
        const h5::Id space = h5::space(H5Screate_simple(1, &extent, nullptr));
        const h5::Id set = h5::dataset(H5Dcreate2(group, name, H5T_IEEE_F64LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
        return set && (values.empty() || H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) >= 0);
    }

    static bool addSink(hid_t input, const char* name, const ChannelSums& sums)
    {
        const h5::Id group = makeGroup(input, name);
        return group && addScalar(group, "count", sums.count) && addVector(group, "min", sums.min)
            && addVector(group, "max", sums.max) && addVector(group, "sumsq", sums.sumsq);
    }

    Expected<void> addPart(hid_t input, const char* name, const InputPart& part)
    {
        const h5::Id group = makeGroup(input, name);
        const ChannelSums& sums = part.channels;
        if (!group || !addScalar(group, "count", sums.count) || !addScalar(group, "non_finite", sums.nonFinite)
            || !addVector(group, "sum", sums.sum) || !addVector(group, "sumsq", sums.sumsq)
            || !addVector(group, "sumabs", sums.sumabs) || !addVector(group, "m3", sums.m3) || !addVector(group, "m4", sums.m4)
            || !addVector(group, "min", sums.min) || !addVector(group, "max", sums.max))
            return broken();
        if (!part.hasGram())
            return {};
        return m_options.gramFloat32 ? addGram<float>(group, part.gram) : addGram<double>(group, part.gram);
    }

    /// Tiles are packed on all cores and handed to HDF5 as finished chunks: its own filters use one core and took longer than
    /// the matrix products of a capture.
    template <class T> Expected<void> addGram(hid_t group, const MatrixD& gram)
    {
        const Index d = gram.rows();
        const Index side = std::min(d, kTile);
        const h5::Extents extents{static_cast<hsize_t>(d), static_cast<hsize_t>(d)};
        const h5::Extents chunk{static_cast<hsize_t>(side), static_cast<hsize_t>(side)};
        const h5::Id space = h5::space(H5Screate_simple(2, extents.data(), nullptr));
        const hid_t stored = std::is_same_v<T, float> ? H5T_IEEE_F32LE : H5T_IEEE_F64LE;
        const h5::Id set = h5::dataset(H5Dcreate2(group, "gram", stored, space, H5P_DEFAULT, packed(chunk), H5P_DEFAULT));
        if (!set || !h5::writeString(set, "triangle", "lower"))
            return broken();
        const Index tiles = (d + side - 1) / side;
        for (Index i = 0; i < tiles; ++i) {
            std::vector<Bytes> ready(static_cast<std::size_t>(i + 1));
            parallelFor(0, i + 1, 1, [&](Index first, Index last) {
                std::vector<T> values(static_cast<std::size_t>(side * side));
                for (Index j = first; j < last; ++j) {
                    std::fill(values.begin(), values.end(), T(0));
                    for (Index r = 0; r < std::min(side, d - i * side); ++r)
                        for (Index c = 0; c < std::min(side, d - j * side) && j * side + c <= i * side + r; ++c)
                            values[static_cast<std::size_t>(r * side + c)] = static_cast<T>(gram(i * side + r, j * side + c));
                    ready[static_cast<std::size_t>(j)] = packChunk<T>(values);
                }
            });
            for (Index j = 0; j <= i; ++j) {
                const Bytes& bytes = ready[static_cast<std::size_t>(j)];
                const hsize_t offset[2] = {static_cast<hsize_t>(i * side), static_cast<hsize_t>(j * side)};
                if (H5Dwrite_chunk(set, H5P_DEFAULT, 0, offset, bytes.size(), bytes.data()) < 0)
                    return broken();
            }
        }
        return {};
    }

    fs::path m_target;
    fs::path m_temporary; // empty once committed
    h5::Id m_file;
    DumpWriteOptions m_options;
    std::set<std::string> m_inputs;
};

} // namespace

Expected<std::unique_ptr<DumpWriter>> createDump(const fs::path& path, const DumpInfo& info, DumpWriteOptions options)
{
    static std::atomic<unsigned> counter{0};
    fs::path temporary = path;
    temporary += fmt::format(".tmp-{}-{}", ::getpid(), counter.fetch_add(1));
    const auto held = h5::lock();
    h5::Id file = h5::file(H5Fcreate(temporary.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT));
    if (!file)
        return fail(Errc::Io, "cannot be created: " + writeFailure(), path.string(),
            "check the folder's permissions, or choose another folder");
    auto writer = std::make_unique<Hdf5Writer>(path, temporary, std::move(file), options);
    QS_CHECK(writer->start(info));
    return std::unique_ptr<DumpWriter>(std::move(writer));
}

} // namespace qs::stats
