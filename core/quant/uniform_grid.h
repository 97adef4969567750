// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/error.h"
#include "core/exec/grid_params.h"
#include "core/tensor/matrix.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace qs {
class Backend;
}

namespace qs::quant {

/// The conventions that published code calls "symmetric" or "asymmetric". See UniformGrid for what each computes.
enum class GridId { SymFullrangeMid, SymRestricted, SymNegAnchored, SymShifted, Asym0, AsymFree, AsymRealZero };
const char* gridName(GridId id); ///< "sym-fullrange-mid", ...
std::optional<GridId> gridFromName(std::string_view name);
bool isSymmetric(GridId id);

enum class RangeMethod { MinMax, Mse, Percentile };
const char* rangeName(RangeMethod method); ///< "minmax", "mse", "percentile".
std::optional<RangeMethod> rangeFromName(std::string_view name);

enum class ScaleType { Float32, Float16, BFloat16 };
const char* scaleTypeName(ScaleType type);
std::optional<ScaleType> scaleTypeFromName(std::string_view name);
int scaleTypeBits(ScaleType type);
/// A scale as it will be stored: rounded to its type; 0 becomes the smallest normal of the type, so that it is never divided
/// by zero, and what overflows becomes the largest finite value.
float roundScale(float scale, ScaleType type);

struct UniformGridOptions {
    int bits = 4; ///< 2..8.
    GridId grid = GridId::SymFullrangeMid;
    RangeMethod range = RangeMethod::MinMax;
    ScaleType scaleType = ScaleType::Float16;
    double mseNorm = 2.4; ///< Exponent of the error that the MSE range search minimises.
    int mseSteps = 100; ///< Range fractions 1 - i / steps are tried ...
    double mseMaxShrink = 0.8; ///< ... for i < mseMaxShrink * steps.
    double percentile = 0.999; ///< Smallest share of values inside the range (Percentile).
};

/// Scale and zero of one group. `zero` is in code units, an integer stored as float except on AsymRealZero.
template <class T> struct BasicScaleZero {
    T scale = 1;
    T zero = 0;
};
using ScaleZero = BasicScaleZero<float>;

/// The scalar formulas of UniformGrid in T. float is what everything runs on. double is the reference on which identities are
/// tested: its scales are not rounded to a storage type (0 becomes the smallest normal), nor is the zero of asym-realzero.
template <class T> struct GridFormulas {
    static BasicScaleZero<T> fromRange(const UniformGridOptions& options, T lo, T hi);
    static int encode(const UniformGridOptions& options, T value, BasicScaleZero<T> sz);
    static T decode(int code, BasicScaleZero<T> sz) { return sz.scale * (static_cast<T>(code) - sz.zero); }
};
extern template struct GridFormulas<float>;
extern template struct GridFormulas<double>;

/// Uniform affine grid.
///
///   code = clamp(rne(w / s) + z, lo, hi)        w_hat = s * (code - z)        (rne: round half to even)
///
/// | id                | scale s                    | codes              | z                        |
/// | sym-fullrange-mid | 2 max|w| / (2^b - 1)       | 0 .. 2^b - 1       | 2^(b-1)                  |
/// | sym-restricted    | max|w| / (2^(b-1) - 1)     | -2^(b-1) .. 2^(b-1)-1 | 0                     |
/// | sym-neg-anchored  | max|w| / 2^(b-1)           | -2^(b-1) .. 2^(b-1)-1 | 0                     |
/// | sym-shifted       | max|w| / (2^(b-1) - 1)     | 0 .. 2^b - 1       | 2^(b-1) - 1              |
/// | asym-0            | (max+ - min-) / (2^b - 1)  | 0 .. 2^b - 1       | rne(-min / s), range holds 0 |
/// | asym-free         | (max - min) / (2^b - 1)    | 0 .. 2^b - 1       | clamp(rne(-min / s), 0, 2^b - 1) |
/// | asym-realzero     | (max - min) / (2^b - 1)    | 0 .. 2^b - 1       | -min / s real, float16; code = clamp(rne(w/s + z)) |
///
/// The scale is rounded to its storage type before any code is computed. A constant-zero group gets a finite scale and decodes
/// to 0.
/// Where the range of asym-free or asym-realzero is a single value, it is widened to hold 0: the constant then is a level of
/// the grid.
/// All arithmetic is float32: one true division w / s (never a product with 1 / s), one rounding of it, one product to decode.
/// The vectorised paths give the same bits as encode() and decode() on every instruction set.
/// MSE range search: fractions p = 1 - i / steps of the range, smallest sum |w - w_hat|^norm (times the weight), the first on
/// ties; p = 1 is a candidate, so that the loss is never above minmax. Percentile: the whole range and those of the shares p,
/// 1 - (1 - p) / 10 and 1 - (1 - p) / 100, least sum (w - w_hat)^2; quantiles interpolated, of |w| or of both tails equally.
/// Symmetric ranges are always mirrored (public GPTQ code leaves an all-positive row unmirrored and clips it).
/// Errors   NotFinite for NaN or Inf; InvalidArgument for bits outside 2..8.   Threads   pure.   Source   Jacob et al. 2018,
/// arXiv:1712.05877; public code of the named engines.
class UniformGrid {
public:
    explicit UniformGrid(UniformGridOptions options)
        : m_options(options)
    {
    }
    const UniformGridOptions& options() const { return m_options; }
    int lowestCode() const;
    int highestCode() const;
    Expected<void> check() const; ///< Error InvalidArgument for bits outside 2..8.
    /// The grid as a Backend computes it. The views must outlive the result.
    GridParams params(MatrixView scale, MatrixView zero, Index group, std::span<const std::int32_t> groupOf = {}) const;

