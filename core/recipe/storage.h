// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/model/model.h"
#include "core/quant/uniform_grid.h"
#include "core/recipe/recipe.h"

#include <map>
#include <memory>
#include <vector>

/// How a compressed model lies in a checkpoint. Simulation, accounting and exporters ask here and nowhere else, so that what is
/// measured is what is stored.
namespace qs::recipe {

/// The plain type in which a weight without integer codes is stored: BF16, F16 and F32 as they are, F64 as F32, everything else
/// (block formats, packed layers) as F16.
DType denseStorageType(DType type);
/// Integers, booleans and the like: an export copies them byte by byte.
bool travelsRaw(DType type);

/// Rounds values to what `type` (F32, F16 or BF16) can hold: half to even.
/// Error   NotFinite, with row and column, where a finite value is beyond the range of the type.
Expected<void> roundToStored(DType type, MutMatrixView values);

/// The values' bytes in `type` (F32, F16 or BF16), little-endian, row by row.
std::vector<std::byte> encodeStored(DType type, MatrixView values);

/// The model as an export that compresses no layer holds it: tensors whose type is not stored are rounded to the one that is
/// (block formats to F16). The same object where nothing is. A candidate of an evaluation runs on this.
std::shared_ptr<const model::Model> asStored(std::shared_ptr<const model::Model> model);

/// Whether a grid's zero points are written: not where they lie in the middle of the codes.
bool storesZeroPoints(quant::GridId grid);
/// Bits of integer codes with their scales in the tensors of a pack-quantized layer, in whole 32-bit words. What words leave
/// unused is in `other`. Without weight_shape, which says nothing about the weights.
quant::BitsCount packedBits(const quant::QuantizedTensor& tensor);
/// Bits of a layer as it lies in the checkpoint, without weight_shape; 0 where the checkpoint has no such tensor.
quant::BitsCount storedBits(const model::Model& model, const model::LayerSpec& layer);
/// Bits of a dense layer in its storage type.
quant::BitsCount denseBits(const model::LayerSpec& layer);

/// d, changed so that norm * d is exactly what `type` can hold: then folding d into the stored norm loses nothing. Channels
/// where the norm is 0 keep their d. The change is at most the rounding of the type.
std::vector<double> snapToNorm(std::vector<double> d, MatrixView norm, DType type);
/// norm * d in the norm's storage type.
RowMatrix foldIntoNorm(MatrixView norm, const std::vector<double>& d, DType type);

/// Whether the transform of a site behind the layer is folded into its rows. Its bias is stored as F32 then.
bool takesRowFactors(const model::ModelSpec& spec, const Assignment& assignment, model::LayerIndex layer);
/// Layers that an export writes anew: those with a pipeline, and those that take row factors.
std::vector<model::LayerIndex> touchedLayers(const model::ModelSpec& spec, const Assignment& assignment);

/// Size of a model: bits_layers (per weight of the compressed layers), bits_file (per element) and bytes_file: the data of all
/// tensors (weight_shape included), without the files' headers.
struct RecipeSize {
    double bitsLayers = 0, bitsFile = 0, bytesFile = 0;
};
/// The checkpoint as it lies on disk.
RecipeSize checkpointSize(const model::Model& model);
/// The checkpoint that an export of the assignment writes, before it is written. `compressed`: bits of the layers with a
/// pipeline.
RecipeSize recipeSize(
    const model::Model& model, const Assignment& assignment, const std::map<model::LayerIndex, quant::BitsCount>& compressed);

} // namespace qs::recipe
