// The search of a codebook against float64, within the error that nearest_codebook/arguments.h states.
#pragma once

#include <algorithm>
#include <array>

#include "harness.h"
#include "nearest_codebook/cpu/codebook.h"

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

  // Vector n by itself.
  Floats vector(int n) const {
    Floats values;
    for (int d = 0; d < dimensions; ++d) values.push_back(z[at(n, d)]);
    return values;
  }

  Outputs found(const latentloop::Kernel<latentloop::NearestTask>& kernel, Random& random) const {
    Outputs to{std::vector<int64_t>(static_cast<size_t>(vectors), -2), Floats(static_cast<size_t>(vectors), kNan),
               Floats(z.size(), kNan)};
    latentloop::NearestTask task = packed.task();
    task.z = z.data();
    task.index = to.index.data(), task.distance = to.distance.data(), task.codeword = to.codeword.data();
    task.vectors = vectors, task.positions = positions;
    run(kernel, task, random);
    return to;
  }

  // Of float64: the squared distance of vector n to codeword k, and the most by which its score may err, doubled.
  Near distance(int n, int k) const {
    double sum = 0, squares = 0, norm = 0;
    for (int d = 0; d < dimensions; ++d) {
      const double value = z[at(n, d)], other = codebook[static_cast<size_t>(k * dimensions + d)];
      sum += (value - other) * (value - other), squares += other * other, norm += value * value;
    }
    return {sum, (dimensions / 2.0 + 2) * FLT_EPSILON * (squares + 2 * std::sqrt(norm * squares))};
  }
};

// Every vector's index must be the nearest within the error, its distance and codeword those of the index.
inline void check_nearest(Checks& checks, const NearestProblem& problem, const NearestProblem::Outputs& to) {
  Floats distances;
  std::vector<Near> expected;
  for (int n = 0; n < problem.vectors; ++n) {
    const int64_t index = to.index[n];
    checks.holds("index", n, index >= 0 && index < problem.codewords, "no codeword's");
    const Near chosen = problem.distance(n, static_cast<int>(index));
    for (int k = 0; k < problem.codewords; ++k) {
      const Near other = problem.distance(n, k);
      checks.holds("index", n, chosen.value <= other.value + chosen.error + other.error, "another codeword is nearer");
    }
    distances.push_back(to.distance[n]);
    expected.push_back({chosen.value, (problem.dimensions + 2) * static_cast<double>(FLT_EPSILON) * chosen.value});
    for (int d = 0; d < problem.dimensions; ++d)
      checks.holds("codeword", n, to.codeword[problem.at(n, d)] == problem.codebook[index * problem.dimensions + d],
                   "not the index's");
  }
  checks.near("distance", distances, expected);
}

// The same vector alone, as a row, has the same index and distance, bit for bit.
inline void check_alone(Checks& checks, const NearestProblem& problem, const NearestProblem::Outputs& to,
                        const latentloop::Kernels& kernels, int n, Random& random) {
  const NearestProblem alone(problem.vector(n), problem.codebook, 1, 0, problem.dimensions, problem.codewords,
                             kernels.panel);
  const auto single = alone.found(kernels.nearest, random);
  checks.same("index", {to.index[n]}, single.index);
  checks.same("distance", Floats{to.distance[n]}, single.distance);
}

// Codewords so close to each other that rounding decides: the index is that of the chain of fused or, on a processor
// without them, plain multiply-adds from h_k in the order of d.
inline void check_chain(Checks& checks, const latentloop::Kernels& kernels, Random& random) {
  const int vectors = 100, dimensions = 70, codewords = 3 * kernels.panel - 5;
  checks.problem({{"close codewords", codewords}});
  const Floats base = random.floats(static_cast<size_t>(dimensions));
  Floats codebook;
  for (int k = 0; k < codewords; ++k)
    for (const float value : base) codebook.push_back(value + random.within(1e-6f));
  const NearestProblem problem(random.floats(static_cast<size_t>(vectors * dimensions)), codebook, vectors, 0,
                               dimensions, codewords, kernels.panel);
  const auto to = problem.found(kernels.nearest, random);
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
      equal += to.index[n] == index;
    }
    return equal;
  };
  for (int n = 0; n < vectors; ++n) check_alone(checks, problem, to, kernels, n, random);
  const int fused = count_equal([](float a, float b, float c) { return std::fma(a, b, c); });
  const int plain = count_equal([](float a, float b, float c) { return a * b + c; });
  checks.holds("index", 0, fused == vectors || plain == vectors, "not that of the chain of multiply-adds");
}

// Doubled codewords, and every one as a vector: the first of the two is the nearest.
inline void check_ties(Checks& checks, const latentloop::Kernels& kernels, Random& random) {
  const int half = 2 * kernels.panel + 3, dimensions = 5;
  checks.problem({{"doubled codewords", half}});
  Floats codebook = random.floats(static_cast<size_t>(half * dimensions));
  const Floats z = codebook;
  codebook.insert(codebook.end(), z.begin(), z.end());
  const NearestProblem problem(z, codebook, half, 0, dimensions, 2 * half, kernels.panel);
  const auto to = problem.found(kernels.nearest, random);
  for (int n = 0; n < half; ++n) checks.holds("index", n, to.index[n] == n, "not the lowest of equal ones");
}

// Vectors and codewords that are not finite, or too large: none has an index, none is chosen.
inline void check_not_finite(Checks& checks, const latentloop::Kernels& kernels, Random& random) {
  const int vectors = 60, dimensions = 7, codewords = 2 * kernels.panel + 1;
  checks.problem({{"not finite, of codewords", codewords}});
  const std::array<float, 4> odd{kNan, INFINITY, -INFINITY, 3e38f};
  Floats z = random.floats(static_cast<size_t>(vectors * dimensions));
  Floats codebook = random.floats(static_cast<size_t>(codewords * dimensions));
  for (int n = 0; n < vectors; n += 3) z[n * dimensions + random.below(dimensions)] = odd[n / 3 % 4];
  for (int k = 0; k < codewords; k += 2) codebook[k * dimensions + random.below(dimensions)] = odd[k / 2 % 4];
  const NearestProblem problem(z, codebook, vectors, 0, dimensions, codewords, kernels.panel);
  const auto to = problem.found(kernels.nearest, random);
  for (int n = 0; n < vectors; ++n) {
    checks.holds("index", n, (to.index[n] < 0) == (n % 3 == 0), "is -1 where the vector is finite, or not where not");
    checks.holds("index", n, n % 3 == 0 || to.index[n] % 2 == 1, "of a codeword that is not finite");
    checks.holds("distance", n, std::isnan(to.distance[n]) == (n % 3 == 0), "is NaN exactly where there is none");
    checks.holds("codeword", n, std::isnan(to.codeword[n * dimensions]) == (n % 3 == 0), "is NaN where there is none");
  }
  // Without one eligible codeword nothing is found.
  const NearestProblem empty(z, Floats(codebook.size(), kNan), vectors, 0, dimensions, codewords, kernels.panel);
  for (const int64_t index : empty.found(kernels.nearest, random).index)
    checks.holds("index", 0, index == -1, "of a codebook without finite codewords");
}

inline void test_nearest(const latentloop::Kernels& kernels, Random& random) {
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
                                     dimensions, codewords, kernels.panel);
        const auto to = problem.found(kernels.nearest, random);
        check_nearest(checks, problem, to);
        check_alone(checks, problem, to, kernels, random.below(vectors), random);
      }
  check_chain(checks, kernels, random);
  check_ties(checks, kernels, random);
  check_not_finite(checks, kernels, random);
}
