// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/base/types.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace qs {

/// Storage type of a tensor. Plain types hold one element per `blockElements == 1`; ggml block types pack several.
enum class DType {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    BF16,
    F32,
    F64,
    C64,
    F8E4M3,
    F8E5M2,
    F8E8M0,
    F8E4M3Fnuz,
    F8E5M2Fnuz,
    F4,
    F6E2M3,
    F6E3M2,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q8_1,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    Q8_K,
    IQ2_XXS,
    IQ2_XS,
    IQ3_XXS,
    IQ1_S,
    IQ4_NL,
    IQ3_S,
    IQ2_S,
    IQ4_XS,
    IQ1_M,
    TQ1_0,
    TQ2_0,
    MXFP4,
    NVFP4,
    Q1_0,
    Q2_0,
    Packed, ///< Integer codes of our own or compressed-tensors exports, read back as one logical tensor; see Checkpoint.
    Unknown, ///< Listed but unreadable; never guessed.
};

struct DTypeInfo {
    const char* name; ///< As the file format spells it: "BF16", "Q4_1".
    Index blockElements; ///< Elements per block (1 for plain types; 0 when unknown or packed).
    Index blockBits; ///< Bits per block.
    bool decodable; ///< decodeToFloat() handles it.
    bool floating; ///< A plain floating-point type.
};

const DTypeInfo& dtypeInfo(DType type);
inline const char* dtypeName(DType type)
{
    return dtypeInfo(type).name;
}
std::optional<DType> dtypeFromSafetensors(std::string_view name);
std::optional<DType> dtypeFromGgml(std::uint32_t id);

using Shape = std::vector<Index>; ///< Outermost first, as in Hugging Face ([out, in] for a linear layer).

/// Product of the extents; nothing on overflow or a negative extent.
std::optional<Index> elementCount(const Shape& shape);
/// Bytes that `elements` values of `type` take; nothing on overflow, an unknown type or a partial block.
std::optional<std::uint64_t> storageBytes(DType type, Index elements);
/// "576 x 1536".
std::string shapeText(const Shape& shape);

/// Decodes packed storage to float32, bit for bit what the format's reference implementation gives.
///
/// Shapes   source: storageBytes(type, target.size()) bytes; target: a whole number of blocks.
/// Errors   Unsupported for a type without a decoder; InvalidArgument when the sizes disagree.
/// Cost     about memory bandwidth; no allocation.   Threads   pure.
/// Source   `formats.md` 1.2 block layouts; IEEE 754 half, bfloat16.
Expected<void> decodeToFloat(DType type, std::span<const std::byte> source, std::span<float> target);

float halfToFloat(std::uint16_t bits) noexcept;
std::uint16_t floatToHalf(float value) noexcept; ///< Round half to even; overflow to infinity, NaN kept.
float bfloat16ToFloat(std::uint16_t bits) noexcept;
std::uint16_t floatToBfloat16(float value) noexcept; ///< Round half to even; NaN kept.

} // namespace qs
