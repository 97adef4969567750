// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QDir>
#include <QFileInfo>
#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>
#include <QProcess>
#include <QTemporaryDir>
#include <QTest>

#include <cmath>
#include <hdf5.h>
#include <limits>
#include <vector>

namespace qs::test {

inline const QString kSample = QStringLiteral(QS_SAMPLE_DIR);

struct Run {
    int code = -1;
    QByteArray out, err;
    QJsonObject json() const { return QJsonDocument::fromJson(out).object(); }
};

/// A foreign dump: one dataset of raw tokens.
inline void writeDataset(const QString& path, const char* name, const std::vector<float>& values, hsize_t channels)
{
    const hid_t file = H5Fcreate(path.toUtf8().constData(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const hsize_t extents[2] = {values.size() / channels, channels};
    const hid_t space = H5Screate_simple(2, extents, nullptr);
    const hid_t set = H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    QVERIFY(H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) >= 0);
    H5Dclose(set);
    H5Sclose(space);
    H5Fclose(file);
}

/// The same with a NaN and an Inf among them.
inline void writeTokens(const QString& path, const char* name, hsize_t tokens, hsize_t channels)
{
    std::vector<float> values(tokens * channels);
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i]
            = static_cast<float>(std::sin(0.7 * static_cast<double>(i)) + std::cos(0.013 * static_cast<double>(i * i % 977)));
    values[700] = std::numeric_limits<float>::quiet_NaN();
    values[901] = std::numeric_limits<float>::infinity();
    writeDataset(path, name, values, channels);
}

/// Runs the built program from another folder, on the bundled sample.
class CliTest : public QObject {
    Q_OBJECT
protected:
    QTemporaryDir m_folder;

    Run run(const QStringList& arguments)
    {
        QProcess process;
        process.setWorkingDirectory(m_folder.path());
        process.start(QStringLiteral(QS_CLI), arguments);
        Run result;
        if (!process.waitForFinished(300000))
            return result;
        result.code = process.exitStatus() == QProcess::NormalExit ? process.exitCode() : -2;
        result.out = process.readAllStandardOutput();
        result.err = process.readAllStandardError();
        return result;
    }
    QString at(const QString& name) const { return m_folder.filePath(name); }

    /// A small dump of the sample, made once.
    QString dump()
    {
        const QString path = at(QStringLiteral("dump.h5"));
        if (!QFileInfo::exists(path)) {
            const Run made = run(
                {QStringLiteral("capture"), kSample, QStringLiteral("--text"), kSample + QStringLiteral("/calibration.txt"),
                    QStringLiteral("--out"), path, QStringLiteral("--samples"), QStringLiteral("10"),
                    QStringLiteral("--seq-len"), QStringLiteral("128"), QStringLiteral("--keep-tokens"), QStringLiteral("64")});
            if (made.code != 0)
                qWarning("%s", made.err.constData());
        }
        return path;
    }

public Q_SLOTS:
    void initTestCase()
    {
        QVERIFY(m_folder.isValid());
        QVERIFY2(QFileInfo::exists(kSample + QStringLiteral("/config.json")), "the sample model is part of the repository");
    }
};

} // namespace qs::test
