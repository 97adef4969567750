// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/exec/grid_params.h"

/// The grid operations of the CPU backend; see Backend for what they compute.
namespace qs::cpugrid {

bool groupRanges(MatrixView X, Index group, MutMatrixView lo, MutMatrixView hi);
void encode(MatrixView X, const GridParams& grid, MutCodesView codes);
void decode(CodesView codes, const GridParams& grid, MutMatrixView X);
void project(MutMatrixView X, const GridParams& grid);

} // namespace qs::cpugrid
