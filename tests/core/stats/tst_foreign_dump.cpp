// SPDX-License-Identifier: Apache-2.0
#include "core/base/atomic_file.h"
#include "core/stats/check_process.h"
#include "core/stats/dump.h"

#include <QDir>
#include <QFile>
#include <QTemporaryDir>
#include <QTest>
#include <cmath>
#include <functional>
#include <hdf5.h>
#include <nlohmann/json.hpp>
#include <random>

using namespace qs;
using namespace qs::stats;
using nlohmann::json;

namespace {

std::filesystem::path golden(const char* name)
{
    return std::filesystem::path(QS_GOLDEN_DIR) / "dump" / name;
}

/// Writes a file with the plain C interface.
void writeFile(const std::filesystem::path& path, const std::function<void(hid_t)>& fill)
{
    const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    fill(file);
    H5Fclose(file);
}

void addMatrix(hid_t parent, const char* name, hsize_t rows, hsize_t cols, hid_t creation = H5P_DEFAULT, bool write = true)
{
    const hsize_t extents[] = {rows, cols};
    const hid_t space = H5Screate_simple(2, extents, nullptr);
    const hid_t set = H5Dcreate2(parent, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    const std::vector<float> values(write ? rows * cols : 0, 1.5F);
    if (write)
        H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    H5Dclose(set);
    H5Sclose(space);
}

} // namespace

class TestForeignDump : public QObject {
    Q_OBJECT
private Q_SLOTS:
    void everyTypeIsRead() // tests/golden/gen/dump_reference.py
    {
        const auto dump = openDump(golden("foreign.h5"), cpuBackend());
        QVERIFY2(dump, dump ? "" : dump.error().line().c_str());
        QCOMPARE((*dump)->layers(), (std::vector<std::string>{"brain", "group/half", "plain", "samples"}));
        QCOMPARE((*dump)->inputIds(), (std::vector<std::string>{"brain", "group/half", "plain", "samples", "unnamed"}));
        const json reference = json::parse(*readTextFile(golden("reference.json")));
        for (const std::string layer : {"brain", "group/half", "plain", "samples"}) {
            const auto stats = (*dump)->stats(layer);
            QVERIFY2(stats, stats ? "" : stats.error().line().c_str());
            const json& expected = reference.at(layer);
            const ChannelSums& sums = (*stats)->fit.channels;
            QCOMPARE(sums.count, expected.at("count").get<Index>());
            QVERIFY(!(*stats)->hasHoldout());
            QCOMPARE((*dump)->widthOf(layer), sums.channels());
            const auto near = [&](const std::vector<double>& values, const char* name) {
                for (std::size_t c = 0; c < values.size(); ++c)
                    QVERIFY2(
                        std::abs(values[c] - expected.at(name)[c].get<double>()) <= 1e-12 * expected.at("m4")[c].get<double>(),
                        name);
            };
            near(sums.sum, "sum");
            near(sums.sumsq, "sumsq");
            near(sums.sumabs, "sumabs");
            near(sums.m3, "m3");
            near(sums.m4, "m4");
            const auto d = static_cast<std::size_t>(sums.channels());
            for (std::size_t i = 0; i < d * d; ++i)
                QVERIFY(
                    std::abs((*stats)->fit.gram.data()[i] - expected.at("gram")[i].get<double>()) <= 1e-4); // float32 products
            if (layer != "samples") { // there, positions are known and the first ones are kept apart
                QCOMPARE(sums.min, expected.at("min").get<std::vector<double>>());
                QCOMPARE(sums.max, expected.at("max").get<std::vector<double>>());
            } else {
                QCOMPARE((*stats)->sink.count, Index{3 * 4});
                const std::vector<double> widest = (*stats)->absMax();
                for (std::size_t c = 0; c < d; ++c)
                    QCOMPARE(widest[c],
                        std::max(std::abs(expected.at("min")[c].get<double>()), std::abs(expected.at("max")[c].get<double>())));
            }
        }
        QCOMPARE((*dump)->rawTokens("samples", 15)->rows(), Index{15}); // across samples
        QVERIFY((*dump)->stats("unnamed")); // by its path
        QVERIFY(!(*dump)->tokenIds());
    }

