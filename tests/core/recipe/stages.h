// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/quant/uniform_grid.h"
#include "core/recipe/diagonal_transform.h"
#include "core/recipe/obs_sweep.h"
#include "core/recipe/registry.h"
#include "core/recipe/stage_factory.h"

#include <QtTest>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <random>

/// Binds `var` to the value of an Expected, or fails the test with its error.
#define QS_REQUIRE(var, ...)                                                                                                   \
    auto QS_CONCAT(required_, __LINE__) = (__VA_ARGS__);                                                                       \
    QVERIFY2(QS_CONCAT(required_, __LINE__),                                                                                   \
        QS_CONCAT(required_, __LINE__) ? "" : QS_CONCAT(required_, __LINE__).error().line().c_str());                          \
    auto& var = *QS_CONCAT(required_, __LINE__)

/// The expression fails with this code, and its message, place and hint together hold the text.
#define QS_FAILS(code_, text, ...)                                                                                             \
    do {                                                                                                                       \
        const auto failed_ = (__VA_ARGS__);                                                                                    \
        QVERIFY(!failed_);                                                                                                     \
        QVERIFY2(failed_.error().code == qs::Errc::code_, failed_.error().line().c_str());                                     \
        QVERIFY2(failed_.error().line().find(text) != std::string::npos, failed_.error().line().c_str());                      \
    } while (false)

/// Small working stages, enough to test what the recipe layer does with stages without loading a plugin.
namespace qs::test {

using namespace recipe;

inline quant::UniformGridOptions gridOptions(int bits, quant::GridId id = quant::GridId::SymFullrangeMid)
{
    quant::UniformGridOptions options;
    options.bits = bits;
    options.grid = id;
    options.scaleType = quant::ScaleType::Float32;
    return options;
}

/// The plainest grid session: one fit per row and group, one projection per value.
class PlainSession final : public GridSession {
public:
    PlainSession(Index rows, Index cols, Index group, quant::UniformGridOptions options)
        : m_grid(options)
        , m_group(group)
    {
        m_tensor.grid = options;
        m_tensor.group = group;
        m_tensor.codes = BasicMatrix<std::int16_t>(rows, cols);
        m_tensor.scale = RowMatrix(rows, (cols + group - 1) / group);
        m_tensor.zero = RowMatrix(rows, (cols + group - 1) / group);
    }
    Index groupSize() const override { return m_group; }
    Expected<void> fitGroup(Index group, MatrixView W, std::span<const Index> columns) override
    {
        m_fitted.emplace_back(group, std::vector<Index>(columns.begin(), columns.end()));
        for (Index r = 0; r < W.rows(); ++r) {
            QS_TRY(sz, m_grid.fit(W.row(r)));
            m_tensor.scale(r, group) = sz.scale;
            m_tensor.zero(r, group) = sz.zero;
        }
        return {};
    }
    void quantizeColumn(Index group, Index column, std::span<const float> values, std::span<float> projected) override
    {
        for (std::size_t r = 0; r < values.size(); ++r) {
            const quant::ScaleZero sz{
                m_tensor.scale(static_cast<Index>(r), group), m_tensor.zero(static_cast<Index>(r), group)};
            const int code = m_grid.encode(values[r], sz);
            m_tensor.codes(static_cast<Index>(r), column) = static_cast<std::int16_t>(code);
            projected[r] = m_grid.decode(code, sz);
        }
    }
    quant::QuantizedTensor finish(std::vector<std::int32_t> groupOf) override
    {
        m_tensor.groupOf = std::move(groupOf);
        return m_tensor;
    }
    const std::vector<std::pair<Index, std::vector<Index>>>& fitted() const { return m_fitted; }

private:
    quant::UniformGrid m_grid;
    Index m_group;
    quant::QuantizedTensor m_tensor;
    std::vector<std::pair<Index, std::vector<Index>>> m_fitted;
};

class TestGrid final : public GridStage {
public:
    TestGrid(int bits, Index group)
        : m_bits(bits)
        , m_group(group)
    {
    }
    Expected<std::unique_ptr<GridSession>> begin(const LayerProblem& problem, StageReport&) const override
    {
        QS_TRY(group, quant::resolveGroup(m_group, problem.W.cols()));
        return std::make_unique<PlainSession>(problem.W.rows(), problem.W.cols(), group, gridOptions(m_bits));
    }
    Expected<quant::QuantizedTensor> nearest(const LayerProblem& problem) const override
    {
        return quant::quantizeNearest(problem.W, m_group, gridOptions(m_bits), problem.fit.backend);
    }
    Expected<Parameters> resolved(Index cols) const override
    {
        QS_TRY(group, quant::resolveGroup(m_group, cols));
        return Parameters{{"bits", std::int64_t{m_bits}}, {"group", std::int64_t{group}}};
    }

private:
    int m_bits;
    Index m_group;
};

class TestNearest final : public RoundingStage {
public:
    Expected<RoundingResult> solve(
        const LayerProblem& problem, const GridStage* grid, const MaskPlan* mask, StageReport&) const override
    {
        RoundingResult result;
        result.What = RowMatrix(problem.W);
        if (mask) {
            result.keep = mask->keep;
            for (std::size_t i = 0; i < result.What.values().size(); ++i)
                result.What.values()[i] *= static_cast<float>(mask->keep.values()[i]);
        }
        if (grid) {
            QS_TRY(q, grid->nearest(LayerProblem{problem.layer, result.What, problem.input, problem.fit, problem.role}));
            result.What = q.dequantize(problem.fit.backend);
            result.quantized = std::move(q);
        }
        return result;
    }
};

class TestSweep final : public RoundingStage {
public:
    inline static std::atomic<int> solves{0}; ///< How often any solved.

