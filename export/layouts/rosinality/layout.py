"""The class of this layout for the list of layouts."""

from __future__ import annotations

from latentloop.export.checkpoints.checkpoint import Checkpoint, Kind, wrong_kind_error
from latentloop.export.layouts.layout import ReadRequest
from latentloop.export.layouts.rosinality import prior, vqvae
from latentloop.export.state_dicts.checkpoint_file import CheckpointFile
from latentloop.export.state_dicts.files.contents import listed_names

LANDMARKS: dict[Kind, tuple[str, ...]] = {"vqvae": vqvae.LANDMARKS, "prior": prior.LANDMARKS}


class RosinalityLayout:
    """The files of rosinality/vq-vae-2-pytorch and of its forks with the same names and shapes."""

    def can_read(self, file: CheckpointFile) -> bool:
        """Returns whether the file has a name that only a VQ-VAE or a prior of this layout has."""
        return any(file.has_any(names) for names in LANDMARKS.values())

    def read(self, file: CheckpointFile, request: ReadRequest) -> Checkpoint:
        """Reads the VQ-VAE or a prior from a state dict at any place in the file. Raises CheckpointError."""
        if not file.has_any(LANDMARKS.get(request.kind, ())):
            request.selection.select(file.path, [])
            held = next(kind for kind, names in LANDMARKS.items() if file.has_any(names))
            raise wrong_kind_error(file.path, held, request.kind)
        return (vqvae.read if request.kind == "vqvae" else prior.read)(file, request)

    def expected(self, kind: Kind) -> str:
        """Returns names of the layout."""
        names = LANDMARKS.get(kind, ())
        return f"the names of {vqvae.LAYOUT}: {listed_names(names)}" if names else ""
