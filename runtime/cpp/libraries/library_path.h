// Where a library is looked for: a path that the program sets, else an environment variable, else the loader's path.
#pragma once

#include <string>
#include <vector>

namespace latentloop {

// How one library is found. Threads have to take turns.
struct LibrarySearch {
  const char* title;               // for messages, such as "ONNX Runtime"
  const char* variable;            // the environment variable with its file or folder
  std::vector<std::string> names;  // for the loader, in this order
  std::string name;                // of its file in a folder: this, or this followed by ".1" and the like
  std::string remedy;              // what a user can do
  std::string path;                // of set_path(), else ""
};

// Sets where the library is: its file or folder. Null or "": as if it had not been set.
void set_path(LibrarySearch& search, const char* path);

// Returns the files to try, in this order. Throws Error (LL_MISSING) for a folder without the library.
std::vector<std::string> candidates(const LibrarySearch& search);

}  // namespace latentloop
