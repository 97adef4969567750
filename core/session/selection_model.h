// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/types.h"
#include "core/model/model_spec.h"

#include <QObject>

#include <vector>

namespace qs::session {

/// What the user looks at. The only link between views: no view knows another.
struct SelectionState {
    std::vector<model::LayerIndex> layers; ///< All selected layers, in the order of the model.
    model::LayerIndex current = -1; ///< The layer that the centre shows; one of `layers`.
    Index channel = -1; ///< Input channel, or -1.
    Index row = -1; ///< Output row, or -1.
    int pipeline = 0; ///< Index of the compared pipeline that the editor edits.

    friend bool operator==(const SelectionState&, const SelectionState&) = default;
};

/// Holds the selection and tells everybody, with the object that changed it, so that a view does not answer to itself.
class SelectionModel : public QObject {
    Q_OBJECT
public:
    explicit SelectionModel(QObject* parent = nullptr)
        : QObject(parent)
    {
    }
    const SelectionState& state() const { return m_state; }
    void set(SelectionState state, QObject* origin);

    void selectLayer(model::LayerIndex layer, QObject* origin); ///< Only this layer; channel and row are forgotten.
    void selectChannel(Index channel, QObject* origin);
    void selectPipeline(int pipeline, QObject* origin);

Q_SIGNALS:
    void changed(const qs::session::SelectionState& state, QObject* origin);

private:
    SelectionState m_state;
};

} // namespace qs::session