    void dumpOfAnotherWriter()
    {
        const auto dump = openDump(golden("act_dump.h5"), cpuBackend());
        QVERIFY2(dump, dump ? "" : dump.error().line().c_str());
        QCOMPARE((*dump)->info().seed, (std::uint64_t{1} << 63) + 5);
        QCOMPARE((*dump)->info().modelId, std::string("m"));
        const auto stats = (*dump)->stats("model.b");
        QVERIFY2(stats, stats ? "" : stats.error().line().c_str());
        const json reference = json::parse(*readTextFile(golden("reference.json")));
        for (const auto& [part, name] : {std::pair(&(*stats)->fit, "fit"), {&(*stats)->holdout, "holdout"}}) {
            QCOMPARE(part->count(), reference.at(name).at("count").get<Index>());
            QCOMPARE(part->channels.max, reference.at(name).at("max").get<std::vector<double>>());
            for (std::size_t r = 0; r < 300; ++r) {
                const double expected = reference.at(name).at("gram_column")[r].get<double>();
                QCOMPARE(part->gram(static_cast<Index>(r), 1), expected);
                QCOMPARE(part->gram(1, static_cast<Index>(r)), expected);
            }
        }
        QCOMPARE((*stats)->sink.max[299], 11.0);
        QCOMPARE((*dump)->tokenIds()->at(3).back(), 99);
    }

    void hostileFiles_data()
    {
        QTest::addColumn<QString>("kind");
        QTest::addColumn<QString>("message");
        QTest::newRow("external link") << "link"
                                       << "away: is a link into another file";
        QTest::newRow("external storage") << "storage"
                                          << "data:input: keeps its data in another file";
        QTest::newRow("virtual dataset") << "virtual"
                                         << "data:input: is a virtual dataset";
        QTest::newRow("filter") << "filter"
                                << "data:input: uses filter 6";
        QTest::newRow("far too large") << "sparse"
                                       << "claims";
        QTest::newRow("nothing to read") << "empty"
                                         << "holds neither statistics nor";
        QTest::newRow("later schema") << "schema"
                                      << "act-dump/9";
        QTest::newRow("not HDF5") << "text"
                                  << "is not a readable HDF5 file";
        QTest::newRow("gram of another width") << "gram"
                                               << "stats/a/fit/gram: must be 3 x 3 floats, is 2 x 2";
        QTest::newRow("vector of another width") << "vector"
                                                 << "stats/a/fit/m4: must be a float vector of 3 channels, is 4";
        QTest::newRow("part missing") << "missing"
                                      << "stats/a/fit/max: is missing";
    }
    void hostileFiles()
    {
        QFETCH(QString, kind);
        QFETCH(QString, message);
        const QTemporaryDir dir;
        const std::filesystem::path path = dir.filePath("x.h5").toStdString();
        writeFile(path, [&](hid_t file) {
            const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
            const hsize_t chunk[] = {2, 2};
            if (kind == "link")
                H5Lcreate_external("other.h5", "/x", file, "away", H5P_DEFAULT, H5P_DEFAULT);
            if (kind == "storage") {
                H5Pset_external(creation, "/etc/passwd", 0, 1024);
                addMatrix(file, "data:input", 4, 4, creation, false);
            }
            if (kind == "virtual") {
                const hsize_t extents[] = {4, 4};
                const hid_t space = H5Screate_simple(2, extents, nullptr);
                H5Pset_virtual(creation, space, "/etc/passwd", "data", space);
                addMatrix(file, "data:input", 4, 4, creation, false);
                H5Sclose(space);
            }
            if (kind == "filter") {
                H5Pset_chunk(creation, 2, chunk);
                H5Pset_scaleoffset(creation, H5Z_SO_FLOAT_DSCALE, 2);
                addMatrix(file, "data:input", 4, 4, creation);
            }
            if (kind == "sparse") {
                H5Pset_chunk(creation, 2, chunk);
                addMatrix(file, "data:input", hsize_t{1} << 40, 4096, creation, false);
            }
            if (kind == "schema") {
                const hid_t type = H5Tcopy(H5T_C_S1);
                H5Tset_size(type, H5T_VARIABLE);
                const hid_t space = H5Screate(H5S_SCALAR),
                            attr = H5Acreate2(file, "schema", type, space, H5P_DEFAULT, H5P_DEFAULT);
                const char* text = "act-dump/9";
                H5Awrite(attr, type, &text);
                H5Aclose(attr);
                H5Sclose(space);
                H5Tclose(type);
            }
            if (kind == "gram" || kind == "vector" || kind == "missing")
                addStats(file, kind);
            H5Pclose(creation);
        });
        if (kind == "text")
            QVERIFY(writeTextFile(path, "this is no HDF5"));
        const auto dump = openDump(path, cpuBackend());
        QVERIFY(!dump);
        QVERIFY2(dump.error().code == Errc::Format || (kind == "schema" && dump.error().code == Errc::Unsupported),
            errcName(dump.error().code));
        QVERIFY2(dump.error().line().find(message.toStdString()) != std::string::npos, dump.error().line().c_str());
        QVERIFY(dump.error().line().find("x.h5") != std::string::npos);
    }

