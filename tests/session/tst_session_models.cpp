// SPDX-License-Identifier: Apache-2.0
#include "core/session/format_number.h"
#include "core/session/layer_tree_model.h"
#include "core/session/message_model.h"
#include "core/session/metric_table_model.h"
#include "core/session/selection_model.h"

#include <QAbstractItemModelTester>
#include <QSignalSpy>
#include <QTest>

#include <cmath>

using namespace qs;
using namespace qs::session;

namespace {

std::vector<LayerRow> sampleRows()
{
    std::vector<LayerRow> rows;
    const char* modules[] = {"self_attn.q_proj", "mlp.down_proj"};
    const double errors[] = {0.01, 0.05, 0.02, std::nan(""), 0.03, 0.90};
    for (int block = 0; block < 3; ++block) {
        for (int m = 0; m < 2; ++m) {
            LayerRow row;
            row.index = block * 2 + m;
            row.block = block;
            row.name = QStringLiteral("model.layers.%1.%2").arg(block).arg(QLatin1String(modules[m]));
            row.shortName = QStringLiteral("%1.%2").arg(block).arg(QLatin1String(modules[m]));
            row.dtype = block == 0 ? QStringLiteral("BF16") : QStringLiteral("Q4_1");
            row.in = 8;
            row.out = 4;
            row.bytes = 64;
            row.bits = 16;
            row.error = errors[row.index];
            rows.push_back(row);
        }
    }
    return rows;
}

QStringList names(const QAbstractItemModel& model, const QModelIndex& parent = {})
{
    QStringList list;
    for (int row = 0; row < model.rowCount(parent); ++row) {
        const QModelIndex index = model.index(row, 0, parent);
        list << index.data().toString();
        list << names(model, index);
    }
    return list;
}

} // namespace

