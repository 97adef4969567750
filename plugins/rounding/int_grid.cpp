// SPDX-License-Identifier: Apache-2.0
#include "plugins/rounding/int_grid.h"

#include "core/exec/first_error.h"
#include "core/exec/parallel.h"
#include "core/recipe/stage_factory.h"
#include "plugins/rounding/clip_search.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace qs::plugins {
namespace {

using recipe::ParameterType;

constexpr Index kFitGrain = 16;
constexpr Index kColumnGrain = 2048; // a column is cheap: small layers stay on one thread

/// Which of the data-driven searches can run on what the problem holds.
struct Searches {
    bool clip = false;
    bool weighted = false;
};

class IntSession final : public recipe::GridSession {
public:
    IntSession(const recipe::LayerProblem& problem, const IntGridOptions& options, Index group, Searches searches,
        recipe::StageReport& report)
        : m_problem(problem)
        , m_grid(options.grid)
        , m_wholeTensor(options.group == quant::kWholeTensor)
        , m_group(group)
        , m_groups(problem.W.cols() / group)
        , m_searches(searches)
        , m_report(report)
    {
    }

    Index groupSize() const override { return m_group; }

    Expected<void> fitGroup(Index group, MatrixView W, std::span<const Index> columns) override
    {
        prepare();
        const std::vector<float> weights = m_searches.weighted ? columnWeights(columns) : std::vector<float>();
        if (m_wholeTensor) {
            auto sz = quant::fitWholeTensor(W, m_grid.options(), m_problem.fit.backend, weights);
            if (!sz)
                return named(std::move(sz).error());
            for (Index r = 0; r < W.rows(); ++r)
                store(group, r, *sz);
            return {};
        }
        if (m_searches.clip) {
            const MatrixD Cgg = gramBlock(columns);
            auto found = searchClip(m_grid, W, Cgg, weights, m_problem.fit.backend, m_problem.fit.job);
            if (!found)
                return named(std::move(found).error());
            for (Index r = 0; r < W.rows(); ++r)
                store(group, r, found->fitted[static_cast<std::size_t>(r)]);
            m_clipped[static_cast<std::size_t>(group)] = static_cast<Index>(
                std::count_if(found->factor.begin(), found->factor.end(), [](double factor) { return factor < 1.0; }));
            return {};
        }
        FirstError error;
        parallelFor(0, W.rows(), kFitGrain, [&](Index begin, Index end) {
            for (Index r = begin; r < end; ++r) {
                auto sz = m_grid.fit(W.row(r), weights);
                if (!sz) {
                    Error bad = std::move(sz).error();
                    bad.where = fmt::format("row {}, group {}", r, group);
                    error.put(r, std::move(bad));
                    return;
                }
                store(group, r, *sz);
            }
        });
        if (auto failed = error.take(); !failed)
            return named(std::move(failed).error());
        return {};
    }

    void quantizeColumn(Index group, Index column, std::span<const float> values, std::span<float> projected) override
    {
        parallelFor(0, static_cast<Index>(values.size()), kColumnGrain, [&](Index begin, Index end) {
            const auto first = static_cast<std::size_t>(begin);
            const auto count = static_cast<std::size_t>(end - begin);
            m_grid.encodeColumn(values.subspan(first, count), m_scale.view().row(group).subspan(first, count),
                m_zero.view().row(group).subspan(first, count), m_codes.row(column).subspan(first, count),
                projected.subspan(first, count));
        });
    }