    /// Fits one group. With weights (one per value, e.g. diag C) the MSE search minimises the weighted error.
    Expected<ScaleZero> fit(std::span<const float> values, std::span<const float> weights = {}) const;
    /// Fits to a given range instead of the data's (clip search). lo <= hi, both finite.
    ScaleZero fromRange(float lo, float hi) const;
    /// What the MSE search minimises: sum weight * (|w - w_hat| / max|w|)^mseNorm, in float32 lanes summed in float64.
    double shrinkLoss(std::span<const float> values, ScaleZero sz, std::span<const float> weights = {}) const;
    int encode(float value, ScaleZero sz) const;
    float decode(int code, ScaleZero sz) const;
    float project(float value, ScaleZero sz) const { return decode(encode(value, sz), sz); }
    /// Encodes many finite values of one group at once; same bits as encode(), vectorised.
    void encode(std::span<const float> values, ScaleZero sz, std::span<std::int16_t> codes) const;
    /// Projects many values of one group; NaN and Inf stay what they are. `target` may be `values`.
    void project(std::span<const float> values, ScaleZero sz, std::span<float> target) const;
    /// One value per (scale, zero) pair: a column of a matrix whose rows have their own parameters. All spans have the same
    /// size.
    void encodeColumn(std::span<const float> values, std::span<const float> scale, std::span<const float> zero,
        std::span<std::int16_t> codes, std::span<float> projected) const;

private:
    UniformGridOptions m_options;
};

/// Integer codes with their scales and zeros: a weight as an export stores it.
///
///   W_hat[r, c] = scale[r, g(c)] * (code[r, c] - zero[r, g(c)]),   g(c) = groupOf[c], or c / group where groupOf is empty.
/// Shapes   codes (rows, cols); scale, zero (rows, groups).
struct QuantizedTensor {
    UniformGridOptions grid;
    Index group = 0; ///< Columns per scale (cols for a whole row).
    BasicMatrix<std::int16_t> codes;
    RowMatrix scale, zero;
    std::vector<std::int32_t> groupOf; ///< Group of each column where columns were reordered (act-order "group").
    bool wholeTensor = false; ///< One range for all: the entries of scale are equal, and those of zero.

