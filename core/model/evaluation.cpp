// SPDX-License-Identifier: Apache-2.0
#include "core/model/evaluation.h"

#include "core/exec/parallel.h"
#include "core/model/kernels.h"
#include "core/model/windows.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <fmt/format.h>

namespace qs::model {
namespace {

constexpr Index kTileFloats = Index{4} << 20; // logits of one model that are held at once: 16 MiB
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Final hidden states and output head of one model.
struct Outputs {
    RowMatrix hidden;
    std::shared_ptr<const RowMatrix> head;
};

/// Scores of every predicted token, windows in order.
struct TokenScores {
    std::vector<double> nll;
    std::vector<double> kl;
    std::vector<char> sameTop;
};

/// ln sum exp x, and sum exp(x - max) (x - y) for the KL divergence, in float64 over fixed partial sums.
struct RowSums {
    double logSum = 0.0;
    double weighted = 0.0; ///< sum p (x - y), p the softmax of x; 0 without y.
};

RowSums sumRow(std::span<const float> x, const float* y)
{
    constexpr std::size_t kChunk = 1024, kParts = 8;
    const auto top = static_cast<double>(*std::max_element(x.begin(), x.end()));
    std::array<double, kChunk> e;
    std::array<double, kParts> sum{}, weighted{};
    for (std::size_t begin = 0; begin < x.size(); begin += kChunk) {
        const std::size_t count = std::min(kChunk, x.size() - begin);
        expShifted(x.subspan(begin, count), top, std::span(e).first(count));
        for (std::size_t i = 0; i < count; ++i)
            sum[i % kParts] += e[i];
        if (!y)
            continue;
        for (std::size_t i = 0; i < count; ++i)
            weighted[i % kParts] += e[i] * (static_cast<double>(x[begin + i]) - static_cast<double>(y[begin + i]));
    }
    double total = 0.0, totalWeighted = 0.0;
    for (std::size_t p = 0; p < kParts; ++p) {
        total += sum[p];
        totalWeighted += weighted[p];
    }
    return {top + std::log(total), totalWeighted / total};
}

/// Runs tile by tile over the tokens. `reference` null: only the NLL of `candidate`.
Expected<TokenScores> score(
    const Windows& windows, const Outputs& candidate, const Outputs* reference, Backend& backend, const JobContext& job)
{
    const Index vocab = candidate.head->rows();
    const Index tokens = windows.tokens();
    const Index tile = std::clamp<Index>(kTileFloats / vocab, 16, 512);
    TokenScores scores;
    scores.nll.assign(static_cast<std::size_t>(tokens), kNan);
    if (reference) {
        scores.kl.assign(scores.nll.size(), kNan);
        scores.sameTop.assign(scores.nll.size(), 0);
    }
    RowMatrix logits(std::min(tile, tokens), vocab);
    RowMatrix referenceLogits(reference ? logits.rows() : 0, vocab);
    for (Index first = 0; first < tokens; first += tile) {
        QS_CHECK(job.poll());
        const Index rows = std::min(tile, tokens - first);
        backend.linear(candidate.hidden.view().rowRange(first, rows), *candidate.head, logits.mut().rowRange(0, rows));
        if (reference)
            backend.linear(
                reference->hidden.view().rowRange(first, rows), *reference->head, referenceLogits.mut().rowRange(0, rows));
        parallelFor(0, rows, 4, [&](Index begin, Index end) {
            for (Index r = begin; r < end; ++r) {
                const Index token = first + r, position = token % windows.length;
                if (position + 1 == windows.length)
                    continue; // the last token of a window predicts nothing
                const std::int32_t next
                    = windows.ids[static_cast<std::size_t>(token / windows.length)][static_cast<std::size_t>(position + 1)];
                const auto q = std::as_const(logits).row(r);
                const double logSum = sumRow(q, nullptr).logSum;
                const auto index = static_cast<std::size_t>(token);
                scores.nll[index] = logSum - static_cast<double>(q[static_cast<std::size_t>(next)]);
                if (!reference)
                    continue;
                const auto p = std::as_const(referenceLogits).row(r);
                const RowSums sums = sumRow(p, q.data());
                // KL = sum p ((x - lse x) - (y - lse y)); rounding can bring a zero below zero
                const double kl = sums.weighted - (sums.logSum - logSum);
                scores.kl[index] = kl < 0.0 ? 0.0 : kl;
                scores.sameTop[index]
                    = std::max_element(p.begin(), p.end()) - p.begin() == std::max_element(q.begin(), q.end()) - q.begin();
            }
        });
        job.progress(static_cast<double>(first + rows) / static_cast<double>(tokens), "logits");
    }
    return scores;
}

struct Moments {
    double mean = kNan;
    double standardError = kNan; ///< sd / sqrt(n), sd with n - 1; NaN for fewer than two values.
};

Moments momentsOf(const std::vector<double>& values)
{
    if (values.empty())
        return {};
    const auto n = static_cast<double>(values.size());
    double sum = 0.0, squares = 0.0;
    for (const double value : values)
        sum += value;
    const double mean = sum / n;
    for (const double value : values)
        squares += (value - mean) * (value - mean);
    return {mean, values.size() < 2 ? kNan : std::sqrt(squares / (n - 1.0) / n)};
}

/// Values of predicted tokens only: the last of each window is left out.
template <class T> std::vector<double> predicted(const std::vector<T>& values, Index length)
{
    std::vector<double> result;
    for (std::size_t i = 0; i < values.size(); ++i)
        if ((static_cast<Index>(i) + 1) % length != 0)
            result.push_back(static_cast<double>(values[i]));
    return result;
}

EvalScores summarise(const TokenScores& scores, const TokenScores* reference, Index length)
{
    EvalScores result;
    const std::vector<double> nll = predicted(scores.nll, length);
    const Moments moments = momentsOf(nll);
    result.tokens = static_cast<Index>(nll.size());
    result.nll = moments.mean;
    result.perplexity = std::exp(moments.mean);
    result.perplexitySe = result.perplexity * moments.standardError;
    if (!reference)
        return result;
    result.hasReference = true;
    std::vector<double> kl = predicted(scores.kl, length);
    const Moments klMoments = momentsOf(kl);
    result.klMean = klMoments.mean;
    result.klSe = klMoments.standardError;
    const bool ordered = std::none_of(kl.begin(), kl.end(), [](double v) { return std::isnan(v); });
    const auto rank = static_cast<std::size_t>(std::ceil(0.99 * static_cast<double>(kl.size()))) - 1;
    if (ordered)
        std::nth_element(kl.begin(), kl.begin() + static_cast<std::ptrdiff_t>(rank), kl.end());
    result.klP99 = ordered ? kl[rank] : kNan;
    result.top1Agreement = momentsOf(predicted(scores.sameTop, length)).mean;

    const std::vector<double> referenceNll = predicted(reference->nll, length);
    std::vector<double> differences; // of window means
    double total = 0.0;
    for (std::size_t i = 0; i < nll.size();) {
        double sum = 0.0;
        for (Index t = 1; t < length; ++t, ++i)
            sum += nll[i] - referenceNll[i];
        differences.push_back(sum / static_cast<double>(length - 1));
        total += sum;
    }
    result.deltaNll = total / static_cast<double>(nll.size());
    result.deltaNllSe = momentsOf(differences).standardError;
    return result;
}

class Stopwatch {
public:
    double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - m_start).count(); }

private:
    std::chrono::steady_clock::time_point m_start = std::chrono::steady_clock::now();
};

