// Test of the kernel for the nearest codeword (NearestTask), within the error bound of nearest_codebook/arguments.h.
#pragma once

#include <algorithm>
#include <array>

#include "nearest_codebook/cpu/codebook.h"
#include "problem.h"

struct NearestProblem {
  int vectors, positions, dimensions, codewords;
  Floats z, codebook;
  latentloop::PackedCodebook packed;

  struct Outputs {
    std::vector<int64_t> index;
    Floats distance, codeword;
  };

  NearestProblem(Floats z, Floats codebook, int vectors, int positions, int dimensions, int codewords, int panel)
      : vectors(vectors),
        positions(positions),
        dimensions(dimensions),
        codewords(codewords),
        z(std::move(z)),
        codebook(std::move(codebook)),
        packed(this->codebook.data(), static_cast<size_t>(codewords), static_cast<size_t>(dimensions),
               static_cast<size_t>(panel)) {}

  size_t at(int n, int d) const {
    if (positions == 0) return static_cast<size_t>(n * dimensions + d);
    return static_cast<size_t>((n / positions * dimensions + d) * positions + n % positions);
  }

  // Returns vector n.
  Floats vector(int n) const {
    Floats values;
    for (int d = 0; d < dimensions; ++d) values.push_back(z[at(n, d)]);
    return values;
  }

  Outputs run_kernel(Random& random) const {
    Outputs outputs{std::vector<int64_t>(static_cast<size_t>(vectors), -2), Floats(static_cast<size_t>(vectors), kNan),
                    Floats(z.size(), kNan)};
    latentloop::NearestTask task = packed.task();
    task.z = z.data();
    task.index = outputs.index.data();
    task.distance = outputs.distance.data();
    task.codeword = outputs.codeword.data();
    task.vectors = vectors, task.positions = positions;
    run(kernels().nearest, task, random);
    return outputs;
  }

  // The squared distance of vector n to codeword k in float64, and twice the error bound of its score.
  Bounded distance(int n, int k) const {
    double sum = 0, squares = 0, norm = 0;
    for (int d = 0; d < dimensions; ++d) {
      const double value = z[at(n, d)], other = codebook[static_cast<size_t>(k * dimensions + d)];
      sum += (value - other) * (value - other), squares += other * other, norm += value * value;
    }
    return {sum, (dimensions / 2.0 + 2) * FLT_EPSILON * (squares + 2 * std::sqrt(norm * squares))};
  }
};

// Checks that every vector's index is the nearest within the error bound, and that its distance and codeword belong to
// it.
inline void check_nearest(Checks& checks, const NearestProblem& problem, const NearestProblem::Outputs& result) {
  Floats distances;
  BoundedValues expected;
  for (int n = 0; n < problem.vectors; ++n) {
    const int64_t index = result.index[n];
    checks.holds("index", n, index >= 0 && index < problem.codewords, "must be in range");
    const Bounded selected = problem.distance(n, static_cast<int>(index));
    for (int k = 0; k < problem.codewords; ++k) {
      const Bounded other = problem.distance(n, k);
      checks.holds("index", n, selected.value <= other.value + selected.error + other.error,
                   "must be the nearest codeword's");
    }
    distances.push_back(result.distance[n]);
    expected.push_back({selected.value, (problem.dimensions + 2) * static_cast<double>(FLT_EPSILON) * selected.value});
    for (int d = 0; d < problem.dimensions; ++d)
      checks.holds("codeword", n, result.codeword[problem.at(n, d)] == problem.codebook[index * problem.dimensions + d],
                   "must be that of the index");
  }
  checks.within_bounds("distance", distances, expected);
}

// Checks that vector n alone, as a row, has a bit-identical index and distance.
inline void check_alone(Checks& checks, const NearestProblem& problem, const NearestProblem::Outputs& result, int n,
                        Random& random) {
  const NearestProblem alone(problem.vector(n), problem.codebook, 1, 0, problem.dimensions, problem.codewords,
                             kernels().panel);
  const auto single = alone.run_kernel(random);
  checks.bit_identical("index", {result.index[n]}, single.index);
  checks.bit_identical("distance", Floats{result.distance[n]}, single.distance);
}

