"""Faults to insert into the CPU kernels, one at a time, by the test of the C++ program that must detect them."""

from __future__ import annotations

from mutants import Mutant

# Compiled into the test program: what packs weights, and what builds and runs lists of phases.
HOST = {"panels.h", "packing.h", "cook_toom.h", "codebook.h", "builder.h", "prior.h"}

MUTANTS = {
    "left": [
        Mutant("last tap missing", "left_sums", "tap < t.taps", "tap + 1 < t.taps"),
        Mutant("sums not set to 0", "left_sums", "sums[…] = 0", "(void)sums[…]"),
        Mutant("last output of a panel missing", "left_activate", "< width; ++v) out", "+ 1 < width; ++v) out"),
        Mutant("no scale", "left_sums", "if (…) scale_sums", "if (false) scale_sums"),
        Mutant("ELU without the 1", "elu", "- 1.0f", ""),
        Mutant("all parts read the first inputs", "multiply_rows", "x[begin + m] + first", "x[begin + m]"),
        Mutant("weights truncated, not rounded", "set", "std::nearbyint(…)", "(…)"),
    ],
    "above": [
        Mutant("wrong sign in F(2, 3)", "pairs", "{3, 2, 1, -1, 1, -1}", "{3, 2, 1, -1, 1, 1}"),
        Mutant("last column missing", "transform_rows", "columns = t.width", "columns = -1 + t.width"),
        Mutant("groups share sums", "above_panel", "if (is_both) clear", "if (is_both && g == 2) clear"),
    ],
    "attention": [
        Mutant("masked entries are used", "attend_head", "t.mask[entry] >= 0", "entry > 0"),
        Mutant("keys of the padding entry", "attend_head", "t.keys + entry *", "t.keys + (entry - 1) *"),
        Mutant("values of the padding entry", "attend_head", "t.values + entry *", "t.values + (entry - 1) *"),
        Mutant("first label for all samples", "product_panel", "t.label + sample *", "t.label + 0 *"),
        Mutant("query of the first head", "attend", "head * d, d, x", "0, d, x"),
        Mutant("scale of the first panel", "panel_sums", "scale + static_cast<size_t>(panel) * kWidth", "scale"),
    ],
    "residual_blocks": [
        Mutant("no mix_above", "biased", "sum += load_part(bias, live)", "sum += 0"),
        Mutant("two blocks share memory", "mix_start", "is_second_ = !is_second_", "is_second_ = false"),
        Mutant("ELU of the next layer's input", "start_block", "if (layer > 0) active", "if (layer > 1) active"),
    ],
    "draw": [Mutant("first temperature for all samples", "draw_code", "t.temperature[sample]", "t.temperature[0]")],
    "input": [
        Mutant("one table for all taps", "input", "static_cast<size_t>(tap) * t.table_codes +", ""),
        Mutant("first part of the next column only", "draw", "part < parts", "part < 1"),
        Mutant("one code too many", "input", ">= t.table_codes", "> t.table_codes"),
    ],
    "prior": [
        Mutant(
            "attention beside its query", "attention", "list_.begin_phase(); list_.add(attend)", "list_.add(attend)"
        ),
        Mutant(
            "result beside the attention", "attention", "list_.begin_phase(); ProductTask first", "ProductTask first"
        ),
        Mutant("draw beside its logits", "phase", "list_.begin_phase();", ""),
        Mutant("logits beside the last block", "logits", "list_.begin_phase();", ""),
    ],
    "nearest": [
        Mutant("scores start at 0", "search_panel", "= load(half_norms + …)", "= Floats{}"),
        Mutant("last of equal scores", "search_panel", "score[m][v] > best;", "score[m][v] >= best;"),
        Mutant(
            "highest index of equal lanes", "best_of_lanes", "index[lane] < index[best]", "index[lane] > index[best]"
        ),
        Mutant("last panel missing", "search_block", "p < panels(…)", "p + 1 < panels(…)"),
        Mutant("no bfloat16 error", "coarse_threshold", "z * e / 256", "0"),
        Mutant("last panel missing in the coarse search", "coarse_scores", "p < count", "p + 1 < count"),
        Mutant("vectors that are not finite", "nearest", "norm[v] < __builtin_inff()", "norm[v] == norm[v]"),
        Mutant("images overlap", "stage", "image * t.dimensions * t.positions", "image * t.positions"),
        Mutant(
            "half norms off by one unit in the last place",
            "PackedCodebook",
            "static_cast<float>(-squares / 2)",
            "std::nextafter(static_cast<float>(-squares / 2), 0.0f)",
        ),
        Mutant("differences not squared", "write_distance_and_codeword", "difference * difference", "difference"),
        Mutant("codeword of the next lane", "nearest", "+ index % kPanel", "+ (index + 1) % kPanel"),
    ],
}
