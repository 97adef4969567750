// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/model/description.h"
#include "core/model/tensor_names.h"

namespace qs::model {

/// Completes what a config or metadata say with the layers, sites and fusion groups that the tensors hold, and lists every
/// disagreement between the two in `problems`. Shapes of layers are those of the tensors.
ModelSpec buildLlamaSpec(Description description, const TensorNames& names, const io::Checkpoint& checkpoint);

/// Every 2-D tensor `NAME.weight` is a layer NAME, in file order.
ModelSpec buildPlainSpec(const io::Checkpoint& checkpoint);

} // namespace qs::model
