// SPDX-License-Identifier: Apache-2.0
#include "core/model/engine.h"

#include "core/base/memory.h"
#include "core/exec/parallel.h"
#include "core/model/attention.h"
#include "core/model/block_weights.h"
#include "core/model/kernels.h"
#include "core/model/rope.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace qs::model {
namespace {

constexpr Index kStackTokens = 4096;
constexpr Index kScratchFloats = Index{64} << 20;

/// y = gamma * x / sqrt(mean x^2 + eps), the mean in float64 over eight fixed partial sums.
void rmsNorm(MatrixView x, std::span<const float> gamma, double eps, MutMatrixView y)
{
    constexpr std::size_t kParts = 8;
    parallelFor(0, x.rows(), 64, [&](Index begin, Index end) {
        for (Index t = begin; t < end; ++t) {
            const auto in = x.row(t);
            const auto out = y.row(t);
            double part[kParts] = {};
            std::size_t j = 0;
            for (; j + kParts <= in.size(); j += kParts)
                for (std::size_t p = 0; p < kParts; ++p)
                    part[p] += static_cast<double>(in[j + p]) * static_cast<double>(in[j + p]);
            for (; j < in.size(); ++j)
                part[j % kParts] += static_cast<double>(in[j]) * static_cast<double>(in[j]);
            double sum = 0.0;
            for (const double p : part)
                sum += p;
            const auto inverse = static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(in.size()) + eps));
            for (std::size_t i = 0; i < in.size(); ++i)
                out[i] = gamma[i] * (in[i] * inverse);
        }
    });
}

/// One pass of all windows through the model.
class Run {
public:
    Run(const Model& model, Backend& backend, const Windows& windows, const Replacements* replacements, InputObserver* observer,
        const JobContext& job)
        : m_model(model)
        , m_spec(model.spec())
        , m_backend(backend)
        , m_windows(windows)
        , m_replacements(replacements)
        , m_observer(observer)
        , m_job(job)
    {
    }

    Expected<RowMatrix> go()
    {
        QS_CHECK(prepare());
        QS_TRY(hidden, embed());
        const Index windows = m_windows.count();
        const Index stacks = (windows + m_stackWindows - 1) / m_stackWindows;
        // Replacements may have to be computed: they take about half of what a block reports.
        const double reading = m_replacements ? 0.5 : 0.0;
        const auto fraction = [&](int block, double within) { return (block + within) / static_cast<double>(m_spec.blocks); };
        for (int block = 0; block < m_spec.blocks; ++block) {
            QS_CHECK(m_job.poll());
            QS_TRY(
                weights, loadBlock(m_model, block, m_replacements, m_job.part(fraction(block, 0), fraction(block, reading))));
            for (Index stack = 0; stack < stacks; ++stack) {
                QS_CHECK(m_job.poll());
                const Index first = stack * m_stackWindows;
                const Index count = std::min(m_stackWindows, windows - first);
                QS_CHECK(passBlock(
                    weights, block, first, count, hidden.mut().rowRange(first * m_windows.length, count * m_windows.length)));
                const double passed = static_cast<double>(stack + 1) / static_cast<double>(stacks);
                m_job.progress(
                    fraction(block, reading + (1 - reading) * passed), fmt::format("block {} of {}", block + 1, m_spec.blocks));
            }
            if (m_observer)
                QS_CHECK(m_observer->blockDone(block, m_job));
            releaseFreeMemory(); // the peak must not grow with the depth
        }
        QS_TRY(gamma, loadFinite(m_model, finalNormName(m_model)));
        rmsNorm(hidden, gamma.values(), m_spec.normEps, hidden.mut());
        return std::move(hidden);
    }

private:
    Expected<void> prepare()
    {
        if (m_windows.length < 1)
            return fail(Errc::InvalidArgument, "windows hold no tokens");
        for (const auto& ids : m_windows.ids)
            if (static_cast<Index>(ids.size()) != m_windows.length)
                return fail(Errc::InvalidArgument, "windows differ in length");
        RowMatrix factors;
        if (!m_spec.rope.factors.empty()) {
            QS_TRY(loaded, loadFinite(m_model, m_spec.rope.factors));
            factors = std::move(loaded);
        }
        QS_TRY(table, RopeTable::create(m_spec.rope, m_windows.length, factors.values()));
        m_rope = std::move(table);
        const Index query = m_spec.heads * m_spec.headDim;
        const Index perToken = m_spec.hidden + (query + 2 * m_spec.kvHeads * m_spec.headDim) + query + 2 * m_spec.ffn;
        const Index tokens = std::clamp(kScratchFloats / perToken, Index{1}, kStackTokens);
        m_stackWindows = std::clamp(tokens / m_windows.length, Index{1}, std::max<Index>(1, m_windows.count()));
        const Index rows = m_stackWindows * m_windows.length;
        m_normed = RowMatrix(rows, m_spec.hidden);
        m_qkv = RowMatrix(rows, query + 2 * m_spec.kvHeads * m_spec.headDim);
        m_attention = RowMatrix(rows, query);
        m_gate = RowMatrix(rows, m_spec.ffn);
        m_up = RowMatrix(rows, m_spec.ffn);
        return {};
    }

