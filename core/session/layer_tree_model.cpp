// SPDX-License-Identifier: Apache-2.0
#include "core/session/layer_tree_model.h"

#include "core/session/format_number.h"
#include "core/session/session_document.h"

#include <QRegularExpression>

#include <algorithm>
#include <cmath>

namespace qs::session {

namespace {

constexpr quintptr kBlockId = 0; ///< Internal id of block rows; layers carry their row + 1.

bool isCompared(int column)
{
    return column >= LayerTreeModel::FirstCompared;
}

bool isNumber(int column)
{
    return (column >= LayerTreeModel::Bits && column <= LayerTreeModel::LostBits) || column == LayerTreeModel::Size
        || isCompared(column);
}

/// Shares that are shown in percent, and of which a block shows the worst.
bool isError(int column)
{
    return column == LayerTreeModel::Error || column == LayerTreeModel::Assigned || isCompared(column);
}

QString metricText(int column, double value)
{
    if (std::isnan(value))
        return QStringLiteral("–");
    if (isError(column))
        return QString::number(value * 100, 'f', 2);
    if (column == LayerTreeModel::Bits)
        return QString::number(value, 'f', 2);
    if (column == LayerTreeModel::Outliers)
        return QString::number(value, 'f', 0);
    if (column == LayerTreeModel::Condition && std::isinf(value))
        return QStringLiteral("deficient");
    return numberText(value);
}

} // namespace

QString shortLayerName(const model::LayerSpec& layer)
{
    if (layer.block < 0)
        return QString::fromStdString(layer.name);
    return QStringLiteral("%1.%2").arg(layer.block).arg(QString::fromStdString(layer.module));
}

LayerTreeModel::LayerTreeModel(QObject* parent)
    : QAbstractItemModel(parent)
{
}

void LayerTreeModel::regroup()
{
    m_blocks.clear();
    m_place.assign(m_rows.size(), {0, 0});
    for (std::size_t i = 0; i < m_rows.size(); ++i) {
        if (m_blocks.empty() || m_blocks.back().number != m_rows[i].block)
            m_blocks.push_back({m_rows[i].block, {}});
        m_place[i] = {static_cast<int>(m_blocks.size()) - 1, static_cast<int>(m_blocks.back().rows.size())};
        m_blocks.back().rows.push_back(static_cast<int>(i));
    }
    std::vector<double> errors;
    for (const LayerRow& row : m_rows) {
        if (std::isfinite(row.error) && row.error > 0)
            errors.push_back(row.error);
    }
    m_largestError = errors.empty() ? 0 : *std::max_element(errors.begin(), errors.end());
    m_worstLimit = std::numeric_limits<double>::infinity();
    if (errors.size() >= 3) {
        const auto middle = errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2);
        std::nth_element(errors.begin(), middle, errors.end());
        m_worstLimit = *middle * 3;
    }
}

void LayerTreeModel::setRows(std::vector<LayerRow> rows)
{
    beginResetModel();
    m_rows = std::move(rows);
    regroup();
    endResetModel();
}

void LayerTreeModel::updateRows(std::vector<LayerRow> rows)
{
    const bool same = rows.size() == m_rows.size()
        && std::equal(rows.begin(), rows.end(), m_rows.begin(),
            [](const LayerRow& a, const LayerRow& b) { return a.index == b.index && a.block == b.block; });
    if (!same) {
        setRows(std::move(rows));
        return;
    }
    m_rows = std::move(rows);
    regroup();
    if (m_rows.empty())
        return;
    if (m_mode == Mode::Flat) {
        Q_EMIT dataChanged(index(0, 0), index(static_cast<int>(m_rows.size()) - 1, ColumnCount - 1));
        return;
    }
    for (int block = 0; block < static_cast<int>(m_blocks.size()); ++block) {
        const QModelIndex top = index(block, 0);
        Q_EMIT dataChanged(top, index(block, ColumnCount - 1));
        Q_EMIT dataChanged(index(0, 0, top), index(rowCount(top) - 1, ColumnCount - 1, top));
    }
}

