// SPDX-License-Identifier: Apache-2.0
#include "checkpoint_files.h"
#include "model_files.h"
#include "scheme.h"
#include "validate.h"

#include <fmt/format.h>

namespace qs::plugins {

std::vector<recipe::RuntimeVerdict> verdictsBefore(const recipe::ExportInput& input, const std::vector<recipe::Finding>& lints)
{
    CheckpointFacts facts;
    facts.format = "safetensors";
    const std::string type = torchName(plainType(input.runner->model()));
    if (const auto schemes = schemeMap(input)) {
        for (const auto& [scheme, layers] : schemes->groups) {
            facts.format = "compressed-tensors";
            (scheme.symmetric ? facts.symmetricBits : facts.asymmetricBits).insert(scheme.bits);
            facts.groups.insert(scheme.group);
            facts.activationOrder = facts.activationOrder || scheme.activationOrder;
            if (type != "float32" && scheme.scaleType != "torch." + type)
                facts.roundedScales = fmt::format(
                    "rounds its {} scales to {}; scale_dtype={} is what will run", scheme.scaleType.substr(6), type, type);
        }
    }
    std::vector<recipe::RuntimeVerdict> list = verdicts(facts);
    if (const recipe::Finding* refused = firstError(lints))
        for (recipe::RuntimeVerdict& verdict : list)
            verdict = {verdict.runtime, "unwritten", refused->message};
    return list;
}

} // namespace qs::plugins