    Expected<RowMatrix> embed() const
    {
        const std::string name = embeddingName(m_model);
        const io::TensorInfo* info = m_model.tensor(name);
        if (!info)
            return fail(Errc::NotFound, "is missing", name);
        RowMatrix hidden(m_windows.tokens(), m_spec.hidden);
        for (Index w = 0; w < m_windows.count(); ++w) {
            const auto& ids = m_windows.ids[static_cast<std::size_t>(w)];
            for (Index t = 0; t < m_windows.length; ++t) {
                const std::int32_t id = ids[static_cast<std::size_t>(t)];
                if (id < 0 || id >= m_spec.vocab)
                    return fail(Errc::Mismatch,
                        fmt::format("token id {} is outside the model's vocabulary of {}", id, m_spec.vocab), {},
                        "use the tokenizer that belongs to the model");
                const MutMatrixView row = hidden.mut().rowRange(w * m_windows.length + t, 1);
                QS_CHECK(m_model.checkpoint().readRows(*info, id, row));
                QS_CHECK(requireFinite(row, name + " of token " + std::to_string(id)));
            }
        }
        return hidden;
    }

    Expected<void> observe(const Linear& layer, Index firstWindow, Index count, MatrixView x) const
    {
        const std::string& input = m_spec.layers[static_cast<std::size_t>(layer.index)].inputId;
        if (!m_observer || !m_observer->wants(input))
            return {};
        for (Index w = 0; w < count; ++w) {
            QS_CHECK(m_job.poll());
            QS_CHECK(m_observer->observe(input, firstWindow + w, x.rowRange(w * m_windows.length, m_windows.length)));
        }
        return {};
    }

    /// y = W x + b, or y += W x + b.
    void apply(const Linear& layer, MatrixView x, MutMatrixView y, bool add = false)
    {
        MatrixView input = x;
        if (layer.quantizeInput) {
            m_quantized = RowMatrix(x);
            layer.quantizeInput(m_quantized.mut(), m_windows.length);
            input = m_quantized;
        }
        m_backend.gemm(false, true, 1.0F, input, layer.weight, add ? 1.0F : 0.0F, y);
        if (layer.bias.empty())
            return;
        const auto bias = layer.bias.values();
        parallelFor(0, y.rows(), 64, [&](Index begin, Index end) {
            for (Index t = begin; t < end; ++t)
                for (std::size_t c = 0; c < bias.size(); ++c)
                    y.row(t)[c] += bias[c];
        });
    }