void LayerTreeModel::setMode(Mode mode)
{
    if (mode == m_mode)
        return;
    beginResetModel();
    m_mode = mode;
    endResetModel();
}

void LayerTreeModel::setErrorKind(ErrorKind kind)
{
    if (kind == m_errorKind)
        return;
    m_errorKind = kind;
    Q_EMIT headerDataChanged(Qt::Horizontal, Error, Error);
}

void LayerTreeModel::setBrief(bool brief)
{
    if (brief == m_brief)
        return;
    m_brief = brief;
    Q_EMIT headerDataChanged(Qt::Horizontal, Error, Error);
}

void LayerTreeModel::setCompared(const QStringList& labels, bool outputErrors)
{
    m_compared = labels;
    m_comparedOutput = outputErrors;
    Q_EMIT headerDataChanged(Qt::Horizontal, Assigned, Assigned);
    Q_EMIT headerDataChanged(Qt::Horizontal, FirstCompared, ColumnCount - 1);
}

QModelIndex LayerTreeModel::indexOf(model::LayerIndex layer, int column) const
{
    for (std::size_t i = 0; i < m_rows.size(); ++i) {
        if (m_rows[i].index != layer)
            continue;
        if (m_mode == Mode::Flat)
            return createIndex(static_cast<int>(i), column, static_cast<quintptr>(i + 1));
        return createIndex(m_place[i].second, column, static_cast<quintptr>(i + 1));
    }
    return {};
}

QModelIndex LayerTreeModel::index(int row, int column, const QModelIndex& parent) const
{
    if (!hasIndex(row, column, parent))
        return {};
    if (m_mode == Mode::Flat)
        return createIndex(row, column, static_cast<quintptr>(row + 1));
    if (!parent.isValid())
        return createIndex(row, column, kBlockId);
    const int layer = m_blocks[static_cast<std::size_t>(parent.row())].rows[static_cast<std::size_t>(row)];
    return createIndex(row, column, static_cast<quintptr>(layer + 1));
}

QModelIndex LayerTreeModel::parent(const QModelIndex& child) const
{
    if (!child.isValid() || m_mode == Mode::Flat || child.internalId() == kBlockId)
        return {};
    return createIndex(m_place[child.internalId() - 1].first, 0, kBlockId);
}

int LayerTreeModel::rowCount(const QModelIndex& parent) const
{
    if (m_mode == Mode::Flat)
        return parent.isValid() ? 0 : static_cast<int>(m_rows.size());
    if (!parent.isValid())
        return static_cast<int>(m_blocks.size());
    if (parent.internalId() != kBlockId || parent.column() != 0)
        return 0;
    return static_cast<int>(m_blocks[static_cast<std::size_t>(parent.row())].rows.size());
}

int LayerTreeModel::columnCount(const QModelIndex& /*parent*/) const
{
    return ColumnCount;
}

double LayerTreeModel::value(const LayerRow& row, int column) const
{
    switch (column) {
    case Bits: return row.bits;
    case Error: return row.error;
    case Assigned: return row.assigned;
    case Outliers: return row.outliers;
    case MaxOverMedian: return row.maxOverMedian;
    case Kurtosis: return row.kurtosis;
    case TokensPerChannel: return row.tokensPerChannel;
    case Condition: return row.condition;
    case Qsur: return row.qsur;
    case LostBits: return row.lostBits;
    case Size: return row.bytes;
    default: break;
    }
    return isCompared(column) ? row.compared[static_cast<std::size_t>(column - FirstCompared)]
                              : std::numeric_limits<double>::quiet_NaN();
}

double LayerTreeModel::worst(const std::vector<int>& rows, int column) const
{
    double result = std::numeric_limits<double>::quiet_NaN();
    for (const int i : rows) {
        const double v = value(m_rows[static_cast<std::size_t>(i)], column);
        if (!std::isnan(v) && (std::isnan(result) || v > result))
            result = v;
    }
    return result;
}

