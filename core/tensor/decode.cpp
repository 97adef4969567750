// SPDX-License-Identifier: Apache-2.0
// The loops below are plain C++ that the compiler vectorises. Highway compiles them once per instruction set and picks one at
// run time; as no multiplication and addition are contracted (-ffp-contract=off), every instruction set gives the same bits.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/tensor/decode.cpp"
#include <hwy/foreach_target.h> // IWYU pragma: keep

#include <hwy/highway.h>

#include "core/tensor/dtype.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace qs {
namespace HWY_NAMESPACE {
namespace {

using Byte = unsigned char;

template <class T> T load(const Byte* source)
{
    T value;
    std::memcpy(&value, source, sizeof value);
    return value;
}

/// Half to float without branches: exact for zeros, subnormals, infinities and NaN.
inline float halfBits(std::uint16_t bits)
{
    const std::uint32_t shifted = static_cast<std::uint32_t>(bits & 0x7fffU) << 13;
    const std::uint32_t exponent = shifted & 0x0f800000U;
    const std::uint32_t normal = shifted + 0x38000000U + (exponent == 0x0f800000U ? 0x38000000U : 0U);
    // Subnormal: put the mantissa below a 2^-14 and take the 2^-14 away again.
    const float subnormal = std::bit_cast<float>(shifted + 0x38800000U) - std::bit_cast<float>(0x38800000U);
    const std::uint32_t magnitude = exponent == 0 ? std::bit_cast<std::uint32_t>(subnormal) : normal;
    return std::bit_cast<float>(magnitude | static_cast<std::uint32_t>(bits & 0x8000U) << 16);
}

inline float halfAt(const Byte* source)
{
    return halfBits(load<std::uint16_t>(source));
}

void decodeHalf(const Byte* HWY_RESTRICT s, float* HWY_RESTRICT y, std::size_t n)
{
    for (std::size_t i = 0; i < n; ++i)
        y[i] = halfBits(load<std::uint16_t>(s + 2 * i));
}

void decodeBfloat16(const Byte* HWY_RESTRICT s, float* HWY_RESTRICT y, std::size_t n)
{
    for (std::size_t i = 0; i < n; ++i)
        y[i] = std::bit_cast<float>(static_cast<std::uint32_t>(load<std::uint16_t>(s + 2 * i)) << 16);
}

template <class T> void decodeNumber(const Byte* HWY_RESTRICT s, float* HWY_RESTRICT y, std::size_t n)
{
    for (std::size_t i = 0; i < n; ++i)
        y[i] = static_cast<float>(load<T>(s + sizeof(T) * i));
}

void decodeQ4_0(const Byte* HWY_RESTRICT s, float* HWY_RESTRICT y, std::size_t blocks)
{
    for (std::size_t b = 0; b < blocks; ++b, s += 18, y += 32) {
        const float d = halfAt(s);
        for (int j = 0; j < 16; ++j) {
            y[j] = static_cast<float>((s[2 + j] & 15) - 8) * d;
            y[j + 16] = static_cast<float>((s[2 + j] >> 4) - 8) * d;
        }
    }
}

void decodeQ4_1(const Byte* HWY_RESTRICT s, float* HWY_RESTRICT y, std::size_t blocks)
{
    for (std::size_t b = 0; b < blocks; ++b, s += 20, y += 32) {
        const float d = halfAt(s);
        const float m = halfAt(s + 2);
        for (int j = 0; j < 16; ++j) {
            y[j] = static_cast<float>(s[4 + j] & 15) * d + m;
            y[j + 16] = static_cast<float>(s[4 + j] >> 4) * d + m;
        }
    }
}

void decodeQ5_0(const Byte* HWY_RESTRICT s, float* HWY_RESTRICT y, std::size_t blocks)
{
    for (std::size_t b = 0; b < blocks; ++b, s += 22, y += 32) {
        const float d = halfAt(s);
        const auto high = load<std::uint32_t>(s + 2);
        for (int j = 0; j < 16; ++j) {
            const int low = (s[6 + j] & 15) | static_cast<int>(high >> j & 1U) << 4;
            const int top = (s[6 + j] >> 4) | static_cast<int>(high >> (j + 16) & 1U) << 4;
            y[j] = static_cast<float>(low - 16) * d;
            y[j + 16] = static_cast<float>(top - 16) * d;
        }
    }
}

void decodeQ5_1(const Byte* HWY_RESTRICT s, float* HWY_RESTRICT y, std::size_t blocks)
{
    for (std::size_t b = 0; b < blocks; ++b, s += 24, y += 32) {
        const float d = halfAt(s);
        const float m = halfAt(s + 2);
        const auto high = load<std::uint32_t>(s + 4);
        for (int j = 0; j < 16; ++j) {
            const int low = (s[8 + j] & 15) | static_cast<int>(high >> j & 1U) << 4;
            const int top = (s[8 + j] >> 4) | static_cast<int>(high >> (j + 16) & 1U) << 4;
            y[j] = static_cast<float>(low) * d + m;
            y[j + 16] = static_cast<float>(top) * d + m;
        }
    }
}

void decodeQ8_0(const Byte* HWY_RESTRICT s, float* HWY_RESTRICT y, std::size_t blocks)
{
    for (std::size_t b = 0; b < blocks; ++b, s += 34, y += 32) {
        const float d = halfAt(s);
        for (int j = 0; j < 32; ++j)
            y[j] = static_cast<float>(static_cast<signed char>(s[2 + j])) * d;
    }
}

/// The 6-bit (scale, minimum) pair of sub-block j in the 12 bytes that Q4_K and Q5_K share.
inline void scaleAndMin(int j, const Byte* s, int& scale, int& minimum)
{
    if (j < 4) {
        scale = s[j] & 63;
        minimum = s[j + 4] & 63;
    } else {
        scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        minimum = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
    }
}

template <int kBits> void decodeQ45_K(const Byte* HWY_RESTRICT s, float* HWY_RESTRICT y, std::size_t blocks)
{
    constexpr int kHighBytes = kBits == 5 ? 32 : 0;
    for (std::size_t b = 0; b < blocks; ++b, s += 144 + kHighBytes) {
        const float d = halfAt(s);
        const float dmin = halfAt(s + 2);
        const Byte* high = s + 16;
        const Byte* codes = s + 16 + kHighBytes;
        for (int sub = 0; sub < 8; sub += 2, codes += 32, y += 64) {
            int scale = 0;
            int minimum = 0;
            scaleAndMin(sub, s + 4, scale, minimum);
            const float d1 = d * static_cast<float>(scale);
            const float m1 = dmin * static_cast<float>(minimum);
            scaleAndMin(sub + 1, s + 4, scale, minimum);
            const float d2 = d * static_cast<float>(scale);
            const float m2 = dmin * static_cast<float>(minimum);
            for (int l = 0; l < 32; ++l) {
                int low = codes[l] & 15;
                int top = codes[l] >> 4;
                if constexpr (kBits == 5) {
                    low |= (high[l] >> sub & 1) << 4;
                    top |= (high[l] >> (sub + 1) & 1) << 4;
                }
                y[l] = d1 * static_cast<float>(low) - m1;
                y[l + 32] = d2 * static_cast<float>(top) - m2;
            }
        }
    }
}

void decodeQ6_K(const Byte* HWY_RESTRICT s, float* HWY_RESTRICT y, std::size_t blocks)
{
    for (std::size_t b = 0; b < blocks; ++b, s += 210) {
        const float d = halfAt(s + 208);
        for (int h = 0; h < 2; ++h, y += 128) {
            const Byte* low = s + 64 * h;
            const Byte* high = s + 128 + 32 * h;
            float scale[8];
            for (int i = 0; i < 8; ++i)
                scale[i] = d * static_cast<float>(static_cast<signed char>(s[192 + 8 * h + i]));
            for (int half = 0; half < 2; ++half) {
                for (int l = 16 * half; l < 16 * half + 16; ++l) {
                    const int bits = high[l];
                    y[l] = scale[half] * static_cast<float>(((low[l] & 15) | (bits & 3) << 4) - 32);
                    y[l + 32] = scale[half + 2] * static_cast<float>(((low[l + 32] & 15) | (bits >> 2 & 3) << 4) - 32);
                    y[l + 64] = scale[half + 4] * static_cast<float>(((low[l] >> 4) | (bits >> 4 & 3) << 4) - 32);
                    y[l + 96] = scale[half + 6] * static_cast<float>(((low[l + 32] >> 4) | (bits >> 6) << 4) - 32);
                }
            }
        }
    }
}

void decodeTarget(DType type, const Byte* s, float* y, std::size_t n)
{
    switch (type) {
    case DType::F16: return decodeHalf(s, y, n);
    case DType::BF16: return decodeBfloat16(s, y, n);
    case DType::F64: return decodeNumber<double>(s, y, n);
    case DType::U8: return decodeNumber<std::uint8_t>(s, y, n);
    case DType::I8: return decodeNumber<std::int8_t>(s, y, n);
    case DType::U16: return decodeNumber<std::uint16_t>(s, y, n);
    case DType::I16: return decodeNumber<std::int16_t>(s, y, n);
    case DType::U32: return decodeNumber<std::uint32_t>(s, y, n);
    case DType::I32: return decodeNumber<std::int32_t>(s, y, n);
    case DType::U64: return decodeNumber<std::uint64_t>(s, y, n);
    case DType::I64: return decodeNumber<std::int64_t>(s, y, n);
    case DType::Q4_0: return decodeQ4_0(s, y, n / 32);
    case DType::Q4_1: return decodeQ4_1(s, y, n / 32);
    case DType::Q5_0: return decodeQ5_0(s, y, n / 32);
    case DType::Q5_1: return decodeQ5_1(s, y, n / 32);
    case DType::Q8_0: return decodeQ8_0(s, y, n / 32);
    case DType::Q4_K: return decodeQ45_K<4>(s, y, n / 256);
    case DType::Q5_K: return decodeQ45_K<5>(s, y, n / 256);
    case DType::Q6_K: return decodeQ6_K(s, y, n / 256);
    default: return; // the caller has handled the rest
    }
}

} // namespace
} // namespace HWY_NAMESPACE
} // namespace qs
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qs {
namespace {

HWY_EXPORT(decodeTarget);

/// The 256 values of an 8-bit float with `mantissaBits` of mantissa.
/// FN: the all-ones code is NaN and there is no infinity; FNUZ: 0x80 is NaN, one larger bias; IEEE: as half.
enum class Small { Ieee, Fn, Fnuz };

std::array<float, 256> smallFloatTable(int mantissaBits, Small kind)
{
    const int exponentBits = 7 - mantissaBits;
    const int bias = (1 << (exponentBits - 1)) - (kind == Small::Fnuz ? 0 : 1);
    const int topExponent = (1 << exponentBits) - 1;
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::array<float, 256> table{};
    for (int code = 0; code < 256; ++code) {
        const int exponent = code >> mantissaBits & topExponent;
        const int mantissa = code & ((1 << mantissaBits) - 1);
        const int implicit = exponent == 0 ? 0 : 1 << mantissaBits;
        // Every factor is a power of two or a small integer, so the product is exact.
        float value = static_cast<float>(mantissa + implicit);
        for (int step = std::max(1, exponent) - bias - mantissaBits; step != 0; step += step < 0 ? 1 : -1)
            value *= step < 0 ? 0.5F : 2.0F;
        if (kind == Small::Fn && (code & 0x7f) == 0x7f)
            value = nan;
        else if (kind == Small::Ieee && exponent == topExponent)
            value = mantissa == 0 ? std::numeric_limits<float>::infinity() : nan;
        value = code & 0x80 ? -value : value;
        if (kind == Small::Fnuz && code == 0x80)
            value = nan;
        table[static_cast<std::size_t>(code)] = value;
    }
    return table;
}

std::array<float, 256> exponentTable()
{
    std::array<float, 256> table{};
    table[0] = 0x1p-127F;
    for (std::uint32_t code = 1; code < 255; ++code)
        table[code] = std::bit_cast<float>(code << 23);
    table[255] = std::numeric_limits<float>::quiet_NaN();
    return table;
}

const std::array<float, 256>* byteTable(DType type)
{
    static const auto e4m3 = smallFloatTable(3, Small::Fn);
    static const auto e5m2 = smallFloatTable(2, Small::Ieee);
    static const auto e4m3Fnuz = smallFloatTable(3, Small::Fnuz);
    static const auto e5m2Fnuz = smallFloatTable(2, Small::Fnuz);
    static const auto e8m0 = exponentTable();
    switch (type) {
    case DType::F8E4M3: return &e4m3;
    case DType::F8E5M2: return &e5m2;
    case DType::F8E4M3Fnuz: return &e4m3Fnuz;
    case DType::F8E5M2Fnuz: return &e5m2Fnuz;
    case DType::F8E8M0: return &e8m0;
    default: return nullptr;
    }
}

} // namespace

Expected<void> decodeToFloat(DType type, std::span<const std::byte> source, std::span<float> target)
{
    const DTypeInfo& info = dtypeInfo(type);
    if (!info.decodable)
        return fail(Errc::Unsupported, std::string("values of type ") + info.name + " cannot be decoded yet");
    const auto bytes = storageBytes(type, static_cast<Index>(target.size()));
    if (!bytes || *bytes != source.size())
        return fail(Errc::InvalidArgument,
            std::to_string(target.size()) + " values of type " + info.name + " do not take " + std::to_string(source.size())
                + " bytes");
    if (target.empty())
        return {};
    const auto* bytesIn = reinterpret_cast<const unsigned char*>(source.data());
    if (type == DType::F32) {
        std::memcpy(target.data(), source.data(), source.size());
    } else if (type == DType::Bool) {
        for (std::size_t i = 0; i < target.size(); ++i)
            target[i] = bytesIn[i] != 0 ? 1.0F : 0.0F;
    } else if (const auto* table = byteTable(type)) {
        for (std::size_t i = 0; i < target.size(); ++i)
            target[i] = (*table)[bytesIn[i]];
    } else {
        HWY_DYNAMIC_DISPATCH(decodeTarget)(type, bytesIn, target.data(), target.size());
    }
    return {};
}

} // namespace qs
#endif // HWY_ONCE
