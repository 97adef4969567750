// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/stage.h"

namespace qs::recipe {

/// How an OBS sweep walks the columns.
struct SweepOptions {
    /// Column order. None: as they are stored, each group fitted on up-to-date weights when the sweep reaches it. Group: by
    /// descending diag(C), groups are consecutive in that order and QuantizedTensor::groupOf says which column is in which.
    /// Static: the same order, but groups keep their original columns and are fitted on the original weights up front, so the
    /// storage layout does not change.
    enum class Order { None, Group, Static };

    Index block
        = 128; ///< Columns between two updates of the rest; an adaptive mask is chosen per block of MaskPlan::block columns.
    double damp = 0.01; ///< Added to the diagonal of C, as a share of its mean.
    Order order = Order::None;
    /// A group that starts inside a block is fitted on up-to-date weights. False: on the weights as they were when the block
    /// began, which is what public GPTQ code does.
    bool freshGroups = true;
};

struct SweepResult {
    RowMatrix What; ///< (out, in), in the original column order.
    quant::QuantizedTensor quantized; ///< Empty without a grid.
    BasicMatrix<std::uint8_t> keep; ///< Empty without a mask.
    double lambda = 0; ///< Damping that was added, in units of C.
    int escalations = 0; ///< How often it had to be raised tenfold.
    Index deadChannels = 0; ///< Inputs that are always zero.
    double deadLargest = 0; ///< max |What| over their columns: above 0 where the grid cannot store a zero there.
    double lossDamped = 0; ///< sum e^2 = tr(dW (C + lambda I) dW^T), dead columns left out.
    std::vector<std::int32_t> order; ///< Column at each step of the sweep; empty when nothing was reordered.
};

/// Optimal-brain-surgeon sweep with a pluggable projector: the column loop of GPTQ (grid), SparseGPT (mask) and of both at
/// once.
///
///   U^T U = (C + lambda I)^-1, U upper;  for each column j, left to right:
///   q = grid(w_j) * keep_j,   e = (w_j - q) / U_jj,   W_{:, > j} -= e U_{j, > j}
///
/// Updates beyond the current block are applied once per block as one product. Inputs with C_jj = 0 get W_{:, j} = 0,
/// or the grid point nearest to it; they are left out when groups are fitted, unless a group has no others.
/// An adaptive mask prunes, per block of columns, the share `sparsity` of all its entries with the least w^2 / U_jj^2 on
/// current weights (exact count, ties go by row, then column); an N:M rule chooses each group of M when the sweep reaches its
/// first column. Groups of a grid are fitted with entries that are already known to be pruned set to zero. Shapes   W (out,
/// in); C (in, in); a fixed mask (out, in). Errors   NotFound "needs calibration" without C; those of the factorisation and of
/// the grid; InvalidArgument for a damping below 0, a
///          mask of another shape, or a grid that cannot store a pruned zero exactly; Unsupported for an adaptive N:M mask with
///          reordered columns; Cancelled (polled once per block).
/// Cost     O(in^3) factorisation in float64 + O(out in^2) float32 products; memory: one copy of W and two of C.
/// Threads  rows in parallel; the bits do not depend on the number of threads, apart from those of library products.
/// Source   Frantar et al. 2022, arXiv:2210.17323, algorithm 1; Frantar and Alistarh 2023, arXiv:2301.00774, algorithm 1.
Expected<SweepResult> obsSweep(
    const LayerProblem& problem, GridSession* grid, const MaskPlan* mask, const SweepOptions& options);

/// The same with weights, factor and updates in float64: the reference on which exact identities are tested. Slow.
Expected<SweepResult> obsSweepReference(
    const LayerProblem& problem, GridSession* grid, const MaskPlan* mask, const SweepOptions& options);

} // namespace qs::recipe
