// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/recipe/stage.h"

#include <memory>
#include <utility>

namespace qs::recipe {

/// A factory made of a declaration and a function from resolved parameters to an instance: all that most stages need.
///
///   registry.add(makeFactory(std::move(info), [](const Parameters& p) -> Expected<StageInstance> { ... }));
template <class Create> class FunctionFactory final : public StageFactory {
public:
    FunctionFactory(StageInfo info, Create function)
        : m_info(std::move(info))
        , m_create(std::move(function))
    {
    }
    const StageInfo& info() const override { return m_info; }
    Expected<StageInstance> create(const Parameters& resolved) const override { return m_create(resolved); }

private:
    StageInfo m_info;
    Create m_create;
};

template <class Create> std::unique_ptr<StageFactory> makeFactory(StageInfo info, Create create)
{
    return std::make_unique<FunctionFactory<Create>>(std::move(info), std::move(create));
}

} // namespace qs::recipe
