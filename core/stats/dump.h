// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/exec/job_context.h"
#include "core/stats/input_stats.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace qs::stats {

/// Root attributes of an `act-dump/1` file. Absent identities are empty.
struct DumpInfo {
    std::string modelId, tokenizerId, datasetId, policy = "float", created, producer;
    Index seqLen = 0;
    Index tokens = 0;
    std::uint64_t seed = 0;
};

/// Calibration statistics and raw tokens of a model's layer inputs, from an HDF5 file `act-dump/1` or any HDF5 file with 2-D /
/// 3-D float datasets. Statistics are read when asked for, one input at a time, and kept while somebody holds them.
///
/// Threads  const members may be called concurrently (calls into HDF5 are serialised).
class CalibrationDump {
public:
    virtual ~CalibrationDump() = default;
    virtual const std::filesystem::path& path() const = 0;
    virtual const DumpInfo& info() const = 0;
    /// Digest of what the dump holds, for provenance: copies and repeated captures have the same. It covers the attributes, the
    /// shapes of all datasets, counts, sums and squared sums of every channel and the first raw tokens, not the Gram matrices,
    /// which follow from the same tokens. Computed when first asked for.
    virtual const std::string& id() const = 0;
    /// Size, inode and times of the file, for cache keys: an edited file is another one even where id() does not see the edit.
    virtual std::string fileVersion() const { return {}; }
    /// Inputs with statistics or raw tokens. In a foreign file every 2-D or 3-D float dataset is one, by its path; `NAME:input`
    /// is NAME.
    virtual std::vector<std::string> inputIds() const = 0;
    /// Input id of a layer, or empty when the dump does not cover it.
    virtual std::string inputOf(const std::string& layer) const = 0;
    /// Layers that the dump names (statistics or `NAME:input` datasets).
    virtual std::vector<std::string> layers() const = 0;
    /// Channels of a layer's input, from the file's extents; 0 when the dump does not cover the layer.
    virtual Index widthOf(const std::string& layer) const = 0;
    virtual bool hasRawTokens(const std::string& layer) const = 0;
    /// Whether stats() has second moments: a Gram matrix, or raw tokens to make one of. Reads nothing.
    virtual bool hasGram(const std::string& layer) const = 0;
    /// Statistics of a layer's input. From raw tokens where the file holds no statistics: then everything is fit and holdout is
    /// empty.
    virtual Expected<std::shared_ptr<const InputStats>> stats(const std::string& layer) const = 0;
    /// At most `limit` raw token vectors of a layer's input (0: all), float32. Error NotFound without raw tokens.
    virtual Expected<RowMatrix> rawTokens(const std::string& layer, Index limit = 0) const = 0;
    /// Token ids (samples, seq) when stored.
    virtual Expected<std::vector<std::vector<std::int32_t>>> tokenIds() const = 0;
};

/// Opens a dump. Grams of raw tokens are computed on `backend`, which must outlive the dump. A foreign file is first walked by
/// a child process under time and memory limits (libhdf5 is not robust against broken metadata). Errors: NotFound, Format
/// (external links, virtual datasets, unknown filters, wrong widths), with the dataset's name.
Expected<std::shared_ptr<const CalibrationDump>> openDump(const std::filesystem::path& path, Backend& backend);

/// Remembers in a folder, across processes, which files were written here or passed the check, by their size, inode and times:
/// they are not read through again before they are opened. Without this call it is remembered within the process only.
void rememberChecks(const std::filesystem::path& folder);

/// Checks that a dump fits a model: it covers a layer, widths agree for every covered layer, and model ids agree where both
/// name one. Error Mismatch, naming the layer.
struct LayerWidth {
    std::string layer;
    Index in = 0;
};
Expected<void> checkDumpFits(const CalibrationDump& dump, const std::string& modelId, const std::vector<LayerWidth>& layers);

/// What a new dump is written from. Inputs and raw tokens are appended as they are ready, so that memory holds one of them.
class DumpWriter {
public:
    virtual ~DumpWriter() = default;
    virtual Expected<void> addInput(const std::string& inputId, const std::vector<std::string>& layers, const InputStats& stats)
        = 0;
    virtual Expected<void> addRawTokens(const std::string& layer, MatrixView tokens) = 0;
    virtual Expected<void> addTokenIds(const std::vector<std::vector<std::int32_t>>& ids) = 0;
    virtual Expected<void> commit() = 0; ///< Without it the destructor removes what was written.
};
struct DumpWriteOptions {
    bool gramFloat32 = false; ///< Store Grams in float32 (half the size).
    bool tokensFloat16 = false; ///< Store raw tokens in float16; an error where a value is beyond its range.
};
Expected<std::unique_ptr<DumpWriter>> createDump(
    const std::filesystem::path& path, const DumpInfo& info, DumpWriteOptions options = {});

/// Merges the statistics, raw tokens and token ids of two dumps of the same model into a third. An input that only one of them
/// has is taken from that: dumps of different inputs may be of one text. Two captures of the same windows with the same seed
/// are united: an input of both gets the Gram matrix of the one that collected it, and no token counts twice. Token ids are
/// kept where either holds them, each window once. Errors: Mismatch when models, policies or widths differ, when both are of
/// one input and share some windows of text (of the same text, where windows are not known), when the second adds nothing, or
/// when windows differ in length; Cancelled. Memory: two inputs at a time.
Expected<void> mergeDumps(
    const CalibrationDump& a, const CalibrationDump& b, const std::filesystem::path& target, const JobContext& job);

} // namespace qs::stats
