"""Faults to insert into the CUDA kernels of the nearest codeword, one at a time."""

from __future__ import annotations

from mutants import Mutant

# Not included, because they do not change defined results: a split's end (tiles never cross it), >= for the margin.
MUTANTS = [
    Mutant("norms in float32", "prepare", "double squares = 0", "float squares = 0"),
    Mutant("half norms that are not finite", "prepare", "is_finite(half) ? half : -infinity()", "half"),
    Mutant("largest norm 0", "prepare", "sqrt(squares)) * 1.000001f", "sqrt(squares)) * 0"),
    Mutant("one codeword too many", "prepare", "k >= a.codewords", "k > a.codewords"),
    Mutant("unaligned 16-byte loads", "vectors", "reinterpret_cast<uintptr_t>(memory) % 16 == 0", "true"),
    Mutant("16-byte loads in unaligned rows", "vectors", "dimensions % kSixteen == 0", "dimensions >= kSixteen"),
    Mutant("dimensions not padded", "vectors", "d + i < dimensions", "d + i <= dimensions"),
    Mutant("vectors not padded", "vectors", "values[i] = live && d", "values[i] = d"),
    Mutant("first image for all", "vectors", "n / positions * positions * dimensions + n", "n"),
    Mutant("no barrier after the first put", "tiles", "  put(0);\n  barrier();\n", "  put(0);\n"),
    Mutant("no barrier after later puts", "tiles", "put(Tile - offset);\n    barrier();", "put(Tile - offset);"),
    Mutant("a single buffer", "tiles", "put(Tile - offset)", "put(offset)"),
    Mutant("last of equal scores", "search_fma", "sums[i][j] > best[i]", "sums[i][j] >= best[i]"),
    Mutant("padding codewords", "search_fma", "a.half_norms[k] : -infinity()", "a.half_norms[k] : 0"),
    Mutant("norm of the last tile only", "search_fma", "d == 0 ? 0 : norms.get(thread)", "0"),
    Mutant("wrong rows of a thread", "search_fma", "i / 4 * 64", "i / 4 * 68"),
    Mutant("first split for all", "search_fma", "first_codeword = block_y() * a.split_codewords", "first_codeword = 0"),
    Mutant("splits overwrite each other", "search_fma", "a.partials[block_y() * a.vectors + first", "a.partials[first"),
    Mutant("one vector too many", "search_fma", "first_vector + row < a.vectors", "first_vector + row <= a.vectors"),
    Mutant("half of the lanes not merged", "search_fma", "-infinity(), 0}, 16)", "-infinity(), 0}, 8)"),
    Mutant("highest of equal indices", "partials", "other.index < into.index", "other.index > into.index"),
    Mutant("lanes not merged", "partials", "mask = lanes / 2", "mask = lanes / 4"),
    Mutant("second-best score lost in merges", "partials", "fminf(into.best, other.best)", "into.second"),
    Mutant("no barrier before the halves merge", "search_tensor_cores", "  }\n  barrier();\n", "  }\n"),
    Mutant("half of a fragment", "search_tensor_cores", "{e_tiles.get(at), e", "{e_tiles.get(at + 4), e"),
    Mutant("rows of a fragment swapped", "search_tensor_cores", "r / 4 * 16 + r % 2 * 8", "r / 4 * 16 + 8 - r % 2 * 8"),
    Mutant("pairs beyond the tile", "search_tensor_cores", "tile.set_sixteen(at + 4,", "tile.set_sixteen(at + 8,"),
    Mutant("second-best score lost", "search_tensor_cores", "fmaxf(second[r], fminf(score, best[r]))", "second[r]"),
    Mutant("second-best score of the other half lost", "search_tensor_cores", "second_of_half.get(row)", "-infinity()"),
    Mutant("padding codewords", "search_tensor_cores", "a.half_norms[k] : -infinity()", "a.half_norms[k] : 0"),
    Mutant("wrong columns of a fragment", "search_tensor_cores", "pair * 2 + c % 2", "pair + c % 2"),
    Mutant("no margin", "resolve", "margin = 2 *", "margin = 0 *"),
    Mutant("a seventh of the margin", "resolve", "margin = 2 *", "margin = 0.3f *"),
    Mutant(
        "vectors without a finite norm", "resolve", "result.index < 0 || !is_finite(result.norm)", "result.index < 0"
    ),
    Mutant("at most 32 splits", "resolve", "split < a.splits", "split < a.splits && split < 32"),
    Mutant("last of equal scores", "resolve", "if (score > result.best)", "if (score >= result.best)"),
    Mutant("images scored as rows", "resolve", "add(widen(z[d * stride]), w", "add(widen(z[d]), w"),
    Mutant("lanes not summed", "resolve", "mask = 16;", "mask = 8;"),
    Mutant("one warp too many", "resolve", "(n >= a.vectors)", "(n > a.vectors)"),
    Mutant("one lane returns early", "resolve", "(n >= a.vectors)", "(n >= a.vectors || lane >= a.vectors)"),
    Mutant("all vectors counted as invalid", "resolve", "if (is_invalid && a.invalid", "if (a.invalid"),
    Mutant("null counter written", "resolve", "is_invalid && a.invalid != nullptr", "is_invalid"),
    Mutant("codeword without NaN", "resolve", "is_invalid ? T(not_a_number()) : codeword[d]", "codeword[d]"),
]
