// SPDX-License-Identifier: Apache-2.0
#include "plugins/example/example.h"

#include "core/exec/parallel.h"

#include <QtTest>
#include <algorithm>
#include <cstring>

using namespace qs;

class ExampleTest : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase() { QVERIFY(plugins::registerExample(m_registry)); }
    void cleanup() { setThreadCount(m_threads); }

    void everyRowLosesTheSameNumber_data()
    {
        QTest::addColumn<double>("sparsity");
        QTest::addColumn<int>("pruned");
        QTest::addRow("none") << 0.0 << 0;
        QTest::addRow("some") << 0.3 << 12;
        QTest::addRow("half") << 0.5 << 20;
        QTest::addRow("all") << 1.0 << 40;
    }
    void everyRowLosesTheSameNumber()
    {
        QFETCH(double, sparsity);
        QFETCH(int, pruned);
        const auto plan = mask(sparsity, 7);
        QVERIFY2(plan, plan ? "" : plan.error().line().c_str());
        for (Index r = 0; r < plan->keep.rows(); ++r) {
            const auto row = plan->keep.row(r);
            QCOMPARE(std::count(row.begin(), row.end(), std::uint8_t{0}), std::ptrdiff_t{pruned});
        }
    }

    void seedDecides()
    {
        const auto a = mask(0.5, 1);
        const auto b = mask(0.5, 1);
        const auto c = mask(0.5, 2);
        QVERIFY(a && b && c);
        QVERIFY(same(*a, *b));
        QVERIFY(!same(*a, *c));
        // Every column is hit about half of the time: 200 rows, 5 standard deviations.
        for (Index col = 0; col < 40; ++col) {
            Index kept = 0;
            for (Index r = 0; r < 200; ++r)
                kept += a->keep(r, col);
            QVERIFY(kept > 65 && kept < 135);
        }
    }

    void sameBitsForOneAndTwoThreads()
    {
        setThreadCount(1);
        const auto one = mask(0.5, 3);
        setThreadCount(2);
        const auto two = mask(0.5, 3);
        QVERIFY(one && two);
        QVERIFY(same(*one, *two));
    }

    void refusesBadParameters()
    {
        const auto bad = mask(1.5, 0);
        QVERIFY(!bad);
        QCOMPARE(bad.error().code, Errc::InvalidArgument);
    }

    void cancelled()
    {
        std::stop_source source;
        source.request_stop();
        m_job.stop = source.get_token();
        const auto plan = mask(0.5, 0);
        m_job.stop = {};
        QVERIFY(!plan);
        QCOMPARE(plan.error().code, Errc::Cancelled);
    }

private:
    Expected<recipe::MaskPlan> mask(double sparsity, std::int64_t seed)
    {
        const recipe::StageFactory* factory = m_registry.stage("random");
        QS_TRY(parameters, recipe::resolve(factory->info().parameters, {{"sparsity", sparsity}, {"seed", seed}}, "random"));
        QS_TRY(stage, factory->create(parameters));
        const recipe::LayerProblem problem{"layer", m_weight, {}, {cpuBackend(), m_job}};
        recipe::StageReport report;
        return stage.pruner->plan(problem, report);
    }
    static bool same(const recipe::MaskPlan& a, const recipe::MaskPlan& b)
    {
        return a.keep.size() == b.keep.size()
            && std::memcmp(a.keep.data(), b.keep.data(), static_cast<std::size_t>(a.keep.size())) == 0;
    }

    recipe::StageRegistry m_registry;
    RowMatrix m_weight{200, 40};
    JobContext m_job;
    int m_threads = threadCount();
};

QTEST_GUILESS_MAIN(ExampleTest)
#include "tst_example.moc"