// Checks codewords so close to each other that rounding decides: the index must be that of the chain of multiply-adds
// from h_k in the order of d. They are fused, except on processors without FMA.
inline void check_chain(Checks& checks, Random& random) {
  const int vectors = 100, dimensions = 70, codewords = 3 * kernels().panel - 5;
  checks.problem({{"close codewords", codewords}});
  const Floats base = random.floats(static_cast<size_t>(dimensions));
  Floats codebook;
  for (int k = 0; k < codewords; ++k)
    for (const float value : base) codebook.push_back(value + random.within(1e-6f));
  const NearestProblem problem(random.floats(static_cast<size_t>(vectors * dimensions)), codebook, vectors, 0,
                               dimensions, codewords, kernels().panel);
  const auto result = problem.run_kernel(random);
  const auto count_equal = [&](auto multiply_add) {
    int equal = 0;
    for (int n = 0; n < vectors; ++n) {
      float best = -INFINITY;
      int index = -1;
      for (int k = 0; k < codewords; ++k) {
        double squares = 0;
        for (int d = 0; d < dimensions; ++d) squares += std::pow(codebook[k * dimensions + d], 2.0);
        auto score = static_cast<float>(-squares / 2);
        for (int d = 0; d < dimensions; ++d)
          score = multiply_add(problem.z[n * dimensions + d], codebook[k * dimensions + d], score);
        if (score > best) best = score, index = k;
      }
      equal += result.index[n] == index;
    }
    return equal;
  };
  for (int n = 0; n < vectors; ++n) check_alone(checks, problem, result, n, random);
  const int fused = count_equal([](float a, float b, float c) { return std::fma(a, b, c); });
  const int plain = count_equal([](float a, float b, float c) { return a * b + c; });
  checks.holds("index", 0, fused == vectors || plain == vectors, "must be that of the chain of multiply-adds");
}

// Checks a codebook that contains every codeword twice, with the codewords as vectors: the first of the two must be the
// nearest.
inline void check_ties(Checks& checks, Random& random) {
  const int half = 2 * kernels().panel + 3, dimensions = 5;
  checks.problem({{"doubled codewords", half}});
  Floats codebook = random.floats(static_cast<size_t>(half * dimensions));
  const Floats z = codebook;
  codebook.insert(codebook.end(), z.begin(), z.end());
  const NearestProblem problem(z, codebook, half, 0, dimensions, 2 * half, kernels().panel);
  const auto result = problem.run_kernel(random);
  for (int n = 0; n < half; ++n)
    checks.holds("index", n, result.index[n] == n, "must be the lowest of equally near codewords");
}

// Checks vectors and codewords that are not finite or too large: such vectors have no index, such codewords are never
// selected.
inline void check_not_finite(Checks& checks, Random& random) {
  const int vectors = 60, dimensions = 7, codewords = 2 * kernels().panel + 1;
  checks.problem({{"not finite, codewords", codewords}});
  const std::array<float, 4> special{kNan, INFINITY, -INFINITY, 3e38f};
  Floats z = random.floats(static_cast<size_t>(vectors * dimensions));
  Floats codebook = random.floats(static_cast<size_t>(codewords * dimensions));
  for (int n = 0; n < vectors; n += 3) z[n * dimensions + random.below(dimensions)] = special[n / 3 % 4];
  for (int k = 0; k < codewords; k += 2) codebook[k * dimensions + random.below(dimensions)] = special[k / 2 % 4];
  const NearestProblem problem(z, codebook, vectors, 0, dimensions, codewords, kernels().panel);
  const auto result = problem.run_kernel(random);
  for (int n = 0; n < vectors; ++n) {
    checks.holds("index", n, (result.index[n] < 0) == (n % 3 == 0), "must be -1 only for vectors that are not finite");
    checks.holds("index", n, n % 3 == 0 || result.index[n] % 2 == 1,
                 "must not be that of a codeword that is not finite");
    checks.holds("distance", n, std::isnan(result.distance[n]) == (n % 3 == 0),
                 "must be NaN only without a nearest codeword");
    checks.holds("codeword", n, std::isnan(result.codeword[n * dimensions]) == (n % 3 == 0),
                 "must be NaN only without a nearest codeword");
  }
  // No codeword is finite.
  const NearestProblem empty(z, Floats(codebook.size(), kNan), vectors, 0, dimensions, codewords, kernels().panel);
  for (const int64_t index : empty.run_kernel(random).index)
    checks.holds("index", 0, index == -1, "must be -1 if no codeword is finite");
}

inline void test_nearest(Random& random) {
  Checks checks("nearest");
  int turn = 0;
  for (const int dimensions : {1, 5, 64, 130, 512})
    for (const int codewords : {1, 5, 33, 300})
      for (const int vectors : {1, 2, 7, 48, 100}) {
        const int positions = turn % 2 == 0 ? 0 : vectors % 4 == 0 ? vectors / 4 : vectors;
        ++turn;
        checks.problem(
            {{"dimensions", dimensions}, {"codewords", codewords}, {"vectors", vectors}, {"positions", positions}});
        const NearestProblem problem(random.floats(static_cast<size_t>(vectors * dimensions)),
                                     random.floats(static_cast<size_t>(codewords * dimensions)), vectors, positions,
                                     dimensions, codewords, kernels().panel);
        const auto result = problem.run_kernel(random);
        check_nearest(checks, problem, result);
        check_alone(checks, problem, result, random.below(vectors), random);
      }
  check_chain(checks, random);
  check_ties(checks, random);
  check_not_finite(checks, random);
}
