"""Faults to put into the CUDA kernels of the nearest codeword, one at a time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A fault, and the text of a .cuh file that becomes another."""

    fault: str
    file: str
    text: str
    replacement: str


# Not here, for they change nothing that is promised: a split's end (tiles never cross it), >= for the margin.
MUTANTS = [
    Mutant("norms in float32", "prepare", "double squares = 0", "float squares = 0"),
    Mutant("norms that are not finite", "prepare", "is_finite(half) ? half : -infinity()", "half"),
    Mutant("no largest norm", "prepare", "sqrt(squares)) * 1.000001f", "sqrt(squares)) * 0"),
    Mutant("a codeword too many", "prepare", "k >= a.codewords", "k > a.codewords"),
    Mutant("unaligned loads", "vectors", "reinterpret_cast<uintptr_t>(memory) % 16 == 0", "true"),
    Mutant("unaligned rows", "vectors", "dimensions % kSixteen == 0", "dimensions >= kSixteen"),
    Mutant("no padding of dimensions", "vectors", "d + i < dimensions", "d + i <= dimensions"),
    Mutant("no padding of vectors", "vectors", "values[i] = live && d", "values[i] = d"),
    Mutant("every image is the first", "vectors", "n / positions * positions * dimensions + n", "n"),
    Mutant("no first barrier", "exact", "  put(0);\n  barrier();\n", "  put(0);\n"),
    Mutant("no barrier", "exact", "put(kExactTile - offset);\n    barrier();", "put(kExactTile - offset);"),
    Mutant("one buffer", "exact", "put(kExactTile - offset)", "put(offset)"),
    Mutant("the last of equal scores", "exact", "sums[i][j] > best[i]", "sums[i][j] >= best[i]"),
    Mutant("codewords that are padding", "exact", "a.half_norms[k] : -infinity()", "a.half_norms[k] : 0"),
    Mutant("the norm's last part only", "exact", "d == 0 ? 0 : norms.get(thread)", "0"),
    Mutant("rows mixed up", "exact", "i / 4 * 64", "i / 4 * 68"),
    Mutant("every split is the first", "exact", "first_codeword = block_y() * a.split_codewords", "first_codeword = 0"),
    Mutant("splits overwrite", "exact", "a.partials[block_y() * a.vectors + first", "a.partials[first"),
    Mutant("a vector too many", "exact", "first_vector + row < a.vectors", "first_vector + row <= a.vectors"),
    Mutant("half of the lanes", "exact", "-infinity(), 0}, 16)", "-infinity(), 0}, 8)"),
    Mutant("the highest index", "partial", "other.index < into.index", "other.index > into.index"),
    Mutant("lanes left out", "partial", "mask = lanes / 2", "mask = lanes / 4"),
    Mutant("the second is forgotten", "partial", "fminf(into.best, other.best)", "into.second"),
    Mutant("no first barrier", "tensor", "  put(0);\n  barrier();\n", "  put(0);\n"),
    Mutant("no barrier", "tensor", "put(kTensorTile - offset);\n    barrier();", "put(kTensorTile - offset);"),
    Mutant("no last barrier", "tensor", "  }\n  barrier();\n", "  }\n"),
    Mutant("half of a fragment", "tensor", "{e_tiles.get(at), e", "{e_tiles.get(at + 4), e"),
    Mutant("fragments' rows swapped", "tensor", "r / 4 * 16 + r % 2 * 8", "r / 4 * 16 + 8 - r % 2 * 8"),
    Mutant("pairs beyond the tile", "tensor", "tile.set_sixteen(at + 4,", "tile.set_sixteen(at + 8,"),
    Mutant("the second is forgotten", "tensor", "fmaxf(second[r], fminf(score, best[r]))", "second[r]"),
    Mutant("the other half's second", "tensor", "second_of_half.get(row)", "-infinity()"),
    Mutant("codewords that are padding", "tensor", "a.half_norms[k] : -infinity()", "a.half_norms[k] : 0"),
    Mutant("columns mixed up", "tensor", "pair * 2 + c % 2", "pair + c % 2"),
    Mutant("no margin", "resolve", "margin = 2 *", "margin = 0 *"),
    Mutant("a seventh of the margin", "resolve", "margin = 2 *", "margin = 0.3f *"),
    Mutant("vectors without a norm", "resolve", "found.index < 0 || !is_finite(found.norm)", "found.index < 0"),
    Mutant("at most 32 splits", "resolve", "split < a.splits", "split < a.splits && split < 32"),
    Mutant("the last of equal scores", "resolve", "if (score > found.best)", "if (score >= found.best)"),
    Mutant("images scored as rows", "resolve", "add(widen(z[d * stride]), w", "add(widen(z[d]), w"),
    Mutant("lanes left out", "resolve", "mask = 16;", "mask = 8;"),
    Mutant("a warp too many", "resolve", "(n >= a.vectors)", "(n > a.vectors)"),
    Mutant("one lane returns early", "resolve", "(n >= a.vectors)", "(n >= a.vectors || lane >= a.vectors)"),
    Mutant("all are counted", "resolve", "if (none && a.invalid", "if (a.invalid"),
    Mutant("a count that nobody asked for", "resolve", "none && a.invalid != nullptr", "none"),
    Mutant("the codeword of none", "resolve", "none ? T(not_a_number()) : codeword[d]", "codeword[d]"),
]
