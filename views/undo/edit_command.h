// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/session/session_document.h"

#include <QUndoCommand>
#include <QUndoStack>

#include <utility>

namespace qs::views {

/// One edit of the document: the state before and after. Edits of one parameter that follow each other become one step.
class EditCommand : public QUndoCommand {
public:
    EditCommand(
        session::SessionDocument& document, session::SessionDocument::StatePtr before, const QString& text, QString mergeKey)
        : QUndoCommand(text)
        , m_document(document)
        , m_before(std::move(before))
        , m_after(document.state())
        , m_mergeKey(std::move(mergeKey))
    {
    }
    void undo() override { m_document.set(m_before); }
    void redo() override { m_document.set(m_after); } // the first time nothing changes
    int id() const override { return m_mergeKey.isEmpty() ? -1 : 1; }
    bool mergeWith(const QUndoCommand* other) override
    {
        const auto* next = static_cast<const EditCommand*>(other);
        if (next->m_mergeKey != m_mergeKey)
            return false;
        m_after = next->m_after;
        return true;
    }

private:
    session::SessionDocument& m_document;
    session::SessionDocument::StatePtr m_before;
    session::SessionDocument::StatePtr m_after;
    QString m_mergeKey;
};

/// Runs `change`, which edits the document, and makes it one undo step.
template <class Change>
void pushEdit(
    QUndoStack& stack, session::SessionDocument& document, const QString& text, const QString& mergeKey, Change change)
{
    auto before = document.state();
    change();
    if (document.state() != before)
        stack.push(new EditCommand(document, std::move(before), text, mergeKey));
}

} // namespace qs::views