    Expected<void> passBlock(const BlockWeights& weights, int block, Index firstWindow, Index count, MutMatrixView hidden)
    {
        const Index rows = hidden.rows();
        const Index D = m_spec.headDim;
        const Index query = m_spec.heads * D;
        const Index keyValue = m_spec.kvHeads * D;
        const MutMatrixView normed = m_normed.mut().rowRange(0, rows);
        const MutMatrixView qkv = m_qkv.mut().rowRange(0, rows);
        const MutMatrixView attention = m_attention.mut().rowRange(0, rows);

        rmsNorm(hidden, weights.attentionNorm.values(), m_spec.normEps, normed);
        QS_CHECK(observe(weights.q, firstWindow, count, normed));
        apply(weights.q, normed, qkv.block(0, 0, rows, query));
        apply(weights.k, normed, qkv.block(0, query, rows, keyValue));
        apply(weights.v, normed, qkv.block(0, query + keyValue, rows, keyValue));
        parallelFor(0, rows, 64, [&](Index begin, Index end) {
            for (Index t = begin; t < end; ++t)
                for (Index head = 0; head < m_spec.heads + m_spec.kvHeads; ++head)
                    m_rope.rotate(qkv.row(t).subspan(static_cast<std::size_t>(head * D), static_cast<std::size_t>(D)),
                        t % m_windows.length);
        });
        causalAttention({count, m_windows.length, m_spec.heads, m_spec.kvHeads, D, m_spec.windowOf(block)}, qkv, attention);
        QS_CHECK(observe(weights.o, firstWindow, count, attention));
        apply(weights.o, attention, hidden, true);

        QS_CHECK(m_job.poll());
        const MutMatrixView gate = m_gate.mut().rowRange(0, rows);
        const MutMatrixView up = m_up.mut().rowRange(0, rows);
        rmsNorm(hidden, weights.mlpNorm.values(), m_spec.normEps, normed);
        QS_CHECK(observe(weights.gate, firstWindow, count, normed));
        apply(weights.gate, normed, gate);
        apply(weights.up, normed, up);
        parallelFor(0, rows, 16, [&](Index begin, Index end) {
            for (Index t = begin; t < end; ++t)
                siluProduct(gate.row(t), up.row(t));
        });
        QS_CHECK(observe(weights.down, firstWindow, count, gate));
        apply(weights.down, gate, hidden, true);
        return {};
    }

    const Model& m_model;
    const ModelSpec& m_spec;
    Backend& m_backend;
    const Windows& m_windows;
    const Replacements* m_replacements;
    InputObserver* m_observer;
    const JobContext& m_job;
    RopeTable m_rope;
    Index m_stackWindows = 1;
    RowMatrix m_normed, m_qkv, m_attention, m_gate, m_up, m_quantized;
};

} // namespace

Windows cutWindows(std::span<const std::int32_t> ids, Index length, Index maxWindows)
{
    Windows windows;
    windows.length = length;
    if (length < 1)
        return windows;
    Index count = static_cast<Index>(ids.size()) / length;
    if (maxWindows > 0)
        count = std::min(count, maxWindows);
    for (Index w = 0; w < count; ++w) {
        const auto part = ids.subspan(static_cast<std::size_t>(w * length), static_cast<std::size_t>(length));
        windows.ids.emplace_back(part.begin(), part.end());
    }
    return windows;
}

Engine::Engine(std::shared_ptr<const Model> model, Backend& backend)
    : m_model(std::move(model))
    , m_backend(backend)
{
}

Expected<RowMatrix> Engine::run(
    const Windows& windows, const Replacements* replacements, InputObserver* observer, const JobContext& job) const
{
    QS_CHECK(requireRunnable(*m_model));
    return Run(*m_model, m_backend, windows, replacements, observer, job).go();
}

Expected<RowMatrix> Engine::head() const
{
    return loadFinite(*m_model, m_model->spec().tiedEmbeddings ? embeddingName(*m_model) : std::string("lm_head.weight"));
}

} // namespace qs::model
