// SPDX-License-Identifier: Apache-2.0
#include "core/model/attention.h"

#include "core/exec/parallel.h"
#include "core/model/kernels.h"

#include <algorithm>
#include <cmath>

namespace qs::model {
namespace {

constexpr Index kChunk = 256; // queries of one unit of parallel work
constexpr Index kTile = 32; // queries whose scores are held at once
constexpr Index kPanel = 32; // keys that lie together, transposed: a panel of D x 32 stays in the first-level cache
constexpr Index kValues = 128; // values that are added at once: they stay in the second-level cache

/// One key-value head of one sequence, for the queries [first, first + count).
class Unit {
public:
    Unit(const AttentionShape& shape, MatrixView qkv, MutMatrixView out, Index sequence, Index kvHead, Index first)
        : m_shape(shape)
        , m_in(qkv.rowRange(sequence * shape.length, shape.length))
        , m_out(out.rowRange(sequence * shape.length, shape.length))
        , m_kvHead(kvHead)
        , m_first(first)
        , m_last(std::min(shape.length, first + kChunk))
        , m_begin(firstKey(first))
    {
    }

    void run()
    {
        pack();
        const Index group = m_shape.heads / m_shape.kvHeads;
        RowMatrix scores(kTile, (m_last - m_begin + kPanel - 1) / kPanel * kPanel);
        for (Index head = m_kvHead * group; head < (m_kvHead + 1) * group; ++head)
            for (Index i = m_first; i < m_last; i += kTile)
                tile(head, i, std::min(m_last, i + kTile), scores);
    }

private:
    Index firstKey(Index query) const { return m_shape.window > 0 ? std::max<Index>(0, query - m_shape.window + 1) : 0; }

    void pack()
    {
        const Index D = m_shape.headDim;
        const Index keys = m_last - m_begin;
        m_keys = RowMatrix((keys + kPanel - 1) / kPanel * D, kPanel);
        m_values = RowMatrix(keys, D);
        const Index keyColumn = (m_shape.heads + m_kvHead) * D;
        const Index valueColumn = (m_shape.heads + m_shape.kvHeads + m_kvHead) * D;
        for (Index j = 0; j < keys; ++j) {
            const float* row = m_in.row(m_begin + j).data();
            float* panel = m_keys.data() + j / kPanel * D * kPanel + j % kPanel;
            for (Index c = 0; c < D; ++c)
                panel[c * kPanel] = row[keyColumn + c];
            std::copy_n(row + valueColumn, D, m_values.row(j).data());
        }
    }

    void tile(Index head, Index from, Index to, RowMatrix& scores)
    {
        const Index D = m_shape.headDim;
        const Index rows = to - from;
        const Index stride = scores.cols();
        const Index beginPanel = (firstKey(from) - m_begin) / kPanel;
        const Index begin = beginPanel * kPanel; // first column of scores that is used
        const Index end = to - m_begin; // one past the last
        const float* queries = m_in.data() + from * m_in.stride() + head * D;
        for (Index r = 0; r < rows; ++r)
            std::fill(scores.row(r).begin() + begin,
                scores.row(r).begin() + std::min(stride, (end + kPanel - 1) / kPanel * kPanel), 0.0F);
        for (Index panel = beginPanel; panel * kPanel < end; ++panel)
            addProduct(queries, m_in.stride(), m_keys.data() + panel * D * kPanel, kPanel, scores.data() + panel * kPanel,
                stride, rows, kPanel, D);

        const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(D)));
        float inverse[kTile];
        for (Index r = 0; r < rows; ++r) {
            const auto row = scores.row(r);
            const Index lo = firstKey(from + r) - m_begin;
            const Index hi = from + r + 1 - m_begin;
            inverse[r] = static_cast<float>(
                1.0 / expScaled(row.subspan(static_cast<std::size_t>(lo), static_cast<std::size_t>(hi - lo)), scale));
            std::fill(row.begin() + begin, row.begin() + lo, 0.0F);
            std::fill(row.begin() + hi, row.begin() + end, 0.0F);
        }
        float* out = m_out.data() + from * m_out.stride() + head * D;
        for (Index r = 0; r < rows; ++r)
            std::fill_n(out + r * m_out.stride(), D, 0.0F);
        for (Index j = begin; j < end; j += kValues)
            addProduct(
                scores.data() + j, stride, m_values.row(j).data(), D, out, m_out.stride(), rows, D, std::min(kValues, end - j));
        for (Index r = 0; r < rows; ++r)
            for (Index c = 0; c < D; ++c)
                out[r * m_out.stride() + c] *= inverse[r];
    }

    const AttentionShape& m_shape;
    MatrixView m_in;
    MutMatrixView m_out;
    Index m_kvHead, m_first, m_last;
    Index m_begin; // first key that any query of the unit sees
    RowMatrix m_keys, m_values;
};

} // namespace

void causalAttention(const AttentionShape& shape, MatrixView qkv, MutMatrixView out)
{
    const Index chunks = (shape.length + kChunk - 1) / kChunk;
    const Index units = shape.sequences * shape.kvHeads * chunks;
    parallelFor(0, units, 1, [&](Index begin, Index end) {
        for (Index unit = begin; unit < end; ++unit)
            Unit(shape, qkv, out, unit / (shape.kvHeads * chunks), unit / chunks % shape.kvHeads, unit % chunks * kChunk).run();
    });
}

} // namespace qs::model