    void cyclesAndSoftLinksEnd()
    {
        const QTemporaryDir dir;
        const std::filesystem::path path = dir.filePath("x.h5").toStdString();
        writeFile(path, [](hid_t file) {
            const hid_t group = H5Gcreate2(file, "g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
            H5Lcreate_hard(file, "/", group, "up", H5P_DEFAULT, H5P_DEFAULT);
            H5Lcreate_soft("/nowhere", group, "soft", H5P_DEFAULT, H5P_DEFAULT);
            addMatrix(group, "a:input", 3, 2);
            H5Gclose(group);
        });
        const auto dump = openDump(path, cpuBackend());
        QVERIFY2(dump, dump ? "" : dump.error().line().c_str());
        QCOMPARE((*dump)->layers(), std::vector<std::string>{"g/a"});
        QCOMPARE((*(*dump)->stats("g/a"))->fit.channels.sum, (std::vector<double>{4.5, 4.5}));
    }

    /// Whatever the bytes are, the answer is a dump or an error; the library may break only in the other process.
    void damagedBytes()
    {
        QFile original(QString::fromStdString(golden("foreign.h5").string()));
        QVERIFY(original.open(QIODevice::ReadOnly));
        const QByteArray sound = original.readAll();
        const QTemporaryDir dir;
        std::mt19937 random(7);
        int refused = 0;
        for (int round = 0; round < 60; ++round) {
            QByteArray bytes = sound;
            if (round % 6 == 0)
                bytes.truncate(static_cast<int>(random() % static_cast<unsigned>(bytes.size())));
            else
                for (int i = 0; i < 24; ++i)
                    bytes[static_cast<int>(random() % static_cast<unsigned>(bytes.size()))] = static_cast<char>(random());
            const QString path = dir.filePath(QString::number(round) + ".h5");
            QFile file(path);
            QVERIFY(file.open(QIODevice::WriteOnly) && file.write(bytes) == bytes.size());
            file.close();
            const auto dump = openDump(path.toStdString(), cpuBackend());
            if (!dump) {
                ++refused;
                QVERIFY(!dump.error().message.empty());
                continue;
            }
            for (const std::string& layer : (*dump)->layers())
                if (const auto stats = (*dump)->stats(layer); !stats)
                    QVERIFY(!stats.error().message.empty());
        }
        QVERIFY(refused >= 10);
    }

    void theCheckIsLimited()
    {
        const QTemporaryDir dir;
        const QString script = dir.filePath("check");
        const auto with = [&](const char* body, std::chrono::milliseconds timeout = std::chrono::seconds(2)) {
            QFile file(script);
            if (!file.open(QIODevice::WriteOnly | QIODevice::Truncate))
                qFatal("cannot write");
            file.write(QByteArray("#!/bin/sh\n") + body);
            file.setPermissions(QFile::ReadOwner | QFile::WriteOwner | QFile::ExeOwner);
            file.close();
            return checkByChild(golden("foreign.h5"), timeout);
        };
        qputenv("QS_H5CHECK", script.toUtf8());
        QVERIFY(with("exit 0"));
        const auto crashed = with("kill -SEGV $$");
        QVERIFY(!crashed && crashed.error().message.find("breaks on it") != std::string::npos);
        // A busy machine: the limit has passed by the clock, but not in processor time.
        QVERIFY(with("exec sleep 1", std::chrono::milliseconds(300)));
        const auto slow = with("exec sleep 60", std::chrono::milliseconds(200));
        QVERIFY(!slow && slow.error().message.find("could not be checked in 2 s") != std::string::npos);
        QVERIFY(slow.error().code == Errc::Io);
        const auto endless = with("ulimit -S -t 1; while :; do :; done");
        QVERIFY(!endless && endless.error().message.find("processor time") != std::string::npos);
        QVERIFY(endless.error().code == Errc::Format);
        const auto refused = with("printf 'set\\nis bad\\ndo this\\n'; exit 1");
        QVERIFY(!refused);
        QCOMPARE(refused.error().hint, std::string("do this"));
        qputenv("QS_H5CHECK", "/no/such/program");
        const auto missing = checkByChild(golden("foreign.h5"));
        QVERIFY(!missing && missing.error().code == Errc::NotFound);
        qunsetenv("QS_H5CHECK");
        QVERIFY(checkByChild(golden("foreign.h5")));
    }

    void checksAreRemembered()
    {
        const QTemporaryDir dir;
        const QString copy = dir.filePath("copy.h5");
        QVERIFY(QFile::copy(QString::fromStdString(golden("foreign.h5").string()), copy));
        QVERIFY(QFile::setPermissions(copy, QFile::ReadOwner | QFile::WriteOwner));
        rememberChecks(dir.filePath("checked").toStdString());
        QVERIFY(openDump(copy.toStdString(), cpuBackend()));
        qputenv("QS_H5CHECK", "/no/such/program");
        QVERIFY(openDump(copy.toStdString(), cpuBackend())); // no check
        QCOMPARE(QDir(dir.filePath("checked")).entryList(QDir::Files).size(), 1);
        QFile file(copy);
        QVERIFY(file.open(QIODevice::Append) && file.write("x") == 1);
        file.close();
        QVERIFY(!openDump(copy.toStdString(), cpuBackend())); // another file now
        qunsetenv("QS_H5CHECK");
        rememberChecks({});
    }

private:
    static void addStats(hid_t file, const QString& kind)
    {
        const hid_t type = H5Tcopy(H5T_C_S1), scalar = H5Screate(H5S_SCALAR);
        H5Tset_size(type, 10);
        const hid_t attr = H5Acreate2(file, "schema", type, scalar, H5P_DEFAULT, H5P_DEFAULT);
        H5Awrite(attr, type, "act-dump/1");
        H5Aclose(attr);
        const hid_t links = H5Pcreate(H5P_LINK_CREATE);
        H5Pset_create_intermediate_group(links, 1);
        const hid_t count = H5Dcreate2(file, "stats/a/fit/count", H5T_STD_I64LE, scalar, links, H5P_DEFAULT, H5P_DEFAULT);
        H5Dclose(count);
        const hid_t part = H5Gopen2(file, "stats/a/fit", H5P_DEFAULT);
        for (const char* name : {"sum", "sumsq", "sumabs", "m3", "m4", "min", "max"}) {
            if (kind == "missing" && QString(name) == "max")
                continue;
            const hsize_t extent = kind == "vector" && QString(name) == "m4" ? 4 : 3;
            const hid_t space = H5Screate_simple(1, &extent, nullptr);
            H5Dclose(H5Dcreate2(part, name, H5T_IEEE_F64LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
            H5Sclose(space);
        }
        addMatrix(part, "gram", kind == "gram" ? 2 : 3, kind == "gram" ? 2 : 3);
        H5Gclose(part);
        H5Pclose(links);
        H5Sclose(scalar);
        H5Tclose(type);
    }
};

QTEST_GUILESS_MAIN(TestForeignDump)
#include "tst_foreign_dump.moc"
