// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/model/model_spec.h"

#include <QAbstractItemModel>
#include <QRegularExpression>
#include <QSortFilterProxyModel>

#include <array>
#include <limits>
#include <vector>

namespace qs::session {

inline constexpr int kComparedColumns = 8; ///< Pipelines beyond are not columns of the tree.

/// One layer as the tree shows it. NaN: not known yet.
struct LayerRow {
    model::LayerIndex index = -1;
    QString name; ///< Full Hugging Face name.
    QString shortName; ///< "28.mlp.down_proj".
    int block = -1;
    Index in = 0, out = 0;
    QString dtype;
    double bytes = 0;
    QString pipeline; ///< Label of the assigned pipeline; empty: stays as it is.
    double bits = std::numeric_limits<double>::quiet_NaN(); ///< Effective bits per weight, as stored or as assigned.
    double error = std::numeric_limits<double>::quiet_NaN(); ///< Of 4-bit RTN (asym-0, automatic group): see setErrorKind.
    double assigned = std::numeric_limits<double>::quiet_NaN(); ///< Error of the assigned pipeline; not of untouched layers.
    QString note; ///< Why there is no error: for the tip.
    double outliers = std::numeric_limits<double>::quiet_NaN(); ///< Input channels with max |x| >= 6.
    double maxOverMedian = std::numeric_limits<double>::quiet_NaN(); ///< Of the input channels' max |x|.
    double kurtosis = std::numeric_limits<double>::quiet_NaN(); ///< Of the inputs, centred and pooled.
    double tokensPerChannel = std::numeric_limits<double>::quiet_NaN(); ///< Calibration tokens / input channels.
    double condition
        = std::numeric_limits<double>::quiet_NaN(); ///< Of the live part of C, undamped; infinite where it is deficient.
    double qsur = std::numeric_limits<double>::quiet_NaN(); ///< r of the inputs.
    double lostBits = std::numeric_limits<double>::quiet_NaN(); ///< Per channel, of the inputs.
    /// Error under the compared pipelines A, B, C ... where they were run over all layers.
    std::array<double, kComparedColumns> compared = [] {
        std::array<double, kComparedColumns> none{};
        none.fill(std::numeric_limits<double>::quiet_NaN());
        return none;
    }();
};

/// What the column of RTN errors means for every row at once, so that numbers down the column compare.
enum class ErrorKind { Weight, Output };

/// Layers as a flat list or grouped by block.
class LayerTreeModel : public QAbstractItemModel {
    Q_OBJECT
public:
    enum Column {
        Layer,
        Pipeline,
        Bits,
        Error,
        Assigned,
        Outliers,
        MaxOverMedian,
        Kurtosis,
        TokensPerChannel,
        Condition,
        Qsur,
        LostBits,
        Shape,
        Type,
        Size,
        FirstCompared,
        ColumnCount = FirstCompared + kComparedColumns
    };
    /// Columns that need the spectrum of each layer's input: Workbench::measureSpectra() fills them.
    static bool needsSpectra(int column) { return column == Condition || column == Qsur || column == LostBits; }
    /// BarRole: error of the row / largest error, 0..1. OutlierRole: outlier channels of the input, 0 when unknown.
    enum Role { SortRole = Qt::UserRole + 1, LayerRole, BlockRole, NameRole, WorstRole, BarRole, OutlierRole };
    enum class Mode { Flat, Blocks };

    explicit LayerTreeModel(QObject* parent = nullptr);

    void setRows(std::vector<LayerRow> rows); ///< In the order of the model.
    void updateRows(std::vector<LayerRow> rows); ///< Same layers, new values: selection and expansion stay.
    void setMode(Mode mode);
    Mode mode() const { return m_mode; }
    void setErrorKind(ErrorKind kind);
    void setBrief(bool brief); ///< Shorter titles, where many columns stand side by side; the tips say the rest.
    ErrorKind errorKind() const { return m_errorKind; }
    /// Labels of the compared pipelines, for the columns' tips; `outputErrors`: their numbers and those of the assigned
    /// pipelines are output errors, else weight errors.
    void setCompared(const QStringList& labels, bool outputErrors);
    int comparedCount() const { return static_cast<int>(std::min<qsizetype>(m_compared.size(), kComparedColumns)); }
    const std::vector<LayerRow>& rows() const { return m_rows; }
    QModelIndex indexOf(model::LayerIndex layer, int column = 0) const;

    QModelIndex index(int row, int column, const QModelIndex& parent = {}) const override;
    QModelIndex parent(const QModelIndex& child) const override;
    int rowCount(const QModelIndex& parent = {}) const override;
    int columnCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
    QVariant headerData(int section, Qt::Orientation orientation, int role = Qt::DisplayRole) const override;

private:
    QVariant layerData(const LayerRow& row, int column, int role) const;
    QVariant blockData(std::size_t block, int column, int role) const;
    double worst(const std::vector<int>& rows, int column) const;
    double value(const LayerRow& row, int column) const;
    void regroup();

    struct Block {
        int number = -1;
        std::vector<int> rows;
    };
    std::vector<LayerRow> m_rows;
    std::vector<Block> m_blocks;
    std::vector<std::pair<int, int>> m_place; ///< Of each row: block position and place in it.
    Mode m_mode = Mode::Flat;
    ErrorKind m_errorKind = ErrorKind::Weight;
    QStringList m_compared;
    bool m_comparedOutput = false;
    double m_largestError = 0;
    bool m_brief = false;
    double m_worstLimit
        = std::numeric_limits<double>::infinity(); ///< Errors above are drawn as trouble: three times the median.
};

/// Filters by words that must all hold: a block number or range ("3", "0-5"), a storage type ("bf16"), or a regular expression
/// on the name.
class LayerFilterModel : public QSortFilterProxyModel {
    Q_OBJECT
public:
    explicit LayerFilterModel(QObject* parent = nullptr);
    /// Returns an empty text, or why the filter cannot be read (the old filter stays).
    QString setFilterText(const QString& text);
    QString filterText() const { return m_text; }
    /// The sorted column carries an arrow in its title.
    QVariant headerData(int section, Qt::Orientation orientation, int role = Qt::DisplayRole) const override;

protected:
    bool filterAcceptsRow(int row, const QModelIndex& parent) const override;
    bool lessThan(const QModelIndex& left, const QModelIndex& right) const override;

private:
    QString m_text;
    std::vector<std::pair<int, int>> m_ranges;
    QStringList m_types;
    QList<QRegularExpression> m_patterns;
};

/// "28.mlp.down_proj" for "model.layers.28.mlp.down_proj".
QString shortLayerName(const model::LayerSpec& layer);

} // namespace qs::session
