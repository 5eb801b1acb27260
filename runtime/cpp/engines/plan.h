// The plans of a set.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../io/file.h"
#include "engine_set.h"

namespace latentloop {

// The open files of a set's plans: they can be read even if the set is deleted or built again meanwhile.
class Plans {
 public:
  // The set outlives the object. Throws Error (LL_BAD_BUNDLE).
  explicit Plans(const EngineSet& set);

  // Returns the bytes of a plan. Throws Error (LL_BAD_BUNDLE) if they are not those that were verified when the set was
  // found. Threads have to take turns.
  std::vector<char> read(const std::string& name);

 private:
  const EngineSet& set_;
  std::map<std::string, std::unique_ptr<File>> files_;  // by name
};

}  // namespace latentloop
