"""The options of ``latentloop export`` for a classifier in ONNX."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from latentloop.errors import InputError
from latentloop.export.onnx_classifiers.settings import PRESETS, ClassifierSettings, read_settings

if TYPE_CHECKING:  # building the parser must not need the export extra
    from latentloop.export.checkpoints.checkpoint import Checkpoint
    from latentloop.export.onnx_classifiers.model import OnnxModel


def add_classifier_settings(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    group = parser.add_argument_group(
        "a classifier in ONNX",
        "Its file does not say which values its pixels have. The other settings have defaults: docs/classifiers.md.",
    )
    group.add_argument(
        "--classifier-preset",
        choices=PRESETS,
        help="the values of its pixels: normalised as for ImageNet or CLIP, 0 to 1, -1 to 1, or 0 to 255",
    )
    group.add_argument(
        "--classifier-settings",
        type=Path,
        metavar="FILE",
        help="a JSON file with some of: layout, order, size, filter, antialias, scale, mean, std, output, softmax, "
        "features, classes",
    )


def read_any_classifier(
    arguments: argparse.Namespace,
) -> tuple[Checkpoint | OnnxModel | None, ClassifierSettings]:
    """Returns the classifier of ``--classifier``, if there is one, and the settings of one in ONNX.

    Raises CheckpointError, and InputError for settings without a classifier in ONNX.
    """
    from latentloop.export.layouts.reading import read_classifier
    from latentloop.export.onnx_classifiers.model import is_onnx, read_onnx

    path = arguments.classifier
    if path is not None and (is_onnx(path) or path.suffix.lower() == ".onnx"):  # a damaged one is reported as ONNX
        return read_onnx(path), read_settings(arguments.classifier_settings, arguments.classifier_preset)
    for option in ("--classifier-preset", "--classifier-settings"):
        if getattr(arguments, option[2:].replace("-", "_")) is not None:
            reason = "which is not given" if path is None else f"and {path} is none"
            raise InputError(f"{option} is for a classifier in ONNX (--classifier), {reason}: leave it out")
    return None if path is None else read_classifier(path), ClassifierSettings()