    quant::QuantizedTensor finish(std::vector<std::int32_t> groupOf) override
    {
        prepare();
        const Index rows = m_problem.W.rows();
        const Index cols = m_problem.W.cols();
        quant::QuantizedTensor tensor;
        tensor.grid = m_grid.options();
        tensor.group = m_group;
        tensor.wholeTensor = m_wholeTensor;
        tensor.codes = BasicMatrix<std::int16_t>(rows, cols);
        tensor.scale = RowMatrix(rows, m_groups);
        tensor.zero = RowMatrix(rows, m_groups);
        tensor.groupOf = std::move(groupOf);
        parallelFor(0, rows, kFitGrain, [&](Index begin, Index end) {
            for (Index c = 0; c < cols; ++c) // the inner loop runs along a stored column
                for (Index r = begin; r < end; ++r)
                    tensor.codes(r, c) = m_codes(c, r);
            for (Index r = begin; r < end; ++r) {
                for (Index g = 0; g < m_groups; ++g) {
                    tensor.scale(r, g) = m_scale(g, r);
                    tensor.zero(r, g) = m_zero(g, r);
                }
            }
        });
        if (m_searches.clip) {
            Index clipped = 0;
            for (const Index count : m_clipped)
                clipped += count;
            m_report.entries.emplace_back("clipped_share", static_cast<double>(clipped) / static_cast<double>(rows * m_groups));
        }
        return tensor;
    }

private:
    /// Memory is taken when the first group is fitted, so that beginning a session only checks.
    void prepare()
    {
        if (!m_codes.empty())
            return;
        m_codes = BasicMatrix<std::int16_t>(m_problem.W.cols(), m_problem.W.rows());
        m_scale = RowMatrix(m_groups, m_problem.W.rows());
        m_zero = RowMatrix(m_groups, m_problem.W.rows());
        m_clipped.assign(static_cast<std::size_t>(m_groups), 0);
    }
    void store(Index group, Index row, quant::ScaleZero sz)
    {
        m_scale(group, row) = sz.scale;
        m_zero(group, row) = sz.zero;
    }
    MatrixD gramBlock(std::span<const Index> columns) const
    {
        const auto width = static_cast<Index>(columns.size());
        MatrixD block(width, width);
        for (Index i = 0; i < width; ++i)
            for (Index j = 0; j < width; ++j)
                block(i, j) = (*m_problem.input.secondMoment)(
                    columns[static_cast<std::size_t>(i)], columns[static_cast<std::size_t>(j)]);
        return block;
    }
    std::vector<float> columnWeights(std::span<const Index> columns) const
    {
        std::vector<float> weights;
        weights.reserve(columns.size());
        for (const Index column : columns)
            weights.push_back(static_cast<float>((*m_problem.input.secondMoment)(column, column)));
        return weights;
    }
    tl::unexpected<Error> named(Error error) const
    {
        error.where = error.where.empty() ? m_problem.layer : m_problem.layer + ", " + error.where;
        return tl::unexpected<Error>(std::move(error));
    }

    const recipe::LayerProblem& m_problem;
    quant::UniformGrid m_grid;
    bool m_wholeTensor;
    Index m_group;
    Index m_groups;
    Searches m_searches;
    recipe::StageReport& m_report;
    BasicMatrix<std::int16_t> m_codes; ///< (cols, rows): a column is written at a time.
    RowMatrix m_scale, m_zero; ///< (groups, rows).
    std::vector<Index> m_clipped; ///< Rows per group whose range was clipped.
};

Expected<Index> groupFor(const recipe::LayerProblem& problem, Index group)
{
    auto resolved = quant::resolveGroup(group, problem.W.cols());
    if (!resolved) {
        Error error = std::move(resolved).error();
        error.where = problem.layer;
        return tl::unexpected<Error>(std::move(error));
    }
    return *resolved;
}

/// AWQ's public code leaves queries and keys out of its clipping search.
bool keepsItsRange(model::LayerRole role)
{
    return role == model::LayerRole::Query || role == model::LayerRole::Key;
}

recipe::StageInfo intInfo()
{
    recipe::StageInfo info;
    info.id = "int";
    info.title = "Uniform integer grid";
    info.slot = recipe::Slot::Grid;
    info.family = "rounding";
    info.citation = "Jacob et al. 2018, arXiv:1712.05877, eq. (1)";
    info.interactive = true;
    info.parameters = {
        {.name = "bits",
            .type = ParameterType::Int,
            .defaultValue = std::int64_t{4},
            .min = 2,
            .max = 8,
            .unit = "bits",
            .help = "Width of a code."},
        {.name = "group",
            .type = ParameterType::Int,
            .defaultValue = std::string("auto"),
            .min = -1,
            .max = 1048576,
            .choices = {"auto", "tensor"},
            .unit = "columns",
            .help
            = "Columns that share a scale; -1 is the whole row, tensor all rows together, auto the largest of 128, 64, 32, "
              "16 that divides the row."},
        {.name = "grid",
            .type = ParameterType::Choice,
            .defaultValue = std::string("sym-fullrange-mid"),
            .choices = {"sym-fullrange-mid", "sym-restricted", "sym-neg-anchored", "sym-shifted", "asym-0", "asym-free",
                "asym-realzero"},
            .help = "Which of the conventions called symmetric or asymmetric: how range, zero and codes are laid out."},
        {.name = "range",
            .type = ParameterType::Choice,
            .defaultValue = std::string("minmax"),
            .choices = {"minmax", "mse", "percentile"},
            .help
            = "How the range of a group is chosen: its extrema, the shrunk range of least error, or the best percentile."},
        {.name = "clip",
            .type = ParameterType::Choice,
            .defaultValue = std::string("none"),
            .choices = {"none", "awq"},
            .help = "awq: clip every row and group where that lowers its output error on the calibration data (q and k are "
                    "left alone)."},
        {.name = "scale_dtype",
            .type = ParameterType::Choice,
            .defaultValue = std::string("float16"),
            .choices = {"float32", "float16", "bfloat16"},
            .help = "Type that scales are stored in; they are rounded to it before codes are computed.",
            .advanced = true},
        {.name = "mse_norm",
            .type = ParameterType::Real,
            .defaultValue = 2.4,
            .min = 0.5,
            .max = 8,
            .help = "Exponent of the error that range=mse minimises.",
            .advanced = true},
        {.name = "mse_steps",
            .type = ParameterType::Int,
            .defaultValue = std::int64_t{100},
            .min = 2,
            .max = 1000,
            .unit = "steps",
            .help = "range=mse tries the fractions 1 - i / steps of the range.",
            .advanced = true},
        {.name = "mse_shrink",
            .type = ParameterType::Real,
            .defaultValue = 0.8,
            .min = 0,
            .max = 0.99,
            .help = "range=mse shrinks the range by at most this share.",
            .advanced = true},
        {.name = "mse_weighted",
            .type = ParameterType::Bool,
            .defaultValue = false,
            .help = "Weight the error of range=mse by the mean square of each input channel; needs calibration.",
            .advanced = true},
        {.name = "percentile",
            .type = ParameterType::Real,
            .defaultValue = 0.999,
            .min = 0.5,
            .max = 1,
            .help
            = "Smallest share of values inside the range; range=percentile takes the best of it, shares nearer to 1, and 1.",
            .advanced = true},
    };
    return info;
}

Expected<recipe::StageInstance> createInt(const recipe::Parameters& p)
{
    IntGridOptions options;
    options.grid.bits = static_cast<int>(recipe::intValue(p, "bits"));
    const auto grid = quant::gridFromName(recipe::textValue(p, "grid"));
    const auto range = quant::rangeFromName(recipe::textValue(p, "range"));
    const auto scaleType = quant::scaleTypeFromName(recipe::textValue(p, "scale_dtype"));
    if (!grid || !range || !scaleType)
        return fail(Errc::InvalidArgument, "unknown grid, range or scale_dtype", "int");
    options.grid.grid = *grid;
    options.grid.range = *range;
    options.grid.scaleType = *scaleType;
    options.grid.mseNorm = recipe::realValue(p, "mse_norm");
    options.grid.mseSteps = static_cast<int>(recipe::intValue(p, "mse_steps"));
    options.grid.mseMaxShrink = recipe::realValue(p, "mse_shrink");
    options.grid.percentile = recipe::realValue(p, "percentile");
    options.clip = recipe::textValue(p, "clip") == "awq";
    options.weighted = recipe::boolValue(p, "mse_weighted") && options.grid.range == quant::RangeMethod::Mse;
    options.group = recipe::groupValue(p, "group");
    if (options.clip && options.group == quant::kWholeTensor)
        return fail(Errc::InvalidArgument, "clip=awq searches a range per row, but group=tensor has one for all", "int",
            "set clip=none");
    recipe::StageInstance instance;
    instance.grid = std::make_shared<const IntGrid>(options, p);
    return instance;
}

} // namespace

