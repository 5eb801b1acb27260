"""The model card of a bundle: README.md with the front matter that model hubs read, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from latentloop.bundles.manifest import Manifest
from latentloop.errors import listed
from latentloop.export.bundle.card_picture import CardPicture, card_picture
from latentloop.export.bundle.markdown_text import escaped, table
from latentloop.export.bundle.source import CheckedSource
from latentloop.export.checkpoints.code_usage import without_usage
from latentloop.export.checkpoints.lazy_arrays import arrays_of
from latentloop.export.inplace.check import MeasuredImages
from latentloop.images.writing import png_bytes
from latentloop.io.card_mark import marked
from latentloop.io.file_names import CARD, CARD_PICTURE, MANIFEST

ADDRESS = "hf://OWNER/NAME"  # where the bundle will be, which the exporter does not know
MOST_CLASSES = 100  # names that a card lists
LICENCES = (  # that hubs know by these names; any other is in the text of the card
    *("agpl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-nd-4.0"),
    *("cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-4.0", "cc0-1.0", "gpl-2.0", "gpl-3.0", "lgpl-3.0", "mit"),
    *("mpl-2.0", "openrail", "unlicense"),
)


def write_card(folder: Path, checked: CheckedSource, manifest: Manifest, measured: Sequence[MeasuredImages]) -> None:
    """Writes the card and its picture into the folder of a finished bundle.

    ``measured``: what the checkpoints reached on a data set; empty if that is not known. Raises LatentLoopError.
    """
    picture = card_picture(folder, checked)
    if picture is not None:
        (folder / CARD_PICTURE).write_bytes(png_bytes(picture.image))
    size = (folder / MANIFEST).stat().st_size
    (folder / CARD).write_bytes(marked(card_text(checked, manifest, size, measured, picture)))


def card_text(
    checked: CheckedSource,
    manifest: Manifest,
    manifest_size: int,
    measured: Sequence[MeasuredImages],
    picture: CardPicture | None,
) -> str:
    """Returns the card: front matter in YAML, of fixed texts only, and Markdown."""
    height, width, channels = manifest.image
    title = f"VQ-VAE-2 for {'grey' if channels == 1 else 'RGB'} images of {height} x {width} pixels"
    sections = [
        _front_matter(manifest),
        [f"# {title}"],
        [] if picture is None else [f"![{picture.description}]({CARD_PICTURE})", "", picture.caption],
        [
            "A bundle for LatentLoop, which samples images from VQ-VAE-2 models with ONNX Runtime or TensorRT: its "
            "levels of codes, from the top down, its priors and its decoder are ONNX graphs over one file of weights."
        ],
        ["## Model", "", *_model(checked, manifest)],
        ["## Figures", "", *_figures(checked, measured)],
        ["## Use", "", *_use(manifest)],
        ["## Files", "", *_files(manifest, manifest_size)],
        ["## Origin", "", *_origin(checked, manifest)],
        ["## Licence", "", *_licence(manifest)],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _front_matter(manifest: Manifest) -> list[str]:
    can_draw = _can_draw(manifest)
    return [
        "---",
        f"license: {_licence_name(manifest.licence)}",
        "library_name: latentloop",
        *(["pipeline_tag: unconditional-image-generation"] if can_draw else []),
        "tags:",
        "- vq-vae-2",
        *(["- pixelsnail", "- image-generation"] if can_draw else ["- image-compression"]),
        "- onnx",
        "---",
    ]


def _can_draw(manifest: Manifest) -> bool:
    return all(level.prior for level in manifest.levels)


def _licence_name(text: str) -> str:
    """Returns the name that hubs have for a licence: "unknown" if none is stated, "other" for one without a name."""
    if not text.strip():
        return "unknown"
    name = text.strip().lower().removesuffix(" license").removesuffix(" licence").replace(" ", "-")
    return name if name in LICENCES else "other"


def _model(checked: CheckedSource, manifest: Manifest) -> list[str]:
    checkpoints = checked.source.checkpoints()
    parameters = {
        name: sum(arrays_of(each.weights)[weight].size for weight in without_usage(each.weights))
        for name, each in checkpoints.items()
    }
    levels = []
    for level in manifest.levels:
        prior = f"{parameters[level.name]:,}" if level.prior else "no prior: its codes must be given"
        levels.append((escaped(level.name), f"{level.height} x {level.width}", str(level.codebook_size), prior))
    other = [f"{parameters['vqvae']:,} parameters of the VQ-VAE"]
    other += [f"{parameters['classifier']:,} of the classifier"] if "classifier" in parameters else []
    names = [escaped(name, 60) for name in manifest.classes]
    classes = f"{len(names)}: {listed(names, most=MOST_CLASSES)}" if names else "none"
    return [
        *table(("level", "codes of an image", "codebook", "parameters of its prior"), levels),
        "",
        f"- Others: {', '.join(other)}; {sum(parameters.values()):,} parameters in all.",
        f"- Classes: {classes}",
        f"- Weights: stored as {checked.weights}; the priors compute with {' or '.join(manifest.precisions)}.",
        f"- Classifier, to select samples: {_classifier(checked, manifest)}.",
    ]


def _classifier(checked: CheckedSource, manifest: Manifest) -> str:
    if checked.attached is not None:
        return f"{escaped(checked.attached.model.path.name)}, attached as ONNX"
    return "yes" if manifest.classifier else "none"


def _figures(checked: CheckedSource, measured: Sequence[MeasuredImages]) -> list[str]:
    if not measured:
        return ["None were measured: that needs a data set (`latentloop export --data FOLDER --card …`)."]
    rows = []
    for images, each in measured:
        if each.unit == "dB":
            error = 10 ** (-each.own / 10)
            rows.append(("reconstruction", f"{each.own:.2f} dB PSNR, squared error {error:.2g} of 1", str(images)))
        else:
            guess = f"{each.own:.2f} bits per code; guessing needs {each.uniform:.2f}"
            rows.append((f"{escaped(each.name)} prior", guess, str(images)))
    rounded = "" if checked.weights == "float32" else f", before the weights were rounded to {checked.weights}"
    text = f"Measured by `latentloop export --data` on random images of a data set, held-out ones first{rounded}."
    return [text, "", *table(("part", "figure", "images"), rows)]


def _use(manifest: Manifest) -> list[str]:
    text = f"`{ADDRESS}` stands for the repository that holds these files, or for their folder."
    if _can_draw(manifest):
        shell = f"latentloop sample -n 16 --bundle {ADDRESS} --out picture.png"
        code = ["samples = sampler.sample(4, seeds=7)", 'write_image("four.png", grid(samples.images, columns=2))']
    else:
        shell = f"latentloop reconstruct photos/ --bundle {ADDRESS} --out picture.png"
        code = [
            'images = read_images("photos/", sampler.bundle.image_shape, resize=True)',
            "codes = sampler.encode(images)",
            'write_image("four.png", grid(sampler.decode(codes), columns=2))',
        ]
    reads = "" if _can_draw(manifest) else "read_images, "
    return [
        *(text, "", "```sh", 'pip install "latentloop[hub]"', shell, "```"),
        *("", "```python", "from latentloop import Bundle, Sampler"),
        *(f"from latentloop.images import grid, {reads}write_image", ""),
        *(f'sampler = Sampler(Bundle.open("{ADDRESS}"))', *code, "```"),
    ]


def _files(manifest: Manifest, manifest_size: int) -> list[str]:
    rows = [(f"`{name}`", f"{record.size:,}") for name, record in manifest.files.items()]
    total = manifest_size + sum(record.size for record in manifest.files.values())
    rows += [(f"`{MANIFEST}`", f"{manifest_size:,}"), ("all", f"{total:,}")]
    text = f"`{MANIFEST}` holds the SHA-256 of each other file, which is checked whenever the bundle is opened."
    return [text, "", *table(("file", "bytes"), rows)]


def _origin(checked: CheckedSource, manifest: Manifest) -> list[str]:
    rows = []
    for name, each in checked.source.checkpoints().items():
        layout, file, digest = (each.provenance.get(key) for key in ("layout", "file", "sha256"))
        inplace = ", the older forward pass (in place)" if getattr(each.config, "inplace", False) else ""
        shown = escaped(digest, 12) if isinstance(digest, str) else "not recorded"
        form = f"{escaped(layout or 'LatentLoop')}{inplace}"
        rows.append((escaped(name), escaped(file or "not recorded"), shown, form))
    if checked.attached is not None:
        model = checked.attached.model
        rows.append(("classifier", escaped(model.path.name), escaped(model.sha256, 12), "ONNX"))
    text = f"Exported by LatentLoop {manifest.exporter} from these checkpoints:"
    return [text, "", *table(("part", "file", "SHA-256", "layout"), rows)]


def _licence(manifest: Manifest) -> list[str]:
    if not manifest.licence.strip():
        return ["Unknown: neither the checkpoints nor `--licence` stated one."]
    return [escaped(manifest.licence, 2000)]