    Index rows() const { return codes.rows(); }
    Index cols() const { return codes.cols(); }
    Index groups() const { return scale.cols(); }
    bool empty() const { return codes.empty(); }
    Index groupAt(Index col) const { return groupOf.empty() ? col / group : groupOf[static_cast<std::size_t>(col)]; }
    RowMatrix dequantize(Backend& backend) const; ///< W_hat.
};

/// What a group can be beside a number of columns.
inline constexpr Index kAutoGroup = 0, kWholeRow = -1, kWholeTensor = -2;
/// Columns per scale: the whole row for kWholeRow and kWholeTensor; kAutoGroup is the largest of 128, 64, 32, 16 that divides
/// cols, else the whole row.
/// Error InvalidArgument when group does not divide cols, naming both and the groups that do.
Expected<Index> resolveGroup(Index group, Index cols);

/// Storage of a compressed layer in bits, by what they are for. Nothing is left out.
struct BitsCount {
    double codes = 0, scales = 0, zeros = 0, indices = 0, other = 0;
    Index weights = 0;
    double total() const { return codes + scales + zeros + indices + other; }
    double perWeight() const { return weights ? total() / static_cast<double>(weights) : 0.0; }
};
/// Bits of a QuantizedTensor: b per code, scale type per row and group (once for a whole tensor), b (or 16 on asym-realzero)
/// per zero unless symmetric, 32 per column of groupOf.
BitsCount countBits(const QuantizedTensor& tensor);

/// The one range of a whole matrix. Errors and weights as for fitGrid(). The searches of mse and percentile copy W.
Expected<ScaleZero> fitWholeTensor(
    MatrixView W, const UniformGridOptions& options, Backend& backend, std::span<const float> columnWeights = {});
/// Scales and zeros of every row and group; codes are left at 0. columnWeights: one per column, for the MSE range search, or
/// empty.
/// The ranges of minmax are the backend's; the searches of mse and percentile run on the host's cores.
/// Errors: those of resolveGroup and fit (with row and column of the first bad value); Mismatch for a wrong number of weights.
Expected<QuantizedTensor> fitGrid(
    MatrixView W, Index group, const UniformGridOptions& options, Backend& backend, std::span<const float> columnWeights = {});
/// Codes of W (finite) on the scales and zeros that `tensor` already has; groupOf is followed.
void encodeNearest(MatrixView W, QuantizedTensor& tensor, Backend& backend);
/// Round to nearest of a whole matrix: fitGrid, then encodeNearest.
/// Cost   4096 x 4096 at 4 bits in groups of 128: about memory bandwidth with minmax; 80 times the arithmetic with mse.
Expected<QuantizedTensor> quantizeNearest(
    MatrixView W, Index group, const UniformGridOptions& options, Backend& backend, std::span<const float> columnWeights = {});

/// What shares a scale. A tensor is what one forward pass of one sequence hands to the layer: no window's result depends on
/// which others are computed beside it.
enum class ActivationGranularity { Tensor, Token, TokenGroup };

/// Simulated quantization of a layer's input.
struct ActivationGridOptions {
    int bits = 8;
    GridId grid = GridId::SymRestricted;
    ActivationGranularity granularity = ActivationGranularity::Token;
    Index group = 0; ///< Token-group: channels per scale.
    bool dynamic = true; ///< False: `range` was fitted beforehand (tensor granularity).
    double clip = 1.0; ///< Factor on the range.
    float lo = 0, hi = 0; ///< Static range.
    UniformGridOptions uniform() const; ///< Of its codes. Scales stay float32: they exist only at run time.
};
/// The scales and zeros that quantizeActivations() gives to tokens.
struct ActivationScales {
    RowMatrix scale, zero; ///< (tokens, groups).
    Index group = 0; ///< Channels per scale.
    Index ranges = 0; ///< Different ones: 1 where it is static, else of windows, tokens or groups.
};
/// x holds one or several windows of `window` tokens each (the last may be short); 0: all of x is one. A dynamic per-tensor
/// range is that of a window.
/// Shapes   x (tokens, channels), not empty.
ActivationScales fitActivations(MatrixView x, const ActivationGridOptions& options, Index window, Backend& backend);
/// Fake-quantizes x (tokens, channels) in place. Scales are kept in float32 (they exist only at run time). NaN and Inf stay
/// what they are and do not count for a dynamic range. Static ranges are for the whole tensor, whatever the granularity.
/// Token-group: the last group of a token may be short; group < 1 means the whole token. Windows as for fitActivations().
/// Threads   several are used; the same bits for any number.
void quantizeActivations(MutMatrixView x, const ActivationGridOptions& options, Index window, Backend& backend);

} // namespace qs::quant
