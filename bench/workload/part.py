"""A part of a hierarchy as files: checkpoints and a bundle of some levels.

Needs no PyTorch, so that a process that measures LatentLoop's memory does not load it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from latentloop.export.configuration import PriorConfig, VqvaeConfig, from_json, to_json


@dataclass(frozen=True)
class TimedLevel:
    """One level: the configuration that is timed, and the full one that it represents (often the same)."""

    name: str
    config: PriorConfig
    full: PriorConfig

    @property
    def reduction(self) -> str:
        """How the timed configuration is smaller than the full one; "" if it is not."""
        pairs = [
            (f"{getattr(self.config, name)} of {getattr(self.full, name)} {name.replace('_', ' ')}")
            for name in ("blocks", "residual_blocks", "condition_blocks")
            if getattr(self.config, name) != getattr(self.full, name)
        ]
        return ", ".join(pairs)


@dataclass(frozen=True)
class Part:
    """Levels that share a bundle: ``<folder>/bundle``, and beside it a checkpoint per level and of the VQ-VAE."""

    folder: Path
    vqvae: VqvaeConfig
    levels: tuple[TimedLevel, ...]
    same_weights: bool = True  # whether the checkpoints hold the bundle's weights

    @property
    def bundle(self) -> Path:
        """The bundle's directory."""
        return self.folder / "bundle"

    @property
    def grids(self) -> dict[str, tuple[int, int]]:
        """Height and width in codes of every level of the hierarchy, top first."""
        names, first = self.vqvae.level_names, self.levels[0]
        pixels = self.vqvae.stride(names.index(first.name))
        image = first.config.height * pixels, first.config.width * pixels
        strides = [self.vqvae.stride(index) for index in range(len(names))]
        return {name: (image[0] // s, image[1] // s) for name, s in zip(names, strides, strict=True)}

    def checkpoint(self, name: str) -> Path:
        """Returns the path of a level's prior, or of the VQ-VAE for "vqvae"."""
        return self.folder / f"{name}.safetensors"

    def write(self) -> None:
        """Writes the part's description to ``<folder>/part.json``, for other processes to open."""
        levels = [{"name": v.name, "config": to_json(v.config), "full": to_json(v.full)} for v in self.levels]
        value = {"vqvae": to_json(self.vqvae), "levels": levels, "same_weights": self.same_weights}
        (self.folder / "part.json").write_text(json.dumps(value), encoding="utf-8")

    @staticmethod
    def open(folder: Path) -> Part:
        """Reads the description that ``write`` wrote."""
        source = folder / "part.json"
        value = json.loads(source.read_text(encoding="utf-8"))
        levels = tuple(
            TimedLevel(
                v["name"],
                from_json(PriorConfig, v["config"], str(source)),
                from_json(PriorConfig, v["full"], str(source)),
            )
            for v in value["levels"]
        )
        return Part(folder, from_json(VqvaeConfig, value["vqvae"], str(source)), levels, value["same_weights"])