std::map<std::string, std::string> protocolOf(const TokenizedText& text, const Backend& backend)
{
    const Windows& windows = text.windows;
    return {
        {"text_digest", text.digest},
        {"tokenizer", text.tokenizerId},
        {"text_tokens", std::to_string(text.tokens)},
        {"windows", std::to_string(windows.count())},
        {"seq_len", std::to_string(windows.length)},
        {"tokens_predicted", std::to_string(windows.count() * (windows.length - 1))},
        {"join", "the text as one string, cut into windows side by side, tail dropped"},
        {"bos", text.bos ? "once, before the text, as the tokenizer adds it" : "none, as the tokenizer adds none"},
        {"logits", "float32; log-sum-exp and sums in float64"},
        {"kl", "sum p ln(p / q), p the reference, mean over predicted tokens; standard error over tokens"},
        {"kl_p99", "nearest rank: the ceil(0.99 n)-th smallest of the n predicted tokens"},
        {"delta_nll_se", "paired over windows"},
        {"backend", backend.name() + ": " + backend.version()},
    };
}

Expected<void> checkCandidate(const EvalCandidate& candidate, const Model& model, Index length)
{
    if (!candidate.model)
        return {};
    const ModelSpec& spec = candidate.model->spec();
    QS_CHECK(requireRunnable(*candidate.model));
    if (spec.vocab != model.spec().vocab)
        return fail(Errc::Mismatch, fmt::format("has a vocabulary of {}, the reference {}", spec.vocab, model.spec().vocab),
            candidate.model->checkpoint().path().string(), "compare models with the same tokenizer");
    if (length > spec.context)
        return fail(Errc::InvalidArgument,
            fmt::format("has a context of {}, shorter than the windows of {}", spec.context, length),
            candidate.model->checkpoint().path().string(), "choose a shorter sequence length");
    return {};
}

} // namespace

