"""Faults to insert into the CUDA kernels of the nearest codeword, one at a time."""

from __future__ import annotations

from mutants import Mutant

# Not included, because they do not change defined results: a split's end (tiles never cross it), >= for the margin.
MUTANTS = [
    Mutant("norms in float32", "prepare", "double squares = 0", "float squares = 0"),
    Mutant("half norms that are not finite", "prepare", "is_finite(half) ? half : -infinity()", "half"),
    Mutant("largest norm 0", "prepare", "sqrt(squares)) * 1.000001f", "sqrt(squares)) * 0"),
    Mutant("one codeword too many", "prepare", "k >= a.codewords", "k > a.codewords"),
    Mutant("unaligned 16-byte loads", "Vectors", "reinterpret_cast<uintptr_t>(memory) % 16 == 0", "true"),
    Mutant("16-byte loads in unaligned rows", "Vectors", "dimensions % kSixteen == 0", "dimensions >= kSixteen"),
    Mutant("dimensions not padded", "fetch", "d + i < dimensions", "d + i <= dimensions"),
    Mutant("vectors not padded", "fetch", "= live && d", "= d"),
    Mutant("first image for all", "base", "n / positions * positions * dimensions + n", "n"),
    Mutant("no barrier after the first put", "for_each_tile", "put(0); barrier();", "put(0);"),
    Mutant("no barrier after later puts", "for_each_tile", "put(Tile …); barrier();", "put(Tile …);"),
    Mutant("a single buffer", "for_each_tile", "put(Tile - offset)", "put(offset)"),
    Mutant("last of equal scores", "search_fma", "> best[i]", ">= best[i]"),
    Mutant("padding codewords", "search_fma.start_scores", "? a.half_norms[k] : -infinity()", "? a.half_norms[k] : 0"),
    Mutant("norm of the last tile only", "search_fma.add_norms", "d == 0 ? 0 : …;", "0;"),
    Mutant("wrong rows of a thread", "row_of", "i / 4 * 64", "i / 4 * 68"),
    Mutant("first split for all", "search_fma", "first_codeword = block_y() * …;", "first_codeword = 0;"),
    Mutant("splits overwrite each other", "search_fma", "a.partials[block_y() * a.vectors + …]", "a.partials[…]"),
    Mutant("one vector too many", "search_fma", "first_vector + row < a.vectors", "first_vector + row <= a.vectors"),
    Mutant("half of the lanes not merged", "search_fma", "}, 16)", "}, 8)"),
    Mutant("highest of equal indices", "merge", "other.index < into.index", "other.index > into.index"),
    Mutant("lanes not merged", "across_lanes", "mask = lanes / 2", "mask = lanes / 4"),
    Mutant("second-best score lost in merges", "merge", "fminf(into.best, other.best)", "into.second"),
    Mutant("no barrier before the halves merge", "search_tensor_cores", "barrier();", ""),
    Mutant("half of a fragment", "search_tensor_cores", "{e_tiles.get(at),", "{e_tiles.get(at + 4),"),
    Mutant("rows of a fragment swapped", "search_tensor_cores", "+ r % 2 * 8", "+ 8 - r % 2 * 8"),
    Mutant("pairs beyond the tile", "store_pairs", "tile.set_sixteen(at + 4,", "tile.set_sixteen(at + 8,"),
    Mutant(
        "second-best score lost", "search_tensor_cores.update_best", "second[r] = fmaxf(…)", "second[r] = second[r]"
    ),
    Mutant("second-best score of the other half lost", "search_tensor_cores", "second_of_half.get(…)", "-infinity()"),
    Mutant("padding codewords", "search_tensor_cores", "? a.half_norms[k] : -infinity()", "? a.half_norms[k] : 0"),
    Mutant("wrong columns of a fragment", "search_tensor_cores.update_best", "pair * 2 + c % 2", "pair + c % 2"),
    Mutant("no margin", "resolve", "margin = 2 *", "margin = 0 *"),
    Mutant("a seventh of the margin", "resolve", "margin = 2 *", "margin = 0.3f *"),
    Mutant("vectors without a finite norm", "resolve", "is_invalid = … || …;", "is_invalid = …;"),
    Mutant("at most 32 splits", "resolve", "split < a.splits", "split < a.splits && split < 32"),
    Mutant("last of equal scores", "resolve", "score > result.best", "score >= result.best"),
    Mutant("images scored as rows", "resolve", "multiply_add(widen(z[d * stride])", "multiply_add(widen(z[d])"),
    Mutant("lanes not summed", "resolve", "mask = 16", "mask = 8"),
    Mutant("one warp too many", "resolve", "n >= a.vectors", "n > a.vectors"),
    Mutant("one lane returns early", "resolve", "n >= a.vectors", "n >= a.vectors || lane >= a.vectors"),
    Mutant("all vectors counted as invalid", "resolve", "is_invalid && a.invalid", "a.invalid"),
    Mutant("null counter written", "resolve", "is_invalid && a.invalid != nullptr", "is_invalid"),
    Mutant("codeword without NaN", "resolve", "is_invalid ? T(…) : codeword[d]", "codeword[d]"),
]
