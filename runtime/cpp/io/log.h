// Messages to the program, which sets a function for them with ll_set_log.
#pragma once

#include <latentloop/latentloop.h>

#include <string>

namespace latentloop {

using Log = void (*)(int level, const char* text, void* user);

void set_log(Log function, void* user);

void log(int level, const std::string& text);

}  // namespace latentloop
