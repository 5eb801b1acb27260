"""Reading the manifest: from untrusted JSON to the dataclasses of ``latentloop.bundles.manifest``."""

from __future__ import annotations

from dataclasses import replace

from latentloop.bundles.loop_buffers import FILLS_SINCE, with_fills
from latentloop.bundles.manifest import FORMAT, OLDEST, UNDRAWN_SINCE, VERSION, Manifest
from latentloop.bundles.manifest_checks import check_manifest
from latentloop.io.json_reading import read, read_versioned


def from_json(value: object, source: str) -> Manifest:
    """Returns the checked manifest. Raises BundleError that names the file (``source``) and the field."""
    remedy = ": use a matching release, or export the bundle again"
    values = {"licence": "", **read_versioned(value, source, FORMAT, OLDEST, VERSION, remedy)}
    if values.get("provenance") is None:
        values["provenance"] = {}
    if values.get("codes_sha256") is None:  # an earlier release exported the bundle
        values["codes_sha256"] = _recorded_codes(values["provenance"])
    if values["version"] < UNDRAWN_SINCE:
        values["undrawn_codeword"] = None
    manifest = read(Manifest, values, source)
    if values["version"] < FILLS_SINCE:
        manifest = replace(manifest, levels=tuple(map(with_fills, manifest.levels)))
    check_manifest(manifest, source, values["version"])
    return manifest


def _recorded_codes(provenance: object) -> str | None:
    """Returns the digest of the VQ-VAE's codes that its training recorded, if it did."""
    for name in ("models", "vqvae", "codes_sha256"):
        provenance = provenance.get(name) if isinstance(provenance, dict) else None
    return provenance if isinstance(provenance, str) else None