IntGrid::IntGrid(IntGridOptions options, recipe::Parameters parameters)
    : m_options(options)
    , m_parameters(std::move(parameters))
{
}

Expected<std::unique_ptr<recipe::GridSession>> IntGrid::begin(
    const recipe::LayerProblem& problem, recipe::StageReport& report) const
{
    QS_TRY(group, groupFor(problem, m_options.group));
    const Searches searches{m_options.clip && !keepsItsRange(problem.role), m_options.weighted};
    if ((searches.clip || searches.weighted) && !problem.input.secondMoment)
        return fail(Errc::NotFound, fmt::format("int({}) needs calibration", searches.clip ? "clip=awq" : "mse_weighted=true"),
            problem.layer, "load or capture a dump that covers this layer");
    if (m_options.clip && keepsItsRange(problem.role))
        report.notes.emplace_back("not clipped: q and k are left out of the clipping search, as published");
    return std::make_unique<IntSession>(problem, m_options, group, searches, report);
}

Expected<quant::QuantizedTensor> IntGrid::nearest(const recipe::LayerProblem& problem) const
{
    QS_TRY(group, groupFor(problem, m_options.group));
    const bool whole = m_options.group == quant::kWholeTensor;
    auto tensor = quant::quantizeNearest(problem.W, whole ? quant::kWholeTensor : group, m_options.grid, problem.fit.backend);
    if (!tensor) {
        Error error = std::move(tensor).error();
        error.where = error.where.empty() ? problem.layer : problem.layer + ", " + error.where;
        return tl::unexpected<Error>(std::move(error));
    }
    return tensor;
}

Expected<recipe::Parameters> IntGrid::resolved(Index cols) const
{
    QS_TRY(group, quant::resolveGroup(m_options.group, cols));
    recipe::Parameters parameters = m_parameters;
    if (m_options.group == quant::kAutoGroup) {
        // A width that none of the automatic groups divides is quantized by whole rows.
        const bool whole = group == cols && group != 16 && group != 32 && group != 64 && group != 128;
        parameters["group"] = static_cast<std::int64_t>(whole ? -1 : group);
    }
    return parameters;
}

std::unique_ptr<recipe::StageFactory> makeIntGrid()
{
    return recipe::makeFactory(intInfo(), createInt);
}

} // namespace qs::plugins
