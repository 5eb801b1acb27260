#include "plan.h"

#include "../io/bundle_error.h"
#include "../io/integrity.h"

namespace latentloop {

Plans::Plans(const EngineSet& set) : set_(set) {
  for (const auto& [name, record] : set.files) files_[name] = std::make_unique<File>(path_in(set.folder, name));
}

std::vector<char> Plans::read(const std::string& name) {
  const FileRecord& record = set_.files.at(name);
  try {
    return read_verified(*files_.at(name), record.size, record.sha256);
  } catch (const Error&) {
    throw bundle_error(path_in(set_.folder, name), " has changed since the bundle was opened: open the bundle again");
  }
}

}  // namespace latentloop