class TestSessionModels : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void flatListSortsWorstFirst()
    {
        LayerTreeModel model;
        QAbstractItemModelTester tester(&model);
        LayerFilterModel proxy;
        proxy.setSourceModel(&model);
        QAbstractItemModelTester proxyTester(&proxy);
        model.setRows(sampleRows());
        proxy.sort(LayerTreeModel::Error, Qt::DescendingOrder);
        // NaN is unknown: it goes last, not first.
        QCOMPARE(names(proxy),
            (QStringList{"2.mlp.down_proj", "0.mlp.down_proj", "2.self_attn.q_proj", "1.self_attn.q_proj", "0.self_attn.q_proj",
                "1.mlp.down_proj"}));
        QVERIFY(proxy.index(0, LayerTreeModel::Error).data(LayerTreeModel::WorstRole).toBool()); // 0.90 is over three medians
        QVERIFY(!proxy.index(1, LayerTreeModel::Error).data(LayerTreeModel::WorstRole).toBool());
        QCOMPARE(proxy.index(0, LayerTreeModel::Error).data().toString(), QStringLiteral("90.00"));
        QCOMPARE(proxy.index(5, LayerTreeModel::Error).data().toString(), QStringLiteral("–"));
    }

    void sortsByAnyMetric()
    {
        LayerTreeModel model;
        LayerFilterModel proxy;
        proxy.setSourceModel(&model);
        auto rows = sampleRows();
        for (LayerRow& row : rows) {
            row.kurtosis = 3.0 + row.index;
            row.tokensPerChannel = 10.0 - row.index;
            row.qsur = 0.5 / (1 + row.index);
            row.condition = row.index == 2 ? std::numeric_limits<double>::infinity() : 1e3 * (1 + row.index);
            row.compared[1] = row.index == 4 ? std::nan("") : 0.1 * row.index;
        }
        model.setRows(rows);
        model.setCompared({QStringLiteral("rtn 4 bit"), QStringLiteral("gptq 4 bit")}, true);
        QCOMPARE(model.comparedCount(), 2);
        const auto first = [&](int column, Qt::SortOrder order = Qt::DescendingOrder) {
            proxy.sort(column, order);
            return proxy.index(0, LayerTreeModel::Layer).data(LayerTreeModel::LayerRole).toInt();
        };
        QCOMPARE(first(LayerTreeModel::Kurtosis), 5);
        QCOMPARE(first(LayerTreeModel::TokensPerChannel), 0);
        QCOMPARE(first(LayerTreeModel::TokensPerChannel, Qt::AscendingOrder), 5);
        QCOMPARE(first(LayerTreeModel::Qsur), 0);
        QCOMPARE(first(LayerTreeModel::Condition), 2); // deficient is worse than every number
        QCOMPARE(proxy.index(0, LayerTreeModel::Condition).data().toString(), QStringLiteral("deficient"));
        QCOMPARE(first(LayerTreeModel::FirstCompared + 1), 5);
        QCOMPARE(proxy.index(0, LayerTreeModel::FirstCompared + 1).data().toString(), QStringLiteral("50.00"));
        QCOMPARE(proxy.index(5, LayerTreeModel::FirstCompared + 1).data().toString(), QStringLiteral("–"));
        QCOMPARE(model.headerData(LayerTreeModel::FirstCompared + 1, Qt::Horizontal).toString(), QStringLiteral("B, %"));
        const QString tip = model.headerData(LayerTreeModel::FirstCompared + 1, Qt::Horizontal, Qt::ToolTipRole).toString();
        QVERIFY2(tip.contains(QStringLiteral("gptq 4 bit")) && tip.contains(QStringLiteral("holdout")), qPrintable(tip));
        for (int column = 0; column < LayerTreeModel::ColumnCount; ++column)
            QVERIFY(!model.headerData(column, Qt::Horizontal).toString().isEmpty());
    }

    void blocksGroupAndKeepIndexes()
    {
        LayerTreeModel model;
        QAbstractItemModelTester tester(&model);
        model.setRows(sampleRows());
        model.setMode(LayerTreeModel::Mode::Blocks);
        QCOMPARE(model.rowCount(), 3);
        QCOMPARE(model.index(1, 0).data().toString(), QStringLiteral("block 1"));
        const QModelIndex layer = model.indexOf(5);
        QCOMPARE(layer.parent().row(), 2);
        QCOMPARE(layer.data(LayerTreeModel::NameRole).toString(), QStringLiteral("model.layers.2.mlp.down_proj"));
        QCOMPARE(model.indexOf(5, LayerTreeModel::Error).data(LayerTreeModel::BarRole).toDouble(), 1.0);
        QCOMPARE(model.indexOf(1, LayerTreeModel::Error).data(LayerTreeModel::BarRole).toDouble(), 0.05 / 0.90);
        QCOMPARE(model.indexOf(3, LayerTreeModel::Error).data(LayerTreeModel::BarRole).toDouble(), 0.0); // not known
        QCOMPARE(model.index(2, LayerTreeModel::Error).data().toString(), QStringLiteral("max 90.00"));
    }

    void updateKeepsTheStructure()
    {
        LayerTreeModel model;
        model.setRows(sampleRows());
        QSignalSpy reset(&model, &QAbstractItemModel::modelReset);
        QSignalSpy changed(&model, &QAbstractItemModel::dataChanged);
        auto rows = sampleRows();
        rows[3].error = 0.5;
        model.updateRows(rows);
        QCOMPARE(reset.size(), 0);
        QCOMPARE(changed.size(), 1);
        rows.pop_back();
        model.updateRows(rows);
        QCOMPARE(reset.size(), 1);
    }

    void filter_data()
    {
        QTest::addColumn<QString>("text");
        QTest::addColumn<int>("layers");
        QTest::newRow("nothing") << "" << 6;
        QTest::newRow("regex") << "down_proj$" << 3;
        QTest::newRow("block") << "1" << 2;
        QTest::newRow("range") << "0-1" << 4;
        QTest::newRow("type") << "bf16" << 2;
        QTest::newRow("all of them") << "0-1 q4_1 mlp" << 1;
        QTest::newRow("case") << "Q_PROJ" << 3;
    }
    void filter()
    {
        QFETCH(QString, text);
        QFETCH(int, layers);
        LayerTreeModel model;
        LayerFilterModel proxy;
        proxy.setSourceModel(&model);
        model.setRows(sampleRows());
        QCOMPARE(proxy.setFilterText(text), QString());
        QCOMPARE(proxy.rowCount(), layers);
        model.setMode(LayerTreeModel::Mode::Blocks);
        int inBlocks = 0;
        for (int row = 0; row < proxy.rowCount(); ++row)
            inBlocks += proxy.rowCount(proxy.index(row, 0));
        QCOMPARE(inBlocks, layers);
    }

    void brokenFilterKeepsTheOldOne()
    {
        LayerTreeModel model;
        LayerFilterModel proxy;
        proxy.setSourceModel(&model);
        model.setRows(sampleRows());
        QVERIFY(proxy.setFilterText(QStringLiteral("down")).isEmpty());
        const QString problem = proxy.setFilterText(QStringLiteral("("));
        QVERIFY(problem.startsWith(u'('));
        QCOMPARE(proxy.rowCount(), 3);
    }

    void metricTable()
    {
        MetricTableModel model;
        QAbstractItemModelTester tester(&model);
        model.set({{"name", {}, MetricColumn::Kind::Text}, {"error", "formula", MetricColumn::Kind::Percent}},
            {{QStringLiteral("a,b"), 0.0231}, {QStringLiteral("c"), QVariant()}}, {7, 8});
        QCOMPARE(model.index(0, 1).data().toString(), QStringLiteral("2.31 %"));
        QCOMPARE(model.index(1, 1).data().toString(), QStringLiteral("–"));
        QCOMPARE(model.index(1, 0).data(MetricTableModel::KeyRole).toInt(), 8);
        QCOMPARE(model.headerData(1, Qt::Horizontal, Qt::ToolTipRole).toString(), QStringLiteral("formula"));
        QCOMPARE(model.toCsv(), QStringLiteral("name,error\n\"a,b\",0.023099999999999999\nc,\n"));
    }

    void numbers_data()
    {
        QTest::addColumn<double>("value");
        QTest::addColumn<QString>("text");
        QTest::newRow("three digits") << 0.019234 << "0.0192";
        QTest::newRow("large") << 29184.4 << "29,184";
        QTest::newRow("rounded up to the next digit") << 0.9996 << "1.00";
        QTest::newRow("rounded up to a hundred") << 99.97 << "100";
        QTest::newRow("small") << 1.2345e-7 << "1.23e-07";
        QTest::newRow("zero") << 0.0 << "0";
        QTest::newRow("nan") << std::nan("") << "–";
        QTest::newRow("inf") << -std::numeric_limits<double>::infinity() << "-inf";
    }
    void numbers()
    {
        QFETCH(double, value);
        QFETCH(QString, text);
        QCOMPARE(numberText(value), text);
    }

    void bytesAndCounts()
    {
        QCOMPARE(bytesText(113e6), QStringLiteral("113 MB"));
        QCOMPARE(bytesText(950), QStringLiteral("950 B"));
        QCOMPARE(countText(134515008), QStringLiteral("134.5 M"));
    }

    void messagesNewestFirst()
    {
        MessageModel model;
        QAbstractItemModelTester tester(&model);
        QSignalSpy added(&model, &MessageModel::added);
        model.add(Message::Severity::Info, QStringLiteral("one"));
        model.add(Error{Errc::Format, "broken\nheader", "a.gguf", "download it again"});
        QCOMPARE(added.size(), 2);
        QCOMPARE(model.index(0).data().toString(), QStringLiteral("a.gguf: broken header (download it again)"));
        QVERIFY(!model.index(0).data().toString().contains(u'\n'));
    }

    void selectionTellsItsOrigin()
    {
        SelectionModel selection;
        QObject origin;
        QObject* told = nullptr;
        int count = 0;
        connect(&selection, &SelectionModel::changed, this, [&](const SelectionState& state, QObject* from) {
            ++count;
            told = from;
            QCOMPARE(state, selection.state());
        });
        selection.selectLayer(3, &origin);
        QCOMPARE(told, &origin);
        selection.selectChannel(17, nullptr);
        QCOMPARE(selection.state().channel, Index{17});
        selection.selectLayer(3, &origin); // the same layer keeps the channel
        QCOMPARE(selection.state().channel, Index{17});
        QCOMPARE(count, 2);
        selection.selectLayer(4, &origin);
        QCOMPARE(selection.state().channel, Index{-1});
    }
};

QTEST_GUILESS_MAIN(TestSessionModels)
#include "tst_session_models.moc"
