// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/runner.h"

#include <list>

namespace qs::recipe {

/// Statistics of a layer input, owned: what an InputView points into.
struct InputData {
    InputView view; ///< secondMoment points to `secondMoment` or is null.
    MatrixD secondMoment;
};

/// Fit part of the statistics of a layer's input; an empty view where there is no dump or it does not cover the layer.
Expected<std::shared_ptr<const InputData>> inputDataOf(const Calibration& calibration, const model::LayerSpec& layer);
/// The same after x := T x. Null transforms and identities share the input.
Expected<std::shared_ptr<const InputData>> transformed(std::shared_ptr<const InputData> input, const SiteTransform* transform);

/// Stages of a pipeline, constructed.
struct StageSet {
    struct Transform {
        std::string id;
        std::shared_ptr<const TransformStage> stage;
    };
    struct Compensator {
        std::string id;
        std::shared_ptr<const CompensatorStage> stage;
    };
    std::vector<Transform> transforms;
    std::shared_ptr<const PrunerStage> pruner;
    std::shared_ptr<const GridStage> grid;
    std::shared_ptr<const RoundingStage> rounding;
    std::vector<Compensator> compensators;
    std::shared_ptr<const ActivationGridStage> activation;
};
Expected<StageSet> makeStages(const Pipeline& pipeline, const StageRegistry& registry);

/// The transform of a site with what its stages reported.
struct SiteFit {
    std::shared_ptr<const SiteTransform> transform; ///< Null without transform stages.
    std::vector<StageReport> reports;
    std::vector<std::string> layers;
};

/// The site of a layer; a plain one for a layer that belongs to none.
model::SiteSpec siteOf(const model::ModelSpec& spec, model::LayerIndex layer);
/// The site whose transform folds into this layer's rows, or null.
const model::SiteSpec* siteBehind(const model::ModelSpec& spec, model::LayerIndex layer);

/// Loads a weight and checks it. Errors: NotFinite naming tensor, row and column of the first NaN or Inf.
Expected<RowMatrix> loadFinite(const model::Model& model, const model::LayerSpec& layer);

/// Fits the transform stages one after the other over all consumers of the site.
Expected<SiteFit> fitSite(const model::Model& model, const model::SiteSpec& site, const StageSet& stages,
    std::shared_ptr<const InputData> input, const FitContext& fit);

/// A few values by text key, least recently used out. A value is made once; others who ask for it meanwhile wait for it, and
/// try themselves when it failed.
template <class Value> class SharedCache {
public:
    explicit SharedCache(std::size_t capacity)
        : m_capacity(capacity)
    {
    }

    template <class Make> Expected<std::shared_ptr<const Value>> get(const std::string& key, Make make)
    {
        const std::shared_ptr<Slot> slot = find(key);
        const std::lock_guard lock(slot->mutex);
        if (!slot->value) {
            Expected<std::shared_ptr<const Value>> made = make();
            if (!made)
                return made;
            slot->value = std::move(*made);
        }
        return slot->value;
    }

private:
    struct Slot {
        std::mutex mutex;
        std::shared_ptr<const Value> value; ///< Guarded by `mutex`.
    };

    std::shared_ptr<Slot> find(const std::string& key)
    {
        const std::lock_guard lock(m_mutex);
        for (auto it = m_slots.begin(); it != m_slots.end(); ++it)
            if (it->first == key) {
                m_slots.splice(m_slots.begin(), m_slots, it);
                return m_slots.front().second;
            }
        m_slots.emplace_front(key, std::make_shared<Slot>());
        if (m_slots.size() > m_capacity)
            m_slots.pop_back();
        return m_slots.front().second;
    }

    std::size_t m_capacity;
    std::mutex m_mutex;
    std::list<std::pair<std::string, std::shared_ptr<Slot>>> m_slots; ///< Most recently used first.
};

} // namespace qs::recipe
