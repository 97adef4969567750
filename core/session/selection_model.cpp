// SPDX-License-Identifier: Apache-2.0
#include "core/session/selection_model.h"

namespace qs::session {

void SelectionModel::set(SelectionState state, QObject* origin)
{
    if (state == m_state)
        return;
    m_state = std::move(state);
    // Listeners get a copy: one of them may change the selection again.
    const SelectionState copy = m_state;
    Q_EMIT changed(copy, origin);
}

void SelectionModel::selectLayer(model::LayerIndex layer, QObject* origin)
{
    SelectionState state = m_state;
    state.layers.clear();
    if (layer >= 0)
        state.layers.push_back(layer);
    if (layer != state.current) {
        state.channel = -1;
        state.row = -1;
    }
    state.current = layer;
    set(std::move(state), origin);
}

void SelectionModel::selectChannel(Index channel, QObject* origin)
{
    SelectionState state = m_state;
    state.channel = channel;
    set(std::move(state), origin);
}

void SelectionModel::selectPipeline(int pipeline, QObject* origin)
{
    SelectionState state = m_state;
    state.pipeline = pipeline;
    set(std::move(state), origin);
}

} // namespace qs::session
