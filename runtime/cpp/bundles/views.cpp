#include "views.h"

namespace latentloop {
namespace {

// Returns the shape without its first sizes.
Shape inner(const Shape& shape, size_t axes) {
  return {shape.begin() + static_cast<std::ptrdiff_t>(axes), shape.end()};
}

Shape with_first(int64_t size, Shape shape) {
  shape.insert(shape.begin(), size);
  return shape;
}

}  // namespace

Shape shape_for_batch(const Shape& shape, int64_t batch) {
  Shape sizes = shape;
  for (int64_t& size : sizes) size = size == kBatch ? batch : size;
  return sizes;
}

int64_t elements(const Shape& shape) {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

int64_t element_size(Type type) { return type == Type::uint8 ? 1 : type == Type::float32 ? 4 : 8; }

Extent extent(const Binding& binding, const StateBuffer& buffer, int64_t batch, int64_t i, int64_t j) {
  const Shape shape = shape_for_batch(buffer.shape, batch);
  if (binding.view == View::all) return {0, shape};
  const Shape entry = inner(shape, 1);
  if (binding.view == View::row) return {i * elements(entry), entry};
  if (binding.view == View::entries) return {0, with_first(i + 1, entry)};
  if (!buffer.ring) return {(binding.first + j) * elements(entry), with_first(binding.count, entry)};
  // A ring stores row i at index i modulo its rows. Rows above the grid have negative numbers.
  const int64_t rows = shape[0], row = binding.view == View::span ? i - binding.back : i;
  const int64_t index = (row % rows + rows) % rows;
  const int64_t first = binding.first + buffer.padding + (binding.view == View::columns ? j : 0);
  const Shape column = inner(shape, 2);
  return {index * elements(entry) + first * elements(column), with_first(binding.count, column)};
}

}  // namespace latentloop