Expected<EvalReport> evaluate(const std::shared_ptr<const Model>& model, std::string_view text,
    const std::vector<EvalCandidate>& candidates, const EvalOptions& options, Backend& backend, const JobContext& job)
{
    if (options.seqLen == 1)
        return fail(Errc::InvalidArgument, "a window of one token predicts nothing", "sequence length");
    if (options.maxTokens < 0)
        return fail(Errc::InvalidArgument, "cannot be negative", "tokens");
    job.progress(0.0, "tokenizing");
    QS_TRY(tokenized, tokenizeText(*model, text, options.seqLen, 0));
    Windows& windows = tokenized.windows;
    if (options.maxTokens > 0) {
        const Index wanted = options.maxTokens / windows.length;
        if (wanted < 1)
            return fail(Errc::InvalidArgument,
                fmt::format("{} tokens are less than one window of {}", options.maxTokens, windows.length), "tokens");
        windows.ids.resize(static_cast<std::size_t>(std::min(wanted, windows.count())));
    }
    for (const EvalCandidate& candidate : candidates)
        QS_CHECK(checkCandidate(candidate, *model, windows.length));

    const double share = 1.0 / static_cast<double>(candidates.size() + 1);
    constexpr double kForward = 0.85; // of a candidate's time, about
    EvalReport report;
    report.protocol = protocolOf(tokenized, backend);
    const Stopwatch referenceTime;
    const Engine engine(model, backend);
    QS_TRY(hidden, engine.run(windows, nullptr, nullptr, job.part(0.0, share * kForward)));
    QS_TRY(head, engine.head());
    const Outputs reference{std::move(hidden), std::make_shared<const RowMatrix>(std::move(head))};
    QS_TRY(referenceScores, score(windows, reference, nullptr, backend, job.part(share * kForward, share)));
    report.reference = summarise(referenceScores, nullptr, windows.length);
    report.reference.seconds = referenceTime.seconds();

    for (std::size_t i = 0; i < candidates.size(); ++i) {
        const Stopwatch time;
        const EvalCandidate& candidate = candidates[i];
        const double begin = share * static_cast<double>(i + 1);
        const Engine other(candidate.model ? candidate.model : model, backend);
        QS_TRY(otherHidden, other.run(windows, candidate.replacements, nullptr, job.part(begin, begin + share * kForward)));
        Outputs outputs{std::move(otherHidden), reference.head};
        if (candidate.model) {
            QS_TRY(otherHead, other.head());
            outputs.head = std::make_shared<const RowMatrix>(std::move(otherHead));
        }
        QS_TRY(scores, score(windows, outputs, &reference, backend, job.part(begin + share * kForward, begin + share)));
        EvalScores summary = summarise(scores, &referenceScores, windows.length);
        summary.seconds = time.seconds();
        report.candidates.push_back(summary);
    }
    return report;
}

} // namespace qs::model
