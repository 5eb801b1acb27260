"""The figures of ``latentloop bench samples`` as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latentloop.bench.figures.text import markdown_table

KINDS = {
    "samples": "samples",
    "training": "training images, for comparison",
    "reconstructions": "reconstructions",
    "held_out": "held-out images",
}


def table(result: dict[str, Any]) -> str:
    """Returns all figures except confusion matrices and neighbours."""
    seed, n = result["seed"], result["images"]
    sections = [
        f"{result['bundle']['name']} on {result['data']}: {n} held-out images, and as many samples, seeds {seed} to "
        f"{seed + n - 1}, temperature {_temperature(result['temperature'])}."
    ]
    if result["likeness"]:
        sections += [_likeness(result)]
    elif result["recognition"]:
        sections += ["The bundle's classifier has no features: no Fréchet distance, precision and recall."]
        rows = [[KINDS[kind], f"{each['accuracy']:.1%}"] for kind, each in result["recognition"].items()]
        sections += [markdown_table(["images", "classified correctly"], rows)]
    else:
        sections += ["The bundle has no classifier: no Fréchet distance, precision, recall and accuracy."]
    sections += [_levels(result), _reconstruction(result["reconstruction"])]
    if result["reconstruction"]["classes"]:
        sections += [_classes(result)]
    return "\n\n".join([*sections, _novelty(result["novelty"])])


def _temperature(value: float | Mapping[str, float]) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{level} {number:g}" for level, number in value.items())
    return f"{value:g}"


def _likeness(result: dict[str, Any]) -> str:
    rows = []
    for kind, name in KINDS.items():
        like, correct = result["likeness"].get(kind), result["recognition"][kind]["accuracy"]
        cells = [f"{like['frechet_distance']:.3g}", f"{like['precision']:.3f}", f"{like['recall']:.3f}"] if like else []
        rows.append([name, *(cells or [""] * 3), f"{correct:.1%}"])
    header = ["images", "Fréchet distance to held-out", "precision", "recall", "classified correctly"]
    legend = (
        "In the features of the bundle's classifier. *precision*: the share of these images in the neighbourhood of "
        "held-out ones; *recall*: the share of the held-out images within theirs."
    )
    return f"{markdown_table(header, rows)}\n\n{legend}"


def _levels(result: dict[str, Any]) -> str:
    rows = [
        [
            level["name"],
            f"{level['codes_used']} of {level['codes']}",
            f"{level['perplexity']:.1f}",
            f"{level['bits_per_code']:.3f}",
            f"{level['bits_per_image']:.1f}",
        ]
        for level in result["levels"]
    ]
    rows.append(["all", "", "", "", f"{result['bits_per_image']:.1f} ({result['bits_per_value']:.4f} per value)"])
    legend = (
        "*perplexity*: how many codes, if all occurred equally often, would be as hard to predict by frequency alone."
    )
    header = ["level", "held-out codes used", "perplexity", "bits per code", "bits per image"]
    return f"{markdown_table(header, rows)}\n\n{legend}"


def _reconstruction(figures: dict[str, Any]) -> str:
    return (
        f"Reconstructions: PSNR {figures['mean_psnr']:.2f} dB, the mean over images; "
        f"{figures['psnr_of_mean_mse']:.2f} dB of the mean squared error, {figures['mse']:.1f} squared grey levels."
    )


def _classes(result: dict[str, Any]) -> str:
    recognition = result["recognition"] or {}
    kinds = {kind: name for kind, name in KINDS.items() if kind in recognition}
    rows = []
    for name, figures in result["reconstruction"]["classes"].items():
        shares = [recognition[kind]["classes"][name] for kind in kinds]
        cells = ["" if share is None else f"{share:.1%}" for share in shares]
        rows.append([name, f"{figures['mean_psnr']:.2f}", f"{figures['psnr_of_mean_mse']:.2f}", *cells])
    header = ["class", "mean PSNR, dB", "PSNR of the mean error, dB"]
    return markdown_table([*header, *(f"correct: {name}" for name in kinds.values())], rows)


def _novelty(novelty: dict[str, Any]) -> str:
    rows = []
    for kind, figures in novelty.items():
        middle, ratio = figures["percentiles"].index(50), figures["ratio_of_medians"]
        cells = [f"{figures[images][middle]:.3g}" for images in ("samples", "held_out")]
        rows.append([kind, *cells, "" if ratio is None else f"{ratio:.3f}"])
    return markdown_table(["median distance to the nearest training image, by", "samples", "held-out", "ratio"], rows)
