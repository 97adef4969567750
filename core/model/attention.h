// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/tensor/matrix.h"

namespace qs::model {

/// Causal attention with grouped key-value heads over equal windows.
///
///   out_i = sum_j softmax_j(q_i . k_j / sqrt(D)) v_j,  j in (i - window, i] of the same sequence (window 0: j <= i)
///
/// Shapes   qkv (sequences * length, (heads + 2 kvHeads) * D): rotated queries, rotated keys, values; out (sequences * length,
/// heads * D). Cost     sequences * heads * length^2 * D multiply-adds (causal half); scratch per thread: keys and values of
/// one head and 32 rows of scores. Threads  parallel inside; the same bits for any number of threads.
struct AttentionShape {
    Index sequences = 0, length = 0, heads = 0, kvHeads = 0, headDim = 0, window = 0;
};
void causalAttention(const AttentionShape& shape, MatrixView qkv, MutMatrixView out);

} // namespace qs::model
