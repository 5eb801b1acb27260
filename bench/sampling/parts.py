"""What a run measures, as files: checkpoints and a bundle of some levels. Needs no PyTorch, as sampling needs none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from latentloop.export.configuration import PriorConfig, VqvaeConfig, from_json, to_json


@dataclass(frozen=True)
class TimedLevel:
    """One level: the configuration that is timed, and the one that it stands for (often the same)."""

    name: str
    config: PriorConfig
    full: PriorConfig

    @property
    def reduction(self) -> str:
        """How the timed one is smaller, or nothing."""
        pairs = [
            (f"{getattr(self.config, name)} of {getattr(self.full, name)} {name.replace('_', ' ')}")
            for name in ("blocks", "residual_blocks", "condition_blocks")
            if getattr(self.config, name) != getattr(self.full, name)
        ]
        return ", ".join(pairs)


@dataclass(frozen=True)
class Part:
    """Levels that share a bundle: ``<folder>/bundle``, and a checkpoint per level and of the VQ-VAE beside it."""

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
        names, known = self.vqvae.level_names, self.levels[0]
        pixels = self.vqvae.stride(names.index(known.name))
        image = known.config.height * pixels, known.config.width * pixels
        strides = [self.vqvae.stride(index) for index in range(len(names))]
        return {name: (image[0] // s, image[1] // s) for name, s in zip(names, strides, strict=True)}

    def checkpoint(self, level: str) -> Path:
        """A level's prior, or "vqvae"."""
        return self.folder / f"{level}.safetensors"

    def write(self) -> None:
        """Describes the part in ``<folder>/part.json``, for processes that measure a part of it."""
        levels = [{"name": v.name, "config": to_json(v.config), "full": to_json(v.full)} for v in self.levels]
        value = {"vqvae": to_json(self.vqvae), "levels": levels, "same_weights": self.same_weights}
        (self.folder / "part.json").write_text(json.dumps(value), encoding="utf-8")

    @staticmethod
    def open(folder: Path) -> Part:
        """What ``write`` described."""
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
