// SPDX-License-Identifier: Apache-2.0
#include "core/io/json_text.h"
#include "core/recipe/names.h"
#include "core/recipe/pipeline.h"

#include <fmt/format.h>

namespace qs::recipe {
namespace {

/// A call as it was written: words only, checked against declarations later.
struct RawArgument {
    std::string name, value;
    std::size_t namePosition = 0, valuePosition = 0;
};
struct RawCall {
    std::string id;
    std::size_t position = 0;
    std::vector<RawArgument> arguments;
};
using RawSlots = std::vector<std::vector<RawCall>>;

/// Error at a byte of the text; columns are counted from 1.
tl::unexpected<Error> failAt(std::size_t position, std::string message, std::string hint = {})
{
    return fail(Errc::InvalidArgument, std::move(message), fmt::format("column {}", position + 1), std::move(hint));
}

bool isSpace(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool isWord(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
}

/// Recursive descent over
///   pipeline := slot ('|' slot)*      slot := '-' | call ('+' call)*      call := id ['(' [name '=' value (',' name '='
///   value)*] ')'] value := word of [A-Za-z0-9_.:+-/] | "text with \\ \" \n"
class Reader {
public:
    explicit Reader(std::string_view text)
        : m_text(text)
    {
    }

    Expected<RawSlots> pipeline()
    {
        RawSlots slots;
        do {
            if (slots.size() == kSlotCount)
                return failAt(
                    m_at, fmt::format("a pipeline has {} slots, here begins another one", kSlotCount), "remove a '|'");
            QS_TRY(calls, slot());
            slots.push_back(std::move(calls));
        } while (take('|'));
        skipSpace();
        if (m_at < m_text.size())
            return failAt(
                m_at, fmt::format("unexpected {}", here()), "stages are separated by '|' (next slot) or '+' (same slot)");
        return slots;
    }

private:
    Expected<std::vector<RawCall>> slot()
    {
        std::vector<RawCall> calls;
        skipSpace();
        if (peek() == '-' && (m_at + 1 == m_text.size() || !isWord(m_text[m_at + 1]))) {
            ++m_at;
            return calls;
        }
        do {
            QS_TRY(parsed, call());
            calls.push_back(std::move(parsed));
        } while (take('+'));
        return calls;
    }

    Expected<RawCall> call()
    {
        RawCall result;
        skipSpace();
        result.position = m_at;
        QS_TRY(id, word("a stage or method name, or '-' for an empty slot"));
        result.id = std::move(id);
        if (!take('('))
            return result;
        if (take(')'))
            return result;
        do {
            RawArgument argument;
            skipSpace();
            argument.namePosition = m_at;
            QS_TRY(name, word("a parameter name"));
            argument.name = std::move(name);
            if (!take('='))
                return failAt(m_at, fmt::format("'=' is missing after parameter '{}', there is {}", argument.name, here()));
            skipSpace();
            argument.valuePosition = m_at;
            QS_TRY(value, this->value(argument.name));
            argument.value = std::move(value);
            for (const RawArgument& other : result.arguments)
                if (other.name == argument.name)
                    return failAt(argument.namePosition, fmt::format("parameter '{}' is given twice", argument.name));
            result.arguments.push_back(std::move(argument));
        } while (take(','));
        if (!take(')'))
            return failAt(m_at, fmt::format("')' is missing after the parameters of '{}', there is {}", result.id, here()));
        return result;
    }

    Expected<std::string> word(std::string_view wanted)
    {
        const std::size_t start = m_at;
        while (m_at < m_text.size() && isWord(m_text[m_at]))
            ++m_at;
        if (m_at == start)
            return failAt(m_at, fmt::format("expected {}, found {}", wanted, here()));
        return std::string(m_text.substr(start, m_at - start));
    }

    Expected<std::string> value(const std::string& name)
    {
        if (peek() == '"')
            return quotedValue(name);
        const std::size_t start = m_at;
        while (
            m_at < m_text.size() && (isWord(m_text[m_at]) || m_text[m_at] == ':' || m_text[m_at] == '+' || m_text[m_at] == '/'))
            ++m_at;
        if (m_at == start)
            return failAt(m_at, fmt::format("the value of parameter '{}' is missing, there is {}", name, here()));
        return std::string(m_text.substr(start, m_at - start));
    }

    Expected<std::string> quotedValue(const std::string& name)
    {
        const std::size_t start = m_at++;
        std::string result;
        while (m_at < m_text.size() && m_text[m_at] != '"') {
            char c = m_text[m_at++];
            if (c == '\\' && m_at < m_text.size()) {
                c = m_text[m_at++];
                if (c == 'n')
                    c = '\n';
                else if (c != '"' && c != '\\')
                    return failAt(m_at - 2, "a backslash in quotes stands before n, \" or another backslash only");
            }
            result += c;
        }
        if (m_at == m_text.size())
            return failAt(start, fmt::format("the quoted value of parameter '{}' does not end", name));
        ++m_at;
        if (!io::isUtf8(result))
            return failAt(start, fmt::format("the value of parameter '{}' is not UTF-8", name));
        return result;
    }

    void skipSpace()
    {
        while (m_at < m_text.size() && isSpace(m_text[m_at]))
            ++m_at;
    }
    char peek() const { return m_at < m_text.size() ? m_text[m_at] : '\0'; }
    bool take(char c)
    {
        skipSpace();
        if (m_at == m_text.size() || m_text[m_at] != c)
            return false;
        ++m_at;
        return true;
    }
    std::string here() const { return m_at == m_text.size() ? "the end of the text" : io::quoted(m_text.substr(m_at, 12)); }

    std::string_view m_text;
    std::size_t m_at = 0;
};

std::vector<std::string> stageIds(const StageRegistry& registry, Slot slot)
{
    std::vector<std::string> ids;
    for (const StageFactory* stage : registry.stages())
        if (stage->info().slot == slot)
            ids.push_back(stage->info().id);
    return ids;
}

const ParameterSpec* findSpec(const StageInfo& info, const std::string& name)
{
    for (const ParameterSpec& spec : info.parameters)
        if (spec.name == name)
            return &spec;
    return nullptr;
}

Expected<ParameterValue> readArgument(const ParameterSpec& spec, const RawArgument& argument)
{
    auto value = parseValue(spec, argument.value);
    if (value)
        return value;
    Error failed = std::move(value).error();
    failed.where = fmt::format("column {}", argument.valuePosition + 1);
    return tl::unexpected(std::move(failed));
}

Expected<StageCall> stageCall(const RawCall& raw, Slot slot, const StageRegistry& registry)
{
    const StageFactory* factory = registry.stage(raw.id);
    if (!factory) {
        if (registry.method(raw.id))
            return failAt(raw.position, fmt::format("'{}' is a method, not a stage: it stands alone", raw.id));
        const std::vector<std::string> known = stageIds(registry, slot);
        return failAt(raw.position, fmt::format("there is no stage '{}'", raw.id),
            didYouMean(raw.id, known,
                fmt::format("the {} stages are: {}", slotName(slot), known.empty() ? "none" : joinNames(known))));
    }
    const StageInfo& info = factory->info();
    if (info.slot != slot)
        return failAt(raw.position,
            fmt::format("stage '{}' belongs into slot {} ({}), not into slot {} ({})", raw.id, static_cast<int>(info.slot) + 1,
                slotName(info.slot), static_cast<int>(slot) + 1, slotName(slot)),
            "the slots are transform | pruner | grid | rounding | compensator | activation-grid, '-' is an empty one");
    StageCall call{raw.id, {}};
    for (const RawArgument& argument : raw.arguments) {
        const ParameterSpec* spec = findSpec(info, argument.name);
        if (!spec) {
            std::vector<std::string> known;
            for (const ParameterSpec& declared : info.parameters)
                known.push_back(declared.name);
            return failAt(argument.namePosition,
                fmt::format("stage '{}' has no parameter '{}': it takes {}", raw.id, argument.name,
                    known.empty() ? "none" : joinNames(known)),
                didYouMean(argument.name, known));
        }
        QS_TRY(value, readArgument(*spec, argument));
        call.parameters.insert_or_assign(argument.name, std::move(value));
    }
    return call;
}

Expected<Pipeline> fromSlots(const RawSlots& slots, const StageRegistry& registry)
{
    Pipeline pipeline;
    for (std::size_t i = 0; i < slots.size(); ++i)
        for (const RawCall& raw : slots[i]) {
            QS_TRY(call, stageCall(raw, static_cast<Slot>(i), registry));
            pipeline.slots[i].push_back(std::move(call));
        }
    return completePipeline(std::move(pipeline), registry);
}

/// A method's pipeline with the given values put into every stage that declares the name.
Expected<Pipeline> fromMethod(const Method& method, const RawCall& raw, const StageRegistry& registry)
{
    QS_TRY(pipeline, parseCanonical(method.pipeline, registry));
    for (const RawArgument& argument : raw.arguments) {
        bool known = false;
        for (auto& slot : pipeline.slots)
            for (StageCall& call : slot)
                if (const ParameterSpec* spec = findSpec(registry.stage(call.id)->info(), argument.name)) {
                    QS_TRY(value, readArgument(*spec, argument));
                    call.parameters.insert_or_assign(argument.name, std::move(value));
                    known = true;
                }
        if (known)
            continue;
        const std::vector<std::string> names = pipelineParameters(pipeline, registry);
        return failAt(argument.namePosition,
            fmt::format("method '{}' has no parameter '{}': it takes {}", method.id, argument.name,
                names.empty() ? "none" : joinNames(names)),
            didYouMean(argument.name, names));
    }
    return completePipeline(std::move(pipeline), registry);
}

} // namespace

std::vector<std::string> pipelineParameters(const Pipeline& pipeline, const StageRegistry& registry)
{
    std::map<std::string, bool> names;
    for (const auto& slot : pipeline.slots)
        for (const StageCall& call : slot)
            if (const StageFactory* stage = registry.stage(call.id))
                for (const ParameterSpec& spec : stage->info().parameters)
                    names.emplace(spec.name, true);
    std::vector<std::string> list;
    for (const auto& [name, present] : names)
        list.push_back(name);
    return list;
}

Expected<Pipeline> parseCanonical(std::string_view text, const StageRegistry& registry)
{
    QS_TRY(slots, Reader(text).pipeline());
    return fromSlots(slots, registry);
}

Expected<Pipeline> parsePipeline(std::string_view text, const StageRegistry& registry)
{
    QS_TRY(slots, Reader(text).pipeline());
    if (slots.size() == 1 && slots.front().size() == 1) {
        const RawCall& call = slots.front().front();
        if (const Method* method = registry.method(call.id))
            return fromMethod(*method, call, registry);
        if (!registry.stage(call.id)) {
            std::vector<std::string> known;
            for (const Method& method : registry.methods())
                known.push_back(method.id);
            return failAt(call.position, fmt::format("there is no method '{}'", call.id),
                didYouMean(call.id, known,
                    known.empty() ? std::string("no method is installed: the folder methods beside each plugin is missing")
                                  : "the methods are: " + joinNames(known)));
        }
    }
    return fromSlots(slots, registry);
}

} // namespace qs::recipe
