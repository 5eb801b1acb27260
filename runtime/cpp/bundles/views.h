// Views of state buffers: where the binding of a graph lies at row i and column j. All views are contiguous.
#pragma once

#include "manifest.h"

namespace latentloop {

struct Extent {
  int64_t offset;  // in elements
  Shape shape;
};

// Returns the shape with the size "batch" replaced by a number.
Shape shape_for_batch(const Shape& shape, int64_t batch);

// Returns the number of elements of a shape without "batch".
int64_t elements(const Shape& shape);

int64_t element_size(Type type);  // in bytes

// Writes the initial values of a state buffer to an array.
void write_initial_values(const StateBuffer& buffer, int64_t batch, void* array);

Extent extent(const Binding& binding, const StateBuffer& buffer, int64_t batch, int64_t i, int64_t j);

}  // namespace latentloop
