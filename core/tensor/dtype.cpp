// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/dtype.h"

#include <array>
#include <bit>
#include <limits>

namespace qs {
namespace {

constexpr bool kReads = true;
constexpr bool kFloat = true;

/// In the order of DType.
constexpr std::array kInfo = {
    DTypeInfo{"BOOL", 1, 8, kReads, false},
    DTypeInfo{"U8", 1, 8, kReads, false},
    DTypeInfo{"I8", 1, 8, kReads, false},
    DTypeInfo{"U16", 1, 16, kReads, false},
    DTypeInfo{"I16", 1, 16, kReads, false},
    DTypeInfo{"U32", 1, 32, kReads, false},
    DTypeInfo{"I32", 1, 32, kReads, false},
    DTypeInfo{"U64", 1, 64, kReads, false},
    DTypeInfo{"I64", 1, 64, kReads, false},
    DTypeInfo{"F16", 1, 16, kReads, kFloat},
    DTypeInfo{"BF16", 1, 16, kReads, kFloat},
    DTypeInfo{"F32", 1, 32, kReads, kFloat},
    DTypeInfo{"F64", 1, 64, kReads, kFloat},
    DTypeInfo{"C64", 1, 64, false, false},
    DTypeInfo{"F8_E4M3", 1, 8, kReads, kFloat},
    DTypeInfo{"F8_E5M2", 1, 8, kReads, kFloat},
    DTypeInfo{"F8_E8M0", 1, 8, kReads, kFloat},
    DTypeInfo{"F8_E4M3FNUZ", 1, 8, kReads, kFloat},
    DTypeInfo{"F8_E5M2FNUZ", 1, 8, kReads, kFloat},
    DTypeInfo{"F4", 1, 4, false, kFloat},
    DTypeInfo{"F6_E2M3", 1, 6, false, kFloat},
    DTypeInfo{"F6_E3M2", 1, 6, false, kFloat},
    DTypeInfo{"Q4_0", 32, 18 * 8, kReads, false},
    DTypeInfo{"Q4_1", 32, 20 * 8, kReads, false},
    DTypeInfo{"Q5_0", 32, 22 * 8, kReads, false},
    DTypeInfo{"Q5_1", 32, 24 * 8, kReads, false},
    DTypeInfo{"Q8_0", 32, 34 * 8, kReads, false},
    DTypeInfo{"Q8_1", 32, 36 * 8, false, false},
    DTypeInfo{"Q2_K", 256, 84 * 8, false, false},
    DTypeInfo{"Q3_K", 256, 110 * 8, false, false},
    DTypeInfo{"Q4_K", 256, 144 * 8, kReads, false},
    DTypeInfo{"Q5_K", 256, 176 * 8, kReads, false},
    DTypeInfo{"Q6_K", 256, 210 * 8, kReads, false},
    DTypeInfo{"Q8_K", 256, 292 * 8, false, false},
    DTypeInfo{"IQ2_XXS", 256, 66 * 8, false, false},
    DTypeInfo{"IQ2_XS", 256, 74 * 8, false, false},
    DTypeInfo{"IQ3_XXS", 256, 98 * 8, false, false},
    DTypeInfo{"IQ1_S", 256, 50 * 8, false, false},
    DTypeInfo{"IQ4_NL", 32, 18 * 8, false, false},
    DTypeInfo{"IQ3_S", 256, 110 * 8, false, false},
    DTypeInfo{"IQ2_S", 256, 82 * 8, false, false},
    DTypeInfo{"IQ4_XS", 256, 136 * 8, false, false},
    DTypeInfo{"IQ1_M", 256, 56 * 8, false, false},
    DTypeInfo{"TQ1_0", 256, 54 * 8, false, false},
    DTypeInfo{"TQ2_0", 256, 66 * 8, false, false},
    DTypeInfo{"MXFP4", 32, 17 * 8, false, false},
    DTypeInfo{"NVFP4", 64, 36 * 8, false, false},
    DTypeInfo{"Q1_0", 128, 18 * 8, false, false},
    DTypeInfo{"Q2_0", 64, 18 * 8, false, false},
    DTypeInfo{"PACKED", 0, 0, false, false},
    DTypeInfo{"UNKNOWN", 0, 0, false, false},
};
static_assert(kInfo.size() == static_cast<std::size_t>(DType::Unknown) + 1);

} // namespace

const DTypeInfo& dtypeInfo(DType type)
{
    const auto index = static_cast<std::size_t>(type);
    return index < kInfo.size() ? kInfo[index] : kInfo.back();
}

std::optional<DType> dtypeFromSafetensors(std::string_view name)
{
    for (int i = 0; i <= static_cast<int>(DType::F6E3M2); ++i)
        if (name == kInfo[static_cast<std::size_t>(i)].name)
            return static_cast<DType>(i);
    return std::nullopt;
}

std::optional<DType> dtypeFromGgml(std::uint32_t id)
{
    switch (id) {
    case 0: return DType::F32;
    case 1: return DType::F16;
    case 2: return DType::Q4_0;
    case 3: return DType::Q4_1;
    case 6: return DType::Q5_0;
    case 7: return DType::Q5_1;
    case 8: return DType::Q8_0;
    case 9: return DType::Q8_1;
    case 10: return DType::Q2_K;
    case 11: return DType::Q3_K;
    case 12: return DType::Q4_K;
    case 13: return DType::Q5_K;
    case 14: return DType::Q6_K;
    case 15: return DType::Q8_K;
    case 16: return DType::IQ2_XXS;
    case 17: return DType::IQ2_XS;
    case 18: return DType::IQ3_XXS;
    case 19: return DType::IQ1_S;
    case 20: return DType::IQ4_NL;
    case 21: return DType::IQ3_S;
    case 22: return DType::IQ2_S;
    case 23: return DType::IQ4_XS;
    case 24: return DType::I8;
    case 25: return DType::I16;
    case 26: return DType::I32;
    case 27: return DType::I64;
    case 28: return DType::F64;
    case 29: return DType::IQ1_M;
    case 30: return DType::BF16;
    case 34: return DType::TQ1_0;
    case 35: return DType::TQ2_0;
    case 39: return DType::MXFP4;
    case 40: return DType::NVFP4;
    case 41: return DType::Q1_0;
    case 42: return DType::Q2_0;
    default: return std::nullopt; // 4, 5, 31-33 and 36-38 were removed from ggml
    }
}

std::optional<Index> elementCount(const Shape& shape)
{
    // The product of the non-zero extents must fit even when another extent is 0: callers multiply some of the extents.
    Index product = 1;
    bool empty = false;
    for (const Index extent : shape) {
        if (extent < 0)
            return std::nullopt;
        if (extent == 0)
            empty = true;
        else if (product > std::numeric_limits<Index>::max() / extent)
            return std::nullopt;
        else
            product *= extent;
    }
    return empty ? 0 : product;
}

std::optional<std::uint64_t> storageBytes(DType type, Index elements)
{
    const DTypeInfo& info = dtypeInfo(type);
    if (info.blockElements == 0 || elements < 0 || elements % info.blockElements != 0)
        return std::nullopt;
    const auto blocks = static_cast<std::uint64_t>(elements / info.blockElements);
    const auto bits = static_cast<std::uint64_t>(info.blockBits);
    if (blocks > std::numeric_limits<std::uint64_t>::max() / bits || blocks * bits % 8 != 0)
        return std::nullopt;
    return blocks * bits / 8;
}

std::string shapeText(const Shape& shape)
{
    if (shape.empty())
        return "scalar";
    std::string text;
    for (const Index extent : shape) {
        if (!text.empty())
            text += " x ";
        text += std::to_string(extent);
    }
    return text;
}

float halfToFloat(std::uint16_t bits) noexcept
{
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
    const std::uint32_t exponent = (bits >> 10) & 31U;
    const std::uint32_t mantissa = bits & 1023U;
    if (exponent == 31)
        return std::bit_cast<float>(sign | 0x7f800000U | mantissa << 13);
    if (exponent == 0) { // zero and subnormal: an exact multiple of 2^-24
        const float value = static_cast<float>(mantissa) * 0x1p-24F;
        return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(value));
    }
    return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

std::uint16_t floatToHalf(float value) noexcept
{
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = bits >> 16 & 0x8000U;
    const std::uint32_t magnitude = bits & 0x7fffffffU;
    std::uint32_t half = 0;
    if (magnitude > 0x7f800000U) {
        half = 0x7e00U | (magnitude >> 13 & 0x3ffU);
    } else if (magnitude >= 0x47800000U) { // 65536 and more, infinity
        half = 0x7c00U;
    } else if (magnitude >= 0x38800000U) { // normal: a carry out of the mantissa is the right next value, infinity included
        const std::uint32_t rebased = magnitude - 0x38000000U;
        half = (rebased + 0xfffU + (rebased >> 13 & 1U)) >> 13;
    } else if (magnitude > 0x33000000U) { // subnormal, above half of the smallest one
        const std::uint32_t mantissa = (magnitude & 0x7fffffU) | 0x800000U;
        const std::uint32_t shift = 126U - (magnitude >> 23);
        const std::uint32_t rest = mantissa & ((1U << shift) - 1U);
        const std::uint32_t middle = 1U << (shift - 1);
        half = mantissa >> shift;
        if (rest > middle || (rest == middle && (half & 1U)))
            ++half;
    }
    return static_cast<std::uint16_t>(sign | half);
}

float bfloat16ToFloat(std::uint16_t bits) noexcept
{
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

std::uint16_t floatToBfloat16(float value) noexcept
{
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7fffffffU) > 0x7f800000U)
        return static_cast<std::uint16_t>(bits >> 16 | 0x40U);
    return static_cast<std::uint16_t>((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
}

} // namespace qs