    explicit TestSweep(SweepOptions options)
        : m_options(options)
    {
    }
    Expected<RoundingResult> solve(
        const LayerProblem& problem, const GridStage* grid, const MaskPlan* mask, StageReport& report) const override
    {
        ++solves;
        std::unique_ptr<GridSession> session;
        if (grid) {
            QS_TRY(begun, grid->begin(problem, report));
            session = std::move(begun);
        }
        QS_TRY(result, obsSweep(problem, session.get(), mask, m_options));
        report.entries.emplace_back("lambda", result.lambda);
        return RoundingResult{std::move(result.What), std::move(result.quantized), std::move(result.keep)};
    }

private:
    SweepOptions m_options;
};

/// Keeps the largest share of each row; adaptive: leaves it to the solver.
class TestPruner final : public PrunerStage {
public:
    TestPruner(double sparsity, bool adaptive)
        : m_sparsity(sparsity)
        , m_adaptive(adaptive)
    {
    }
    Expected<MaskPlan> plan(const LayerProblem& problem, StageReport&) const override
    {
        MaskPlan plan;
        plan.adaptive = m_adaptive;
        plan.sparsity = m_sparsity;
        if (m_adaptive)
            return plan;
        const MatrixView W = problem.W;
        plan.keep = BasicMatrix<std::uint8_t>(W.rows(), W.cols());
        const auto drop = static_cast<Index>(m_sparsity * static_cast<double>(W.cols()));
        for (Index r = 0; r < W.rows(); ++r) {
            std::vector<std::pair<float, Index>> order;
            for (Index c = 0; c < W.cols(); ++c)
                order.emplace_back(std::abs(W(r, c)), c);
            std::sort(order.begin(), order.end());
            for (Index i = drop; i < W.cols(); ++i)
                plan.keep(r, order[static_cast<std::size_t>(i)].second) = 1;
        }
        return plan;
    }

private:
    double m_sparsity;
    bool m_adaptive;
};

/// d_j = absMax_j^-alpha, rounded to a power of two so that folding is exact.
class TestTransform final : public TransformStage {
public:
    inline static std::atomic<int> fits{0}; ///< How often any was fitted.