QVariant LayerTreeModel::data(const QModelIndex& index, int role) const
{
    if (!checkIndex(index, CheckIndexOption::IndexIsValid))
        return {};
    if (role == Qt::TextAlignmentRole)
        return QVariant::fromValue((isNumber(index.column()) ? Qt::AlignRight : Qt::AlignLeft) | Qt::AlignVCenter);
    if (index.internalId() == kBlockId)
        return blockData(static_cast<std::size_t>(index.row()), index.column(), role);
    return layerData(m_rows[index.internalId() - 1], index.column(), role);
}

QVariant LayerTreeModel::layerData(const LayerRow& row, int column, int role) const
{
    switch (role) {
    case LayerRole: return row.index;
    case BlockRole: return row.block;
    case NameRole: return row.name;
    case WorstRole: return column == Error && row.error > m_worstLimit;
    case BarRole: return column == Error && row.error > 0 && m_largestError > 0 ? row.error / m_largestError : 0.0;
    case OutlierRole: return std::isnan(row.outliers) ? 0 : static_cast<int>(row.outliers);
    case Qt::ToolTipRole: {
        QString tip = QStringLiteral("%1\n%2 → %3, stored %4, %5")
                          .arg(row.name, integerText(row.in), integerText(row.out), row.dtype, bytesText(row.bytes));
        if (row.outliers > 0)
            tip += QStringLiteral("\n%1 outlier channels: max |x| ≥ 6").arg(static_cast<int>(row.outliers));
        return row.note.isEmpty() ? tip : tip + u'\n' + row.note;
    }
    case SortRole:
        switch (column) {
        case Layer: return row.index;
        case Pipeline: return row.pipeline;
        case Shape: return static_cast<qlonglong>(row.in * row.out);
        case Type: return row.dtype;
        default: return value(row, column);
        }
    case Qt::DisplayRole: break;
    default: return {};
    }
    switch (column) {
    case Layer: return m_mode == Mode::Flat ? row.shortName : row.shortName.section(u'.', row.block >= 0 ? 1 : 0);
    case Pipeline: return row.pipeline.isEmpty() ? QStringLiteral("–") : row.pipeline;
    case Shape: return QStringLiteral("%1 → %2").arg(row.in).arg(row.out);
    case Type: return row.dtype;
    case Size: return bytesText(row.bytes);
    default: return metricText(column, value(row, column));
    }
}

QVariant LayerTreeModel::blockData(std::size_t position, int column, int role) const
{
    const Block& block = m_blocks[position];
    switch (role) {
    case LayerRole: return -1;
    case BlockRole: return block.number;
    case NameRole: return {};
    case WorstRole: return false;
    case BarRole: return column == Error && m_largestError > 0 ? std::max(0.0, worst(block.rows, Error) / m_largestError) : 0.0;
    case SortRole: return column == Layer ? QVariant(block.number) : QVariant(worst(block.rows, column));
    case Qt::ToolTipRole: return isError(column) ? QVariant(QStringLiteral("the worst layer of the block")) : QVariant();
    case Qt::DisplayRole: break;
    default: return {};
    }
    if (isError(column)) {
        const double v = worst(block.rows, column);
        return std::isnan(v) ? QStringLiteral("–") : QStringLiteral("max %1").arg(metricText(column, v));
    }
    switch (column) {
    case Layer: return block.number < 0 ? QStringLiteral("outside the blocks") : QStringLiteral("block %1").arg(block.number);
    case Size: {
        double bytes = 0;
        for (const int i : block.rows)
            bytes += m_rows[static_cast<std::size_t>(i)].bytes;
        return bytesText(bytes);
    }
    default: return {};
    }
}

