#include "level_settings.h"

#include <algorithm>
#include <charconv>

#include "../errors.h"

namespace latentloop {

namespace {

std::string number(double value) {
  std::array<char, 32> shown;  // the shortest text of any number fits
  return {shown.data(), std::to_chars(shown.data(), shown.data() + shown.size(), value).ptr};
}

std::string expected(const Setting& setting) {
  if (setting.is_integer) return "an integer from 1";
  if (setting.allows_low) return text("from ", number(setting.low), " to ", number(setting.high));
  return text("over ", number(setting.low), ", at most ", number(setting.high));
}

// Returns whether every step with filters of the prior reads the filter's state buffer.
bool has_filter(const Prior& prior, const std::string& name) {
  for (const auto& [role, graph] : prior.graphs) {
    const auto reads = [&name](const Binding& binding) { return binding.memory == name; };
    if (role.rfind("step_filtered", 0) == 0 && std::none_of(graph.inputs.begin(), graph.inputs.end(), reads))
      return false;
  }
  return true;
}

}  // namespace

bool LevelSettings::is_filtered(int64_t codebook_size) const {
  for (const size_t filter : {kTopK, kTopP, kMinP})
    if (values[filter] != neutral(filter, codebook_size)) return true;
  return false;
}

LevelSettings neutral_settings(int64_t codebook_size) {
  LevelSettings settings{};
  for (size_t i = 0; i < kSettings.size(); ++i) settings.values[i] = neutral(i, codebook_size);
  return settings;
}

void set(LevelSettings& settings, size_t setting, double value, const Level& level) {
  const Setting& kind = kSettings[setting];
  const bool is_allowed = (kind.allows_low ? value >= kind.low : value > kind.low) && value <= kind.high;
  if (!is_allowed)
    throw Error(LL_INVALID_ARGUMENT,
                text(kind.name, " for ", level.name, " is ", number(value), ", expected ", expected(kind)));
  if (kind.is_integer) value = std::min(value, static_cast<double>(level.codebook_size));
  value = std::max(value, kind.lowest);
  settings.values[setting] = value;
  if (setting != kTemperature && value != neutral(setting, level.codebook_size) && level.prior &&
      !has_filter(*level.prior, kind.name))
    throw Error(LL_INVALID_ARGUMENT, text(kind.name, " for ", level.name,
                                          ": the bundle has no such filter, because an earlier release exported it: "
                                          "export it again, or leave ",
                                          kind.name, " out"));
}

}  // namespace latentloop
