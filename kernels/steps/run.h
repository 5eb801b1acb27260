// One work item of a task of a step.
#pragma once

#include "../causal_conv/left.h"
#include "attend.h"
#include "draw.h"
#include "product.h"

namespace {

using latentloop::Outcome;
using latentloop::Task;

size_t step_items(const Task& t) {
  switch (t.kind) {
    case Task::kLeft:
      return left_items(t.left);
    case Task::kProduct:
      return product_items(t.product);
    case Task::kAttend:
      return attend_items(t.attend);
    case Task::kInput:
      return input_items(t.input);
    default:
      return draw_items(t.draw);
  }
}

Outcome step_item(const Task& t, size_t item) {
  switch (t.kind) {
    case Task::kLeft:
      left(t.left, item);
      return latentloop::kComplete;
    case Task::kProduct:
      product(t.product, item);
      return latentloop::kComplete;
    case Task::kAttend:
      return attend(t.attend, item) ? latentloop::kComplete : latentloop::kOutOfMemory;
    case Task::kInput:
      return input(t.input, item);
    default:
      return draw(t.draw, item);
  }
}

}  // namespace