    explicit TestTransform(double alpha)
        : m_alpha(alpha)
    {
    }
    Expected<std::unique_ptr<SiteTransform>> fit(const SiteContext& site, StageReport& report) const override
    {
        class Scale final : public SiteTransform {
        public:
            explicit Scale(std::shared_ptr<const DiagonalTransform> d)
                : m(std::move(d))
            {
            }
            RowMatrix toTransformed(MatrixView W) const override { return m->toTransformed(W); }
            RowMatrix fromTransformed(MatrixView W) const override { return m->fromTransformed(W); }
            MatrixD conjugate(MatrixViewD C) const override { return m->conjugate(C); }
            void applyToTokens(MutMatrixView x) const override { m->applyToTokens(x); }
            void unapplyToTokens(MutMatrixView x) const override { m->unapplyToTokens(x); }
            std::vector<double> diagonal() const override { return m->diagonal(); }
            bool identity() const override { return m->identity(); }
            double onlineCost() const override { return m->onlineCost(); }

        private:
            std::shared_ptr<const DiagonalTransform> m;
        };
        ++fits;
        std::vector<double> d;
        for (const double peak : site.input.absMax)
            d.push_back(std::exp2(std::round(-m_alpha * std::log2(std::max(peak, 1e-3)))));
        report.entries.emplace_back("consumers", static_cast<std::int64_t>(site.consumers.size()));
        QS_TRY(diagonal, DiagonalTransform::make(std::move(d)));
        return std::make_unique<Scale>(std::move(diagonal));
    }

private:
    double m_alpha;
};

class TestCompensator final : public CompensatorStage {
public:
    explicit TestCompensator(double add)
        : m_add(add)
    {
    }
    Expected<void> compensate(const LayerProblem&, RoundingResult& result, StageReport&) const override
    {
        for (float& value : result.What.values())
            value += static_cast<float>(m_add);
        return {};
    }

private:
    double m_add;
};

class TestActivation final : public ActivationGridStage {
public:
    explicit TestActivation(int bits)
        : m_bits(bits)
    {
    }
    Expected<quant::ActivationGridOptions> fit(const LayerProblem&, StageReport&) const override
    {
        quant::ActivationGridOptions options;
        options.bits = m_bits;
        return options;
    }

private:
    int m_bits;
};

template <class Create>
void addStage(StageRegistry& registry, const std::string& id, Slot slot, std::vector<ParameterSpec> parameters,
    std::vector<std::string> needs, Create create)
{
    StageInfo info;
    info.id = id;
    info.title = id;
    info.slot = slot;
    info.family = "test";
    info.needs = std::move(needs);
    info.parameters = std::move(parameters);
    if (const auto added = registry.add(makeFactory(std::move(info), std::move(create))); !added)
        throw std::logic_error(added.error().line());
}

/// scale, mask, grid, nearest, sweep, shift (compensator), act; methods plain, solver, smooth and sparse.
inline void fill(StageRegistry& registry)
{
    using P = ParameterType;
    addStage(registry, "scale", Slot::Transform,
        {{.name = "alpha", .type = P::Real, .defaultValue = 0.5, .min = 0, .max = 1},
            {.name = "seed", .type = P::Int, .defaultValue = std::int64_t{0}}},
        {"stats"}, [](const Parameters& p) -> Expected<StageInstance> {
            StageInstance instance;
            instance.transform = std::make_shared<const TestTransform>(realValue(p, "alpha"));
            return instance;
        });
    addStage(registry, "mask", Slot::Pruner,
        {{.name = "sparsity", .type = P::Real, .defaultValue = 0.5, .min = 0, .max = 1},
            {.name = "adaptive", .type = P::Bool, .defaultValue = false},
            {.name = "pattern", .type = P::Text, .defaultValue = std::string("free")}},
        {}, [](const Parameters& p) -> Expected<StageInstance> {
            StageInstance instance;
            instance.pruner = std::make_shared<const TestPruner>(realValue(p, "sparsity"), boolValue(p, "adaptive"));
            return instance;
        });
    addStage(registry, "grid", Slot::Grid,
        {{.name = "bits", .type = P::Int, .defaultValue = std::int64_t{4}, .min = 2, .max = 8},
            {.name = "group",
                .type = P::Int,
                .defaultValue = std::string("auto"),
                .min = -1,
                .max = 65536,
                .choices = {"auto"}}},
        {}, [](const Parameters& p) -> Expected<StageInstance> {
            StageInstance instance;
            instance.grid = std::make_shared<const TestGrid>(static_cast<int>(intValue(p, "bits")), intValue(p, "group"));
            return instance;
        });
    addStage(registry, "nearest", Slot::Rounding, {}, {}, [](const Parameters&) -> Expected<StageInstance> {
        StageInstance instance;
        instance.rounding = std::make_shared<const TestNearest>();
        return instance;
    });
    addStage(registry, "sweep", Slot::Rounding,
        {{.name = "damp", .type = P::Real, .defaultValue = 0.01, .min = 0, .max = 10},
            {.name = "actorder",
                .type = P::Choice,
                .defaultValue = std::string("none"),
                .choices = {"none", "group", "static"}}},
        {"gram"}, [](const Parameters& p) -> Expected<StageInstance> {
            if (realValue(p, "damp") == 7.0)
                return fail(Errc::InvalidArgument, "damp=7 is refused by construction");
            SweepOptions options;
            options.damp = realValue(p, "damp");
            const std::string& order = textValue(p, "actorder");
            options.order = order == "group" ? SweepOptions::Order::Group
                : order == "static"          ? SweepOptions::Order::Static
                                             : SweepOptions::Order::None;
            StageInstance instance;
            instance.rounding = std::make_shared<const TestSweep>(options);
            return instance;
        });
    addStage(registry, "shift", Slot::Compensator,
        {{.name = "add", .type = P::Real, .defaultValue = 0.0},
            {.name = "note", .type = P::Text, .defaultValue = std::string()},
            {.name = "bits", .type = P::Int, .defaultValue = std::int64_t{4}, .min = 2, .max = 8}},
        {}, [](const Parameters& p) -> Expected<StageInstance> {
            StageInstance instance;
            instance.compensator = std::make_shared<const TestCompensator>(realValue(p, "add"));
            return instance;
        });
    addStage(registry, "act", Slot::ActivationGrid,
        {{.name = "a_bits", .type = P::Int, .defaultValue = std::int64_t{8}, .min = 2, .max = 16}}, {},
        [](const Parameters& p) -> Expected<StageInstance> {
            StageInstance instance;
            instance.activation = std::make_shared<const TestActivation>(static_cast<int>(intValue(p, "a_bits")));
            return instance;
        });
    const auto method = [&](const std::string& id, const std::string& pipeline) {
        Method m;
        m.id = id;
        m.name = id;
        m.pipeline = pipeline;
        m.fidelity = "reproduces";
        if (const auto added = registry.add(std::move(m)); !added)
            throw std::logic_error(added.error().line());
    };
    method("plain", "- | - | grid");
    method("solver", "- | - | grid | sweep");
    method("smooth", "scale | - | grid | nearest | - | act");
    method("sparse", "- | mask(adaptive=true) | - | sweep");
}

/// A 32-bit Mersenne twister's normal deviates, made by Box and Muller's formula: the same on every platform's library.
class Normal {
public:
    explicit Normal(unsigned seed)
        : m_engine(seed)
    {
    }
    double operator()()
    {
        const double u = (static_cast<double>(m_engine()) + 1.0) / 4294967297.0;
        const double v = static_cast<double>(m_engine()) / 4294967296.0;
        return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v);
    }

private:
    std::mt19937 m_engine;
};

inline RowMatrix randomMatrix(unsigned seed, Index rows, Index cols)
{
    Normal normal(seed);
    RowMatrix W(rows, cols);
    for (float& value : W.values())
        value = static_cast<float>(normal());
    return W;
}

/// Tokens (count, cols) with neighbouring channels correlated and some of them large.
inline RowMatrix correlatedTokens(unsigned seed, Index count, Index cols)
{
    Normal normal(seed);
    RowMatrix x(count, cols);
    for (Index t = 0; t < count; ++t) {
        double last = 0;
        for (Index c = 0; c < cols; ++c) {
            last = 0.8 * last + 0.6 * normal();
            x(t, c) = static_cast<float>(last * (c % 7 == 3 ? 6.0 : 1.0));
        }
    }
    return x;
}

inline MatrixD momentOf(MatrixView x)
{
    MatrixD C(x.cols(), x.cols());
    for (Index t = 0; t < x.rows(); ++t)
        for (Index i = 0; i < x.cols(); ++i)
            for (Index j = 0; j < x.cols(); ++j)
                C(i, j) += static_cast<double>(x(t, i)) * static_cast<double>(x(t, j));
    for (double& value : C.values())
        value /= static_cast<double>(x.rows());
    return C;
}

} // namespace qs::test