QVariant LayerTreeModel::headerData(int section, Qt::Orientation orientation, int role) const
{
    if (orientation != Qt::Horizontal)
        return {};
    if (role == Qt::TextAlignmentRole)
        return QVariant::fromValue((isNumber(section) ? Qt::AlignRight : Qt::AlignLeft) | Qt::AlignVCenter);
    if (role == Qt::ToolTipRole) {
        switch (section) {
        case Bits:
            return QStringLiteral(
                "Effective bits per weight, scales and zeros included; of the assigned pipeline, else as stored");
        case Error:
            return m_errorKind == ErrorKind::Weight
                ? QStringLiteral(
                    "Weight error Σ dW² / Σ W² of rtn(bits=4, group=auto, grid=asym-0); needs no data. It screens; "
                    "it does not rank impact. The bar compares it with the largest")
                : QStringLiteral(
                    "Output error tr(dW C dWᵀ) / tr(W C Wᵀ) of rtn(bits=4, group=auto, grid=asym-0), C of the "
                    "holdout. It screens; it does not rank impact. The bar compares it with the largest. The cards "
                    "of Compare have the grids of their pipelines");
        case Assigned:
            return !m_comparedOutput
                ? QStringLiteral("Weight error Σ dW² / Σ W² of the assigned pipeline")
                : QStringLiteral("Output error tr(dW C dWᵀ) / tr(W C Wᵀ) of the assigned pipeline, C of the holdout");
        case Outliers: return QStringLiteral("Input channels with max |x| ≥ 6 (LLM.int8 criterion)");
        case MaxOverMedian: return QStringLiteral("Largest channel max |x| of the input / median of all channels");
        case Kurtosis: return QStringLiteral("m4 / m2² of the inputs, centred by channel and pooled; a Gaussian has 3");
        case TokensPerChannel: return QStringLiteral("Calibration tokens / input channels; below 1 the Hessian is singular");
        case Condition: return QStringLiteral("λ max / λ min of C = Σ x xᵀ / tokens, undamped; without dead channels");
        case Qsur: return QStringLiteral("r = (V(ellipsoid) / V(box))^(1/d) of the inputs: see the QSUR view");
        case LostBits: return QStringLiteral("Bits per channel that the inputs lose to the box around them: see the QSUR view");
        default: break;
        }
        if (const int i = section - FirstCompared; isCompared(section) && i < m_compared.size())
            return QStringLiteral("%1, of pipeline %2 over all layers: %3")
                .arg(m_comparedOutput ? QStringLiteral("tr(dW C dWᵀ) / tr(W C Wᵀ), C of the holdout")
                                      : QStringLiteral("Σ dW² / Σ W²"),
                    pipelineLetter(static_cast<std::size_t>(i)), m_compared[i]);
        return {};
    }
    if (role != Qt::DisplayRole)
        return {};
    switch (section) {
    case Layer: return QStringLiteral("Layer");
    case Pipeline: return QStringLiteral("Pipeline");
    case Bits: return QStringLiteral("Bits");
    case Error: {
        const QString title = m_brief ? QStringLiteral("RTN") : QStringLiteral("RTN asym-0,");
        return title
            + (m_errorKind == ErrorKind::Weight ? QStringLiteral(" wt, %")
                    : m_brief                   ? QStringLiteral(", %")
                                                : QStringLiteral(" %"));
    }
    case Assigned: return m_comparedOutput ? QStringLiteral("Assigned, %") : QStringLiteral("Assigned wt, %");
    case Outliers: return QStringLiteral("Outliers");
    case MaxOverMedian: return QStringLiteral("Max / median");
    case Kurtosis: return QStringLiteral("Kurtosis");
    case TokensPerChannel: return QStringLiteral("Tokens / channel");
    case Condition: return QStringLiteral("Condition");
    case Qsur: return QStringLiteral("QSUR r");
    case LostBits: return QStringLiteral("Lost bits");
    case Shape: return QStringLiteral("In → out");
    case Type: return QStringLiteral("Type");
    case Size: return QStringLiteral("Size");
    default: return QStringLiteral("%1, %").arg(pipelineLetter(static_cast<std::size_t>(section - FirstCompared)));
    }
}

