// SPDX-License-Identifier: Apache-2.0
#include "core/base/digest.h"
#include "core/base/error.h"

#include <QtTest>
#include <set>
#include <string>

using namespace qs;

class DigestTest : public QObject {
    Q_OBJECT

private Q_SLOTS:
    void publishedValue() // XXH3-128 of nothing, as xxhsum -H2 prints it
    {
        QCOMPARE(Digest().hex(), std::string("99aa06d3014798d86001c324468d497f"));
    }

    void bytesMayComeInPieces()
    {
        const std::string text(100'000, 'q');
        const auto bytes = std::as_bytes(std::span(text));
        Digest whole;
        whole.add(bytes);
        Digest pieces;
        for (std::size_t i = 0; i < bytes.size(); i += 777)
            pieces.add(bytes.subspan(i, std::min<std::size_t>(777, bytes.size() - i)));
        QCOMPARE(pieces.hex(), whole.hex());
        QCOMPARE(whole.hex(), whole.hex()); // reading does not change it
    }

    void bordersCount()
    {
        std::set<std::string> seen;
        seen.insert(Digest().add(std::string_view("ab")).add(std::string_view("c")).hex());
        seen.insert(Digest().add(std::string_view("a")).add(std::string_view("bc")).hex());
        seen.insert(Digest().add(std::string_view("abc")).hex());
        seen.insert(Digest().add(std::int64_t{1}).hex());
        seen.insert(Digest().add(1.0).hex());
        seen.insert(Digest().add(-0.0).hex());
        seen.insert(Digest().add(0.0).hex());
        QCOMPARE(seen.size(), std::size_t{7});
    }

    void errorsInOneLine()
    {
        QCOMPARE((Error{Errc::Io, "is full", "/tmp/x", "free space"}).line(), std::string("/tmp/x: is full (free space)"));
        QCOMPARE((Error{Errc::Io, "two\nlines", "", ""}).line(), std::string("two lines"));
        QCOMPARE(std::string(errcName(Errc::NotFinite)), std::string("not-finite"));
        const Expected<int> failed = fail(Errc::Format, "broken", "file");
        QVERIFY(!failed);
        QVERIFY(failed.error().code == Errc::Format);
    }
};

QTEST_GUILESS_MAIN(DigestTest)
#include "tst_digest.moc"
