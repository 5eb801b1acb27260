"""LatentLoop's own checkpoints: safetensors files whose metadata holds the configuration."""

from __future__ import annotations

from dataclasses import replace

from latentloop.errors import CheckpointError
from latentloop.export.checkpoints.checkpoint import Checkpoint, Kind, is_own, load_checkpoint, wrong_kind_error
from latentloop.export.configuration import PriorConfig
from latentloop.export.layouts.layout import ReadRequest
from latentloop.export.models.build import check_weights
from latentloop.export.state_dicts.checkpoint_file import CheckpointFile

# Names of tensors that only these checkpoints have.
LANDMARKS = ("encoders.0.conv.weight", "codebooks.0.embedding", "rows_above.weight", "logits.weight")


class OwnLayout:
    """The checkpoints that ``latentloop train`` and ``latentloop export --save-checkpoints`` write."""

    def can_read(self, file: CheckpointFile) -> bool:
        """Returns whether the file has the metadata of such a checkpoint."""
        return is_own(file.path)

    def read(self, file: CheckpointFile, request: ReadRequest) -> Checkpoint:
        """Reads the model. Raises CheckpointError."""
        request.selection.select(file.path, [])
        checkpoint = load_checkpoint(file.path)
        check_weights(checkpoint, file.path)
        if checkpoint.kind != request.kind:
            raise wrong_kind_error(file.path, checkpoint.kind, request.kind)
        config = checkpoint.config
        if isinstance(config, PriorConfig) and config.attention and request.heads not in (None, config.heads):
            raise CheckpointError(
                f"{file.path} has {config.heads} attention heads by its metadata, but {request.heads} are given; "
                "leave the option out"
            )
        # A converted checkpoint keeps the name and hash of the file that it was made from, for the bundle's provenance.
        origin = {"file": file.path.name, "sha256": file.sha256}
        return replace(checkpoint, provenance=origin | checkpoint.provenance)

    def expected(self, kind: Kind) -> str:
        """Returns the command that writes such a file."""
        return f"a .safetensors file that `latentloop train {kind}` wrote"
