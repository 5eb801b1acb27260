#include "views.h"

#include <algorithm>
#include <cmath>
#include <cstring>

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

template <typename T>
void assign(void* array, int64_t count, T value) {
  std::fill_n(static_cast<T*>(array), count, value);
}

uint16_t bfloat16_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);  // rounded to the nearest, ties to even
}

// Of integers, which have no subnormal numbers.
uint16_t float16_bits(int64_t value) {
  const auto sign = static_cast<uint16_t>(value < 0 ? 0x8000 : 0);
  const double magnitude = std::abs(static_cast<double>(value));
  if (magnitude == 0) return sign;
  const int exponent = std::ilogb(magnitude);
  const double fraction = std::nearbyint(std::ldexp(magnitude, 10 - exponent));     // 1024 to 2048
  if (exponent > 15 || (exponent == 15 && fraction == 2048)) return sign | 0x7C00;  // infinity
  return static_cast<uint16_t>(sign + ((exponent + 14) << 10) + static_cast<int>(fraction));
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

int64_t element_size(Type type) {
  static constexpr std::array<int64_t, kTypeNames.size()> kSizes{4, 8, 1, 2, 2};
  return kSizes[static_cast<size_t>(type)];
}

void write_initial_values(const StateBuffer& buffer, int64_t batch, void* array) {
  const Shape shape = shape_for_batch(buffer.shape, batch);
  const int64_t count = elements(shape);
  if (buffer.fill_is_index) {
    const int64_t per_entry = count / shape[0];
    for (int64_t entry = 0; entry < shape[0]; ++entry)
      assign(static_cast<int64_t*>(array) + entry * per_entry, per_entry, entry);
    return;
  }
  switch (buffer.type) {
    case Type::float32:
      return assign(array, count, static_cast<float>(buffer.fill));
    case Type::int64:
      return assign(array, count, buffer.fill);
    case Type::uint8:
      return assign(array, count, static_cast<uint8_t>(buffer.fill));
    case Type::float16:
      return assign(array, count, float16_bits(buffer.fill));
    case Type::bfloat16:
      return assign(array, count, bfloat16_bits(static_cast<float>(buffer.fill)));
  }
}

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
