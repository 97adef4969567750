// SPDX-License-Identifier: Apache-2.0
#include "export_fixture.h"

#include <QTest>
#include <csignal>
#include <stop_token>
#include <sys/resource.h>

using namespace qs;
using namespace qs::recipe;
namespace fs = std::filesystem;

namespace {

/// Writes beyond `bytes` per file fail, as on a full disk, until it goes out of scope. Needs no privilege.
class FullDisk {
public:
    explicit FullDisk(rlim_t bytes)
    {
        m_handler = std::signal(SIGXFSZ, SIG_IGN); // write() then returns an error
        getrlimit(RLIMIT_FSIZE, &m_before);
        const rlimit now{bytes, m_before.rlim_max};
        m_set = setrlimit(RLIMIT_FSIZE, &now) == 0;
    }
    ~FullDisk()
    {
        setrlimit(RLIMIT_FSIZE, &m_before);
        std::signal(SIGXFSZ, m_handler);
    }
    FullDisk(const FullDisk&) = delete;
    FullDisk& operator=(const FullDisk&) = delete;
    bool set() const { return m_set; }

private:
    void (*m_handler)(int) = SIG_DFL;
    rlimit m_before{};
    bool m_set = false;
};

} // namespace

/// Whatever goes wrong, nothing is left behind.
class TestExportFailures : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void initTestCase()
    {
        QS_VERIFY_OK(m_families.load());
        QS_REQUIRE(model, test::goldenModel("llama_gqa"));
        m_model = model;
        QS_REQUIRE(input, m_families.input(m_model, "gptq(bits=4, group=16)"));
        m_input = input;
    }
    void init() { m_dir = std::make_unique<QTemporaryDir>(); }

    void cancelled_data()
    {
        QTest::addColumn<QString>("format");
        QTest::addColumn<double>("at");
        for (const double at : {0.0, 0.3, 0.79, 0.85, 0.92})
            QTest::addRow("checkpoint at %.2f", at) << QStringLiteral("compressed-tensors") << at;
        QTest::newRow("recipe") << QStringLiteral("llm-compressor") << 0.0;
        QTest::newRow("our recipe") << QStringLiteral("quantscope") << 0.0;
    }
    void cancelled()
    {
        QFETCH(QString, format);
        QFETCH(double, at);
        std::stop_source source;
        JobContext job;
        job.stop = source.get_token();
        if (at == 0.0)
            source.request_stop();
        bool reached = at == 0.0;
        job.onProgress = [&](double fraction, std::string_view) {
            if (fraction >= at) {
                reached = true;
                source.request_stop();
            }
        };
        const auto report = exporter(format)->write(m_input, target(), job);
        QVERIFY(reached);
        QVERIFY(!report);
        QVERIFY2(report.error().code == Errc::Cancelled, report.error().line().c_str());
        QCOMPARE(test::filesIn(folder()), std::size_t{0});
    }

    void fullDisk_data()
    {
        QTest::addColumn<QString>("format");
        QTest::addColumn<int>("bytes");
        for (const int bytes : {0, 1000, 6000, 20000})
            QTest::addRow("checkpoint, %d bytes", bytes) << QStringLiteral("compressed-tensors") << bytes;
        QTest::newRow("recipe") << QStringLiteral("llm-compressor") << 100;
        QTest::newRow("our recipe") << QStringLiteral("quantscope") << 100;
    }
    void fullDisk()
    {
        QFETCH(QString, format);
        QFETCH(int, bytes);
        const auto report = [&]() -> Expected<ExportReport> {
            const FullDisk disk(static_cast<rlim_t>(bytes));
            if (!disk.set())
                return fail(Errc::Internal, "the limit could not be set");
            return exporter(format)->write(m_input, target(), {});
        }();
        QVERIFY(!report);
        const std::string line = report.error().line();
        QVERIFY2(report.error().code == Errc::Io, line.c_str());
        QVERIFY2(line.find("cannot be written") != std::string::npos && line.find('\n') == std::string::npos, line.c_str());
        QVERIFY2(line.find(target().string()) != std::string::npos && line.find(".tmp-") == std::string::npos, line.c_str());
        QCOMPARE(test::filesIn(folder()), std::size_t{0});
        QS_VERIFY_OK(exporter(format)->write(m_input, target(), {})); // and once there is room it works
    }

    void targetThatExists()
    {
        fs::create_directory(target());
        test::writeFile(target() / "mine.txt", "keep");
        for (const char* format : {"compressed-tensors", "llm-compressor"})
            QS_VERIFY_ERROR(
                exporter(QString::fromLatin1(format))->write(m_input, target(), {}), Errc::InvalidArgument, "already exists");
        QCOMPARE(test::readFile(target() / "mine.txt"), std::string("keep"));
        QCOMPARE(test::filesIn(folder()), std::size_t{1});
        fs::remove(target() / "mine.txt"); // an empty folder is a fine target
        QS_VERIFY_OK(exporter(QStringLiteral("compressed-tensors"))->write(m_input, target(), {}));
        QVERIFY(fs::exists(target() / "model.safetensors"));
    }

    void targetBelowAFile()
    {
        test::writeFile(folder() / "file", "x");
        const fs::path below = folder() / "file" / "out.json";
        for (const char* format : {"compressed-tensors", "llm-compressor", "quantscope"})
            QS_VERIFY_ERROR(exporter(QString::fromLatin1(format))->write(m_input, below, {}), Errc::Io, "cannot be created");
        QCOMPARE(test::readFile(folder() / "file"), std::string("x"));
    }

    void calibrationThatIsMissing()
    {
        ExportInput input = m_input;
        input.runner = std::make_shared<Runner>(m_model, Calibration{}, m_families.stages, cpuBackend());
        QS_VERIFY_ERROR(
            exporter(QStringLiteral("compressed-tensors"))->write(input, target(), {}), Errc::NotFound, "needs calibration");
        QCOMPARE(test::filesIn(folder()), std::size_t{0});
    }

private:
    const Exporter* exporter(const QString& id) const { return m_families.exporters.find(id.toStdString()); }
    fs::path folder() const { return m_dir->path().toStdString(); }
    fs::path target() const { return folder() / "out.json"; }

    std::unique_ptr<QTemporaryDir> m_dir;
    test::Families m_families;
    std::shared_ptr<const model::Model> m_model;
    ExportInput m_input;
};

QTEST_GUILESS_MAIN(TestExportFailures)
#include "tst_export_failures.moc"
