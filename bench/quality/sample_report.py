"""The figures of ``latentloop bench samples`` as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latentloop.bench.report.markdown import markdown_table

KINDS = {
    "samples": "samples",
    "training": "training images, for comparison",
    "reconstructions": "reconstructions",
    "held_out": "held-out images",
}


def table(found: dict[str, Any]) -> str:
    """Everything but the confusion matrices and the neighbours."""
    seed, n = found["seed"], found["images"]
    parts = [
        f"{found['bundle']['name']} on {found['data']}: {n} held-out images, and as many samples, seeds {seed} to "
        f"{seed + n - 1}, temperature {_temperature(found['temperature'])}."
    ]
    if found["likeness"]:
        parts += [_likeness(found)]
    else:
        parts += ["The bundle has no classifier: no Fréchet distance, precision, recall and accuracy."]
    parts += [_levels(found), _reconstruction(found["reconstruction"])]
    if found["reconstruction"]["classes"]:
        parts += [_classes(found)]
    return "\n\n".join([*parts, _novelty(found["novelty"])])


def _temperature(value: float | Mapping[str, float]) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{level} {number:g}" for level, number in value.items())
    return f"{value:g}"


def _likeness(found: dict[str, Any]) -> str:
    rows = []
    for kind, name in KINDS.items():
        like, right = found["likeness"].get(kind), found["recognition"][kind]["accuracy"]
        cells = [f"{like['frechet_distance']:.3g}", f"{like['precision']:.3f}", f"{like['recall']:.3f}"] if like else []
        rows.append([name, *(cells or [""] * 3), f"{right:.1%}"])
    return markdown_table(["", "Fréchet distance to held-out", "precision", "recall", "classified right"], rows)


def _levels(found: dict[str, Any]) -> str:
    rows = [
        [
            level["name"],
            f"{level['codes_used']} of {level['codes']}",
            f"{level['perplexity']:.1f}",
            f"{level['bits_per_code']:.3f}",
            f"{level['bits_per_image']:.1f}",
        ]
        for level in found["levels"]
    ]
    rows.append(["all", "", "", "", f"{found['bits_per_image']:.1f} ({found['bits_per_value']:.4f} per value)"])
    return markdown_table(["held-out codes", "used", "perplexity", "bits per code", "bits per image"], rows)


def _reconstruction(of: dict[str, Any]) -> str:
    return (
        f"Reconstructions: PSNR {of['mean_psnr']:.2f} dB, the mean over images; {of['psnr_of_mean_mse']:.2f} dB of the "
        f"mean squared error, {of['mse']:.1f} squared grey levels."
    )


def _classes(found: dict[str, Any]) -> str:
    recognition = found["recognition"] or {}
    rows = []
    for name, of in found["reconstruction"]["classes"].items():
        shares = [recognition[kind]["classes"][name] for kind in KINDS if kind in recognition]
        cells = ["" if share is None else f"{share:.1%}" for share in shares]
        rows.append([name, f"{of['mean_psnr']:.2f}", f"{of['psnr_of_mean_mse']:.2f}", *cells])
    header = ["class", "mean PSNR, dB", "PSNR of the mean error, dB"]
    return markdown_table([*header, *(f"right: {name}" for kind, name in KINDS.items() if kind in recognition)], rows)


def _novelty(novelty: dict[str, Any]) -> str:
    rows = []
    for kind, of in novelty.items():
        middle, ratio = of["percentiles"].index(50), of["ratio_of_medians"]
        cells = [f"{of[part][middle]:.3g}" for part in ("samples", "held_out")]
        rows.append([kind, *cells, "" if ratio is None else f"{ratio:.3f}"])
    return markdown_table(["median distance to the nearest training image, by", "samples", "held-out", "ratio"], rows)
