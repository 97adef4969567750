// SPDX-License-Identifier: Apache-2.0
#include "exporters.h"

#include "core/base/atomic_file.h"
#include "core/base/version.h"

#include <nlohmann/json.hpp>

namespace qs::plugins {
namespace {

using recipe::ExportInput;
using recipe::ExportReport;

/// The recipe document itself: what `--recipe` reads, with the provenance of its calibration.
class QuantscopeExporter final : public recipe::Exporter {
public:
    std::string id() const override { return "quantscope"; }
    std::string title() const override { return "Quantscope recipe (JSON)"; }
    std::string description() const override { return "our own recipe, one .json file that every command and the window read"; }
    bool writesFolder() const override { return false; }
    std::vector<recipe::Finding> lint(const ExportInput&) const override { return {}; }

    Expected<ExportReport> write(
        const ExportInput& input, const std::filesystem::path& target, const JobContext& job) const override
    {
        QS_CHECK(job.poll());
        if (target.extension() != ".json")
            return fail(Errc::InvalidArgument,
                "a recipe is known by its ending .json: as '" + target.filename().string() + "' nothing would read it",
                target.string(), "choose a name that ends in .json");
        nlohmann::json json = recipe::recipeToJson(input.recipe);
        json["producer"] = kProducer;
        json["model_id"] = input.runner->model().id();
        const std::string text = json.dump(2) + "\n";
        // Read back before it is put in place, by the reader that everybody uses, and against the model that it is for.
        QS_TRY(again, recipe::recipeFromJson(nlohmann::json::parse(text), input.runner->registry(), target.string()));
        QS_TRY(assignment, recipe::assign(again, input.runner->model().spec(), input.runner->registry()));
        for (std::size_t i = 0; i < assignment.layers.size(); ++i) {
            const auto& was = input.assignment.layers[i];
            const auto& is = assignment.layers[i];
            if (static_cast<bool>(was) != static_cast<bool>(is) || (was && !(*was == *is)))
                return fail(Errc::Internal, "the recipe read back assigns another pipeline",
                    input.runner->model().spec().layers[i].name, "report this as a bug");
        }
        QS_CHECK(writeTextFile(target, text));
        ExportReport report;
        report.files = {target.filename()};
        report.verified = true;
        return report;
    }
};

} // namespace

std::unique_ptr<recipe::Exporter> makeQuantscopeExporter()
{
    return std::make_unique<QuantscopeExporter>();
}

} // namespace qs::plugins
