// SPDX-License-Identifier: Apache-2.0
#include "core/recipe/site_fit.h"

#include "core/recipe/diagonal_transform.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fmt/format.h>

namespace qs::recipe {
namespace {

/// Per-channel values times |d|.
void scale(std::vector<double>& values, const std::vector<double>& d)
{
    for (std::size_t j = 0; j < values.size(); ++j)
        values[j] *= std::abs(d[j]);
}

} // namespace

Expected<std::shared_ptr<const InputData>> inputDataOf(const Calibration& calibration, const model::LayerSpec& layer)
{
    auto data = std::make_shared<InputData>();
    data->view.channels = layer.in;
    if (!calibration.dump || calibration.dump->inputOf(layer.name).empty())
        return std::shared_ptr<const InputData>(std::move(data));
    QS_TRY(stats, calibration.dump->stats(layer.name));
    if (stats->channels() != layer.in)
        return fail(Errc::Mismatch, fmt::format("the dump has {} channels, the layer {} inputs", stats->channels(), layer.in),
            layer.name, "the dump belongs to another model");
    const stats::ChannelSums& sums = stats->fit.channels;
    if (sums.count <= 0)
        return std::shared_ptr<const InputData>(std::move(data));
    InputView& view = data->view;
    view.tokens = sums.count;
    view.absMax = stats->absMax(true);
    view.absMaxNoSinks = stats->absMax(false);
    view.meanAbs = stats->meanAbs();
    view.l2Norm = stats->l2Norm();
    view.min = sums.min;
    view.max = sums.max;
    view.mean.resize(sums.sum.size());
    for (std::size_t j = 0; j < sums.sum.size(); ++j)
        view.mean[j] = sums.sum[j] / static_cast<double>(sums.count);
    if (stats->sink.count > 0)
        for (std::size_t j = 0; j < view.min.size() && j < stats->sink.min.size(); ++j) {
            view.min[j] = std::min(view.min[j], stats->sink.min[j]);
            view.max[j] = std::max(view.max[j], stats->sink.max[j]);
        }
    if (stats->fit.hasGram()) {
        QS_TRY(C, stats::InputStats::secondMoment(stats->fit));
        data->secondMoment = std::move(C);
        view.secondMoment = &data->secondMoment;
    }
    return std::shared_ptr<const InputData>(std::move(data));
}

Expected<std::shared_ptr<const InputData>> transformed(std::shared_ptr<const InputData> input, const SiteTransform* transform)
{
    if (!transform || transform->identity() || !input->view.available())
        return input;
    auto data = std::make_shared<InputData>();
    InputView& view = data->view;
    view.channels = input->view.channels;
    view.tokens = input->view.tokens;
    if (input->view.secondMoment) {
        data->secondMoment = transform->conjugate(input->view.secondMoment->view());
        if (data->secondMoment.rows() != view.channels || data->secondMoment.cols() != view.channels)
            return fail(Errc::Internal, "a transform gave a second moment of another size");
        view.secondMoment = &data->secondMoment;
    }
    const std::vector<double> d = transform->diagonal();
    if (!d.empty()) {
        view.absMax = input->view.absMax;
        view.absMaxNoSinks = input->view.absMaxNoSinks;
        view.meanAbs = input->view.meanAbs;
        view.l2Norm = input->view.l2Norm;
        view.mean = input->view.mean;
        view.min = input->view.min;
        view.max = input->view.max;
        scale(view.absMax, d);
        scale(view.absMaxNoSinks, d);
        scale(view.meanAbs, d);
        scale(view.l2Norm, d);
        for (std::size_t j = 0; j < view.mean.size(); ++j)
            view.mean[j] *= d[j];
        for (std::size_t j = 0; j < view.min.size(); ++j) {
            view.min[j] *= d[j];
            view.max[j] *= d[j];
            if (d[j] < 0.0)
                std::swap(view.min[j], view.max[j]);
        }
        return std::shared_ptr<const InputData>(std::move(data));
    }
    // Extrema do not survive a mixing transform; what the second moment and the mean determine does.
    if (view.secondMoment) {
        view.l2Norm.resize(static_cast<std::size_t>(view.channels));
        for (Index j = 0; j < view.channels; ++j)
            view.l2Norm[static_cast<std::size_t>(j)]
                = std::sqrt(std::max(0.0, data->secondMoment(j, j)) * static_cast<double>(view.tokens));
    }
    if (!input->view.mean.empty()) {
        RowMatrix mean(1, view.channels);
        std::transform(input->view.mean.begin(), input->view.mean.end(), mean.values().begin(),
            [](double v) { return static_cast<float>(v); });
        transform->applyToTokens(mean.mut());
        view.mean.assign(mean.values().begin(), mean.values().end());
    }
    return std::shared_ptr<const InputData>(std::move(data));
}

Expected<StageSet> makeStages(const Pipeline& pipeline, const StageRegistry& registry)
{
    StageSet set;
    for (int i = 0; i < kSlotCount; ++i) {
        const auto slot = static_cast<Slot>(i);
        for (const StageCall& call : pipeline[slot]) {
            const StageFactory* factory = registry.stage(call.id);
            if (!factory)
                return fail(Errc::NotFound, fmt::format("there is no stage '{}'", call.id), {},
                    "the plugin that brings it is not loaded");
            QS_TRY(stage, factory->create(call.parameters));
            bool made = false;
            switch (slot) {
            case Slot::Transform:
                made = stage.transform != nullptr;
                set.transforms.push_back({call.id, stage.transform});
                break;
            case Slot::Pruner: made = (set.pruner = stage.pruner) != nullptr; break;
            case Slot::Grid: made = (set.grid = stage.grid) != nullptr; break;
            case Slot::Rounding: made = (set.rounding = stage.rounding) != nullptr; break;
            case Slot::Compensator:
                made = stage.compensator != nullptr;
                set.compensators.push_back({call.id, stage.compensator});
                break;
            case Slot::ActivationGrid: made = (set.activation = stage.activation) != nullptr; break;
            }
            if (!made)
                return fail(Errc::Internal, fmt::format("stage '{}' is not what its slot ({}) says", call.id, slotName(slot)));
        }
    }
    return set;
}

model::SiteSpec siteOf(const model::ModelSpec& spec, model::LayerIndex layer)
{
    const model::LayerSpec& which = spec.layers[static_cast<std::size_t>(layer)];
    if (which.site >= 0)
        return spec.sites[static_cast<std::size_t>(which.site)];
    model::SiteSpec site;
    site.block = which.block;
    site.inputId = which.inputId;
    site.consumers = {layer};
    site.whyNot = "the layer belongs to no site";
    return site;
}

const model::SiteSpec* siteBehind(const model::ModelSpec& spec, model::LayerIndex layer)
{
    for (const model::SiteSpec& site : spec.sites)
        if (site.producerLayer == layer && site.diagonalFolds)
            return &site;
    return nullptr;
}

Expected<RowMatrix> loadFinite(const model::Model& model, const model::LayerSpec& layer)
{
    QS_TRY(W, model.loadWeight(layer));
    for (Index r = 0; r < W.rows(); ++r) {
        const auto row = W.row(r);
        const auto bad = std::find_if(row.begin(), row.end(), [](float v) { return !std::isfinite(v); });
        if (bad != row.end())
            return fail(Errc::NotFinite,
                fmt::format("the weight holds {} at ({}, {})", std::isnan(*bad) ? "NaN" : "Inf", r, bad - row.begin()),
                layer.weight, "repair the checkpoint, or leave this layer out");
    }
    return std::move(W);
}

Expected<SiteFit> fitSite(const model::Model& model, const model::SiteSpec& site, const StageSet& stages,
    std::shared_ptr<const InputData> input, const FitContext& fit)
{
    SiteFit result;
    const auto& layers = model.spec().layers;
    for (const model::LayerIndex consumer : site.consumers)
        result.layers.push_back(layers[static_cast<std::size_t>(consumer)].name);
    if (stages.transforms.empty())
        return result;

    std::vector<RowMatrix> weights;
    for (const model::LayerIndex consumer : site.consumers) {
        QS_CHECK(fit.job.poll());
        QS_TRY(W, loadFinite(model, layers[static_cast<std::size_t>(consumer)]));
        weights.push_back(std::move(W));
    }
    std::function<std::vector<double>(std::vector<double>)> snap;
    std::vector<double> before(static_cast<std::size_t>(input->view.channels), 1.0); // diagonal of the transforms so far
    if (const io::TensorInfo* norm = model.tensor(site.producerNorm); norm && site.diagonalFolds) {
        QS_TRY(values, model.load(site.producerNorm));
        snap = [&before, stored = std::make_shared<const RowMatrix>(std::move(values)), type = denseStorageType(norm->dtype)](
                   std::vector<double> d) {
            if (d.size() != before.size() || std::all_of(d.begin(), d.end(), [](double v) { return v == 1.0; }))
                return d;
            std::vector<double> product = d;
            for (std::size_t j = 0; j < d.size(); ++j)
                product[j] *= before[j];
            product = snapToNorm(std::move(product), *stored, type);
            for (std::size_t j = 0; j < d.size(); ++j)
                d[j] = product[j] / before[j];
            return d;
        };
    }
    std::vector<std::shared_ptr<const SiteTransform>> parts;
    for (const StageSet::Transform& transform : stages.transforms) {
        QS_CHECK(fit.job.poll());
        const auto start = std::chrono::steady_clock::now();
        SiteContext context{site, {}, input->view, fit, snap};
        for (std::size_t i = 0; i < weights.size(); ++i) {
            const model::LayerSpec& layer = layers[static_cast<std::size_t>(site.consumers[i])];
            SiteConsumer consumer{layer.name, weights[i], {}, layer.role};
            if (stages.grid)
                consumer.projectNearest = [&, name = layer.name, role = layer.role](MatrixView W) -> Expected<RowMatrix> {
                    QS_TRY(rounded, stages.grid->nearest(LayerProblem{name, W, input->view, fit, role}));
                    return rounded.dequantize(fit.backend);
                };
            context.consumers.push_back(std::move(consumer));
        }
        StageReport report{transform.id, 0, {}, {}};
        QS_TRY(fitted, transform.stage->fit(context, report));
        QS_TRY(part, chainTransforms({std::shared_ptr<const SiteTransform>(std::move(fitted))}));
        if (snap && !part->diagonal().empty()) {
            QS_TRY(stored, DiagonalTransform::make(snap(part->diagonal())));
            part = std::move(stored);
        }
        const bool folds = site.diagonalFolds && !part->diagonal().empty();
        if (!part->identity() && !folds) {
            const double cost
                = std::max(part->onlineCost(), part->diagonal().empty() ? 0.0 : static_cast<double>(input->view.channels));
            report.entries.emplace_back("online_cost", cost);
            report.notes.push_back(fmt::format("the transform stays online, {:.0f} multiply-adds per token: {}", cost,
                part->diagonal().empty()
                    ? std::string("it is not diagonal")
                    : (site.whyNot.empty() ? std::string("there is nothing to fold it into") : site.whyNot)));
        }
        if (&transform != &stages.transforms.back() && !part->identity()) {
            for (RowMatrix& W : weights)
                W = part->toTransformed(W);
            QS_TRY(next, transformed(input, part.get()));
            input = std::move(next);
            const std::vector<double> d = part->diagonal();
            for (std::size_t j = 0; j < before.size() && j < d.size(); ++j)
                before[j] *= d[j];
        }
        parts.push_back(std::move(part));
        report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        result.reports.push_back(std::move(report));
    }
    const bool several = parts.size() > 1;
    QS_TRY(chain, chainTransforms(std::move(parts)));
    result.transform = std::move(chain);
    if (several && snap && !result.transform->diagonal().empty()) { // the product of the parts is a rounding away from it
        std::fill(before.begin(), before.end(), 1.0);
        QS_TRY(stored, DiagonalTransform::make(snap(result.transform->diagonal())));
        result.transform = std::move(stored);
    }
    return result;
}

} // namespace qs::recipe