LayerFilterModel::LayerFilterModel(QObject* parent)
    : QSortFilterProxyModel(parent)
{
    setRecursiveFilteringEnabled(true);
    setSortRole(LayerTreeModel::SortRole);
}

QString LayerFilterModel::setFilterText(const QString& text)
{
    static const QRegularExpression range(QStringLiteral("^(\\d+)(?:-(\\d+))?$"));
    static const QRegularExpression type(
        QStringLiteral("^(f16|f32|f64|bf16|i?q\\d\\w*|f8\\w*|mxfp4|packed)$"), QRegularExpression::CaseInsensitiveOption);
    std::vector<std::pair<int, int>> ranges;
    QStringList types;
    QList<QRegularExpression> patterns;
    const QStringList words = text.simplified().split(u' ', Qt::SkipEmptyParts);
    for (const QString& word : words) {
        if (const auto match = range.match(word); match.hasMatch()) {
            const int lo = match.captured(1).toInt();
            ranges.emplace_back(lo, match.captured(2).isEmpty() ? lo : match.captured(2).toInt());
        } else if (type.match(word).hasMatch()) {
            types << word.toUpper();
        } else {
            const QRegularExpression pattern(word, QRegularExpression::CaseInsensitiveOption);
            if (!pattern.isValid())
                return QStringLiteral("%1: %2").arg(word, pattern.errorString());
            patterns << pattern;
        }
    }
    m_text = text;
    m_ranges = std::move(ranges);
    m_types = types;
    m_patterns = patterns;
    invalidateFilter();
    return {};
}

QVariant LayerFilterModel::headerData(int section, Qt::Orientation orientation, int role) const
{
    const QVariant title = QSortFilterProxyModel::headerData(section, orientation, role);
    if (orientation != Qt::Horizontal || role != Qt::DisplayRole || section != sortColumn())
        return title;
    return title.toString() + (sortOrder() == Qt::DescendingOrder ? QStringLiteral(" ▾") : QStringLiteral(" ▴"));
}

bool LayerFilterModel::filterAcceptsRow(int row, const QModelIndex& parent) const
{
    const QModelIndex index = sourceModel()->index(row, 0, parent);
    if (index.data(LayerTreeModel::LayerRole).toInt() < 0)
        return m_ranges.empty() && m_types.isEmpty() && m_patterns.isEmpty(); // else a block shows when one of its layers does
    const int block = index.data(LayerTreeModel::BlockRole).toInt();
    if (!m_ranges.empty() && std::none_of(m_ranges.begin(), m_ranges.end(), [block](const auto& r) {
            return block >= r.first && block <= r.second;
        }))
        return false;
    if (!m_types.isEmpty() && !m_types.contains(index.siblingAtColumn(LayerTreeModel::Type).data().toString().toUpper()))
        return false;
    const QString name = index.data(LayerTreeModel::NameRole).toString();
    return std::all_of(
        m_patterns.begin(), m_patterns.end(), [&](const QRegularExpression& p) { return p.match(name).hasMatch(); });
}

bool LayerFilterModel::lessThan(const QModelIndex& left, const QModelIndex& right) const
{
    const QVariant a = left.data(LayerTreeModel::SortRole);
    const QVariant b = right.data(LayerTreeModel::SortRole);
    if (a.metaType().id() == QMetaType::Double && b.metaType().id() == QMetaType::Double) {
        // Unknown values sort below every number, and ties keep the order of the model.
        const double x = std::isnan(a.toDouble()) ? -1.0 : a.toDouble();
        const double y = std::isnan(b.toDouble()) ? -1.0 : b.toDouble();
        if (x != y)
            return x < y;
        return left.row() > right.row();
    }
    return QSortFilterProxyModel::lessThan(left, right);
}

} // namespace qs::session
