"""Faults to insert into the CPU kernels, one at a time."""

from __future__ import annotations

from dataclasses import dataclass

from mutants import Mutant

PACKING = ("gemm/panels.h", "causal_conv/packing.h", "causal_conv/cook_toom.h", "nearest_codebook/cpu/codebook.h")


@dataclass(frozen=True)
class KernelMutant(Mutant):
    """A fault in a file of kernels/, and the test of the C++ program that must detect it."""

    test: str

    @property
    def is_in_program(self) -> bool:
        """Whether the fault is in the packing of weights, which is compiled into the test program."""
        return self.file in PACKING


def _mutants(test: str, *faults: tuple[str, str, str, str]) -> list[KernelMutant]:
    """(fault, file, text, replacement) for each."""
    return [KernelMutant(*fault, test) for fault in faults]


MUTANTS = [
    *_mutants(
        "left",
        ("last tap missing", "causal_conv/left.h", "tap < t.taps;", "tap + 1 < t.taps;"),
        ("sums not set to 0", "causal_conv/left.h", "++s) sums[s] = 0;", "++s) (void)sums[s];"),
        ("last output of a panel missing", "causal_conv/left.h", "v < width; ++v) out", "v + 1 < width; ++v) out"),
        ("no scale", "causal_conv/left.h", "if (t.weights.bytes != 4) scale", "if (false) scale"),
        ("ELU without the 1", "gemm/simd.h", "(x > zero ? zero : x) - 1.0f;", "(x > zero ? zero : x);"),
        ("all parts read the first inputs", "gemm/microkernel.h", "x[begin + m] + first;", "x[begin + m];"),
        (
            "weights truncated, not rounded",
            "gemm/panels.h",
            "std::nearbyint(value[o] * inverse[o])",
            "value[o] * inverse[o]",
        ),
    ),
    *_mutants(
        "above",
        ("wrong sign in F(2, 3)", "causal_conv/cook_toom.h", "{3, 2, 1, -1, 1, -1}", "{3, 2, 1, -1, 1, 1}"),
        (
            "last column missing",
            "causal_conv/above.h",
            "const int columns = t.width",
            "const int columns = -1 + t.width",
        ),
        ("groups share sums", "causal_conv/above.h", "if (is_both) clear(", "if (is_both && g == 2) clear("),
    ),
    *_mutants(
        "attention",
        ("masked entries are used", "blocks/attention.h", "t.mask[entry] >= 0", "entry > 0"),
        ("keys of the padding entry", "blocks/attention.h", "t.keys + entry *", "t.keys + (entry - 1) *"),
        ("values of the padding entry", "blocks/attention.h", "t.values + entry *", "t.values + (entry - 1) *"),
        (
            "first label for all samples",
            "blocks/gated_block.h",
            "p.label[static_cast<size_t>(first + r)",
            "p.label[static_cast<size_t>(first)",
        ),
    ),
    *_mutants("residual_blocks", ("no mix_above", "blocks/residual_blocks.h", "+ above[c];", "+ 0 * above[c];")),
    *_mutants(
        "draw",
        ("first temperature for all samples", "blocks/draw.h", "t.temperature[first + r]", "t.temperature[first]"),
    ),
    *_mutants(
        "nearest",
        (
            "scores start at 0",
            "nearest_codebook/cpu/search.h",
            "score[m][v] = load(half_norms + v * kLanes);",
            "score[m][v] = Floats{};",
        ),
        (
            "last of equal scores",
            "nearest_codebook/cpu/search.h",
            "score[m][v] > best;",
            "score[m][v] >= best;",
        ),
        (
            "highest index of equal lanes",
            "nearest_codebook/cpu/search.h",
            "index[lane] < index[best]",
            "index[lane] > index[best]",
        ),
        (
            "last panel missing",
            "nearest_codebook/cpu/search.h",
            "p < panels(t.codewords); ++p, panel",
            "p + 1 < panels(t.codewords); ++p, panel",
        ),
        ("no bfloat16 error", "nearest_codebook/cpu/coarse.h", "z * e / 256", "0"),
        (
            "last panel missing in the coarse search",
            "nearest_codebook/cpu/coarse.h",
            "for (; p < count; ++p)",
            "for (; p + 1 < count; ++p)",
        ),
        (
            "vectors that are not finite",
            "nearest_codebook/cpu/search.h",
            "norm[v] < __builtin_inff();",
            "norm[v] == norm[v];",
        ),
        (
            "images overlap",
            "nearest_codebook/cpu/search.h",
            "image * t.dimensions * t.positions",
            "image * t.positions",
        ),
        (
            "half norms off by one unit in the last place",
            "nearest_codebook/cpu/codebook.h",
            "static_cast<float>(-squares / 2)",
            "std::nextafter(static_cast<float>(-squares / 2), 0.0f)",
        ),
        (
            "differences not squared",
            "nearest_codebook/cpu/search.h",
            "sum += difference * difference;",
            "sum += difference;",
        ),
        (
            "codeword of the next lane",
            "nearest_codebook/cpu/search.h",
            "panel + index % kPanel",
            "panel + (index + 1) % kPanel",
        ),
    ),
]
