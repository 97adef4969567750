// SPDX-License-Identifier: Apache-2.0
#include "core/analysis/layer_analysis.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace qs::analysis {
namespace {

using nlohmann::json;

json number(double value)
{
    return std::isfinite(value) ? json(value) : json(nullptr);
}

template <class T> json optionalNumber(const std::optional<T>& value)
{
    return value ? number(static_cast<double>(*value)) : json(nullptr);
}

json optionalCount(const std::optional<Index>& value)
{
    return value ? json(*value) : json(nullptr);
}

json numbers(const std::vector<double>& values)
{
    json array = json::array();
    for (const double value : values)
        array.push_back(number(value));
    return array;
}

} // namespace

json qsurToJson(const Qsur& q)
{
    return {{"r", number(q.r)}, {"lost_bits", number(q.lostBits)}, {"ceiling_scaling", number(q.ceilingScaling)},
        {"ceiling_rotation", number(q.ceilingRotation)}, {"ceiling_both", number(q.ceilingBoth)},
        {"published", number(q.published)}, {"published_stable", q.deficient ? json(nullptr) : json(q.publishedStable)},
        {"deficient", q.deficient}, {"samples", q.samples}, {"channel_imbalance", number(q.channelImbalance)},
        {"correlation", number(q.correlation)}, {"basis_imbalance", number(q.basisImbalance)},
        {"anisotropy", number(q.anisotropy)}, {"widest_channel", q.widestChannel}, {"log_det", number(q.logDet)},
        {"log_box", number(q.logBox)}, {"log_bound", number(q.logBound)}, {"log_published", number(q.logPublished)},
        {"lambda1", number(q.lambda1)}, {"lambda2", number(q.lambda2)}, {"r_mean_symmetric", number(q.rMeanSymmetric)},
        {"r_mean_asymmetric", number(q.rMeanAsymmetric)}, {"rank", optionalCount(q.rank)},
        {"r_subspace", q.rank ? number(q.rSub) : json(nullptr)}, {"shrinkage", number(q.shrinkage)},
        {"r_shrunk", q.samples > 0 ? number(q.rShrunk) : json(nullptr)},
        {"lost_bits_shrunk", q.samples > 0 ? number(q.lostBitsShrunk) : json(nullptr)}, {"rate_bits", number(q.rateBits)},
        {"rate_step", number(q.rateStep)}, {"sampling_bias", optionalNumber(q.samplingBias)},
        {"r_unbiased", q.samplingBias ? number(q.rUnbiased) : json(nullptr)}, {"note", q.note}};
}

json hessianToJson(const HessianReport& h, bool withVectors)
{
    json out = {{"trace", number(h.trace)}, {"lambda_max", number(h.lambdaMax)}, {"lambda_min", optionalNumber(h.lambdaMin)},
        {"rank", optionalCount(h.rank)}, {"condition", optionalNumber(h.condition)},
        {"condition_live", optionalNumber(h.conditionLive)}, {"dead_channels", h.dead.size()}, {"dead_channel_list", h.dead},
        {"tokens_per_channel", number(h.tokensPerChannel)}, {"tokens", h.tokens},
        {"effective_rank", h.eigenvalues.empty() ? json(nullptr) : number(h.effectiveRank)}, {"verdict", h.verdict}};
    json damping = json::array();
    for (const HessianReport::Damping& d : h.damping)
        damping.push_back({{"damp", d.damp}, {"lambda", number(d.lambda)}, {"condition", number(d.condition)}});
    out["damping"] = std::move(damping);
    if (withVectors) {
        out["diagonal"] = numbers(h.diagonal);
        out["eigenvalues"] = numbers(h.eigenvalues);
    }
    return out;
}

json outliersToJson(const Outliers& o)
{
    json table = json::array();
    for (const OutlierChannel& c : o.table)
        table.push_back({{"channel", c.channel}, {"abs_max", number(c.absMax)}, {"over_median", number(c.overMedian)},
            {"mean", number(c.mean)}, {"std", number(c.std)}, {"kurtosis", number(c.kurtosis)}, {"int8", c.int8},
            {"reason", c.reason}});
    return {{"int8_channels", o.int8Channels}, {"max_over_median", number(o.maxOverMedian)}, {"kurtosis", number(o.kurtosis)},
        {"kurtosis_overall", number(o.kurtosisOverall)}, {"sink_ratio", number(o.sinkRatio)},
        {"sink_energy", number(o.sinkEnergy)}, {"sink_energy_holdout", number(o.sinkEnergyHoldout)},
        {"massive_channels", o.massiveChannels}, {"table", std::move(table)}};
}

json channelsToJson(const ChannelTable& t)
{
    return {{"tokens", t.tokens}, {"non_finite", t.nonFinite}, {"abs_max", numbers(t.absMax)},
        {"abs_max_no_sinks", numbers(t.absMaxNoSinks)}, {"min", numbers(t.min)}, {"max", numbers(t.max)},
        {"mean", numbers(t.mean)}, {"mean_abs", numbers(t.meanAbs)}, {"rms", numbers(t.rms)}, {"std", numbers(t.std)},
        {"kurtosis", numbers(t.kurtosis)}};
}

json layerToJson(const std::string& name, const LayerAnalysis& layer)
{
    json out
        = {{"name", name}, {"in", layer.in}, {"out", layer.out}, {"channels", layer.in}, {"tokens", 0}, {"outliers", nullptr},
            {"hessian", nullptr}, {"qsur", nullptr}, {"sensitivity", optionalNumber(layer.sensitivity.outputError)},
            {"sensitivity_holdout", layer.sensitivity.holdout}, {"weight_error", number(layer.sensitivity.weightError)},
            {"weight_sqnr_db", number(layer.sensitivity.weightSqnrDb)}, {"weight_qsur", nullptr}, {"existing_grid", nullptr}};
    if (layer.input) {
        out["tokens"] = layer.input->tokens;
        out["outliers"] = outliersToJson(layer.input->outliers);
        out["non_finite"] = layer.input->table.nonFinite;
        if (layer.input->hessian)
            out["hessian"] = hessianToJson(*layer.input->hessian);
        if (layer.input->qsur)
            out["qsur"] = qsurToJson(*layer.input->qsur);
        if (!layer.input->why.empty())
            out["why"] = layer.input->why;
    }
    if (layer.weightQsur)
        out["weight_qsur"] = qsurToJson(*layer.weightQsur);
    if (layer.existingGrid)
        out["existing_grid"] = {{"bits", layer.existingGrid->bits}, {"block", layer.existingGrid->block},
            {"share", layer.existingGrid->share}, {"sentence", layer.existingGrid->sentence}};
    return out;
}

} // namespace qs::analysis
