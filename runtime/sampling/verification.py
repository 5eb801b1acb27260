"""Verification of a sampler against its bundle's golden vectors, which the float64 specification computed.

A sampler with rounded weights cannot reproduce them: its probabilities must be close to the specification's, and every
draw must agree with its own logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.bundles.manifest import Level
from latentloop.draws.draw_settings import DrawSettings
from latentloop.draws.level_inputs import LevelInputs
from latentloop.draws.reference import allowed_codes
from latentloop.draws.settings import FILTERS, TEMPERATURE, DrawSetting
from latentloop.draws.uniforms import uniforms
from latentloop.errors import BundleError, LatentLoopError
from latentloop.sampling.batches import batches
from latentloop.sampling.classifier import classifier_file
from latentloop.sampling.likelihood import log_softmax
from latentloop.sampling.sampler import Sampler, runs_of
from latentloop.sampling.validation import has_filter

Array = NDArray[Any]

LOGITS_BOUND = 1e-4  # float32 against float64, of max(1, max |logit|)
DRAW_BOUND = 1e-4  # of the total mass: the distance from a CDF edge within which a draw may be on either side
SETTING_ROWS = 4  # rows drawn with each setting; enough for codes that a wrong filter allows
MARGIN_BOUND = 1e-5  # of |z|^2 + max |e|^2: distances that differ by less count as equal
DECODED_BOUND = 1e-3  # pixels are in [-1, 1]
# Replaces MARGIN_BOUND and DECODED_BOUND if the encoder's and decoder's products have 16 bits: each of about twelve
# layers between codes and pixels rounds two factors and a result.
NARROW_BOUND = {"float16": 36 * 2.0**-11, "bfloat16": 36 * 2.0**-8}
# Nats per code, from the golden probabilities to those of rounded weights: half a per cent of a code's information.
# int8 gives 0.0001 in the default bundle, and 0.002 to 0.004 in wide random layers, which amplify it; a wrong kernel
# gives more.
KL_BOUND = 0.01
# Of probabilities, and of max(1, max |feature|). The classifier always runs in float32 on a CPU. A sum of 9 x 128
# products has a rounding error of about sqrt(9 x 128) = 34 units of 2^-24 in any order of summation; ten layers with
# independent errors give sqrt(10) x 34 = 107 units or 6.4e-6. Measured: at most 5e-7, also with strictly sequential
# sums, and with three times the layers.
CLASSIFIER_BOUND = 1e-5


@dataclass(frozen=True)
class Check:
    """The result of one comparison: its name, the largest error, and the largest error allowed.

    ``skipped`` is the reason if the comparison does not apply to the sampler's precision and was not made.
    """

    name: str
    error: float
    bound: float
    skipped: str = ""

    @property
    def passed(self) -> bool:
        """Whether the error is within the bound. NaN is not."""
        return self.error <= self.bound


def verify(sampler: Sampler) -> Iterator[Check]:
    """Runs every golden vector of the sampler's bundle. Raises BundleError if they do not fit the bundle."""
    golden = sampler.bundle.golden()
    try:
        yield from _verify_encoder(sampler, golden)
        yield from _verify_decoder(sampler, golden)
        if sampler.bundle.manifest.classifier is not None:
            yield from _verify_classifier(sampler, golden)
        for index, level in enumerate(sampler.bundle.manifest.levels):
            if level.prior is not None:
                yield from _verify_prior(sampler, level, index, golden)
    except LatentLoopError:
        raise
    except Exception as error:  # arrays of wrong names, types or shapes can cause any error
        path = sampler.bundle.path / sampler.bundle.manifest.golden
        raise BundleError(f"{path}: golden vectors do not fit the bundle: {error}") from error


def _verify_encoder(sampler: Sampler, golden: dict[str, Array]) -> Iterator[Check]:
    """Compares codes, without near-ties between codewords, and without images whose codes differ in an upper level."""
    codes = sampler.encode(golden["codec.images"])
    upper_agree = np.ones(len(golden["codec.images"]), bool)  # images whose upper codes all agree so far
    for level in sampler.bundle.manifest.levels:
        expected, margin = golden[f"codec.codes.{level.name}"], golden[f"codec.margin.{level.name}"]
        differs = codes[level.name] != expected
        bound = NARROW_BOUND.get(sampler.precision, MARGIN_BOUND)
        counted = differs & (margin > bound) & upper_agree[:, None, None]
        yield Check(f"encode: {level.name} codes that differ", float(counted.mean()), 0.0)
        upper_agree &= ~differs.any((1, 2))


def _verify_decoder(sampler: Sampler, golden: dict[str, Array]) -> Iterator[Check]:
    codes = {level.name: golden[f"codec.codes.{level.name}"] for level in sampler.bundle.manifest.levels}
    decoded = runs_of(sampler).unrounded(codes)
    bound = NARROW_BOUND.get(sampler.precision, DECODED_BOUND)
    yield Check("decode: pixels, of [-1, 1]", float(np.abs(decoded - golden["codec.decoded"]).max()), bound)
    if sampler.bundle.manifest.undrawn_codeword is not None:
        partial = {level.name: golden[f"codec.partial.{level.name}"] for level in sampler.bundle.manifest.levels}
        error = float(np.abs(runs_of(sampler).unrounded(partial) - golden["codec.partial_decoded"]).max())
        yield Check("decode: pixels of a half-drawn image, of [-1, 1]", error, bound)


def _verify_classifier(sampler: Sampler, golden: dict[str, Array]) -> Iterator[Check]:
    result = sampler.classify(golden["codec.images"])
    features = golden["classifier.features"]
    count, expected = len(result.features), features.shape[-1]
    if features.shape == (count, expected) != result.features.shape:  # only if the golden shape itself is valid
        path = sampler.bundle.path / classifier_file(sampler.bundle)
        raise BundleError(
            f"{path}: gives {result.features.shape[1]} features for an image, expected {expected} as in the golden"
            " vectors; export the bundle again"
        )
    if expected:  # a classifier in ONNX can be without features
        error = float(np.abs(result.features - features).max() / max(1.0, float(np.abs(features).max())))
        yield Check("classify: features, of max(1, max |feature|)", error, CLASSIFIER_BOUND)
    error = float(np.abs(result.probabilities - golden["classifier.probabilities"]).max())
    yield Check("classify: probabilities", error, CLASSIFIER_BOUND)


def _verify_prior(sampler: Sampler, level: Level, index: int, golden: dict[str, Array]) -> Iterator[Check]:
    """Compares teacher-forced logits, then free draws with the golden seeds up to the first ambiguous draw, then the
    step with filters and draws with each setting.
    """
    name = level.name
    codes = golden[f"{name}.codes"]
    to_draw = np.full_like(codes, -1, np.int64)
    random = uniforms(golden[f"{name}.seeds"], index, level.height, level.width)
    u = random[: codes.shape[1]].transpose(2, 0, 1).astype(np.float64)
    logits, _ = _run(sampler, level, golden, random, codes)
    yield _check_logits(sampler, level, golden, logits, "")
    if sampler.precision != "float32":
        logits, free = _run(sampler, level, golden, random, to_draw)
        outside, _ = _outside(_mass(logits), free, u)
        yield Check(f"{name}: draws outside their own logits' CDF interval", float(outside.max()), DRAW_BOUND)
        reason = f"{sampler.precision} draws from rounded weights"
        yield Check(f"{name}: sampled codes that differ from the golden ones", 0.0, 0.0, skipped=reason)
    else:
        # With these logits the golden seeds draw the golden codes, unless u is at an edge of a golden code's interval.
        outside, edge = _outside(_mass(logits), codes, u)
        yield Check(f"{name}: draws outside the golden codes' CDF interval", float(outside.max()), DRAW_BOUND)
        _, free = _run(sampler, level, golden, random, to_draw)
        ambiguous = np.logical_or.accumulate(edge.reshape(len(edge), -1), axis=1).reshape(edge.shape)
        wrong = (free != codes) & ~ambiguous
        yield Check(f"{name}: sampled codes that differ", float(wrong.mean()), 0.0)
    with_filters = DrawSettings.of(len(codes), top_k=1)  # which forced codes do not depend on
    logits, _ = _run(sampler, level, golden, random, codes, with_filters)
    yield _check_logits(sampler, level, golden, logits, " of the step with filters")
    for setting in (TEMPERATURE, *(each for each in FILTERS if has_filter(level, each.name))):
        settings = DrawSettings.of(len(codes), **{setting.name: setting.strict})
        logits, free = _run(sampler, level, golden, random, to_draw[:, :SETTING_ROWS], settings)
        yield Check(
            f"{name}: draws with {setting.name} {setting.strict:g} outside their own logits' CDF interval",
            _outside_filtered(logits, free, u[:, :SETTING_ROWS], setting),
            DRAW_BOUND,
        )


def _check_logits(
    sampler: Sampler, level: Level, golden: dict[str, Array], logits: NDArray[np.float64], which: str
) -> Check:
    """Compares logits [n, rows, W, K] of the golden codes with the golden logits; ``which`` says whose they are."""
    positions, expected = golden[f"{level.name}.positions"], golden[f"{level.name}.logits"].astype(np.float64)
    actual = logits[:, positions[:, 0], positions[:, 1]]  # [n, m, K]
    if sampler.precision != "float32":
        p, q = log_softmax(expected), log_softmax(actual)
        divergence = float((np.exp(p) * (p - q)).sum(-1).mean())
        return Check(
            f"{level.name}: mean KL divergence{which} from the golden probabilities, nats", divergence, KL_BOUND
        )
    error = float(np.abs(actual - expected).max() / max(1.0, float(np.abs(expected).max())))
    return Check(f"{level.name}: logits{which}, of max(1, max |logit|)", error, LOGITS_BOUND)


def _mass(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the unnormalised probabilities of logits [..., K]."""
    mass: NDArray[np.float64] = np.exp(logits - logits.max(-1, keepdims=True))
    return mass


def _outside(
    mass: NDArray[np.float64], codes: Array, u: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Returns the distance of u [n, rows, W] from the codes' CDF intervals, and where u is at an edge. ``mass`` are the
    unnormalised probabilities [n, rows, W, K]; the distance of a code without mass is 1.
    """
    cumulative = mass.cumsum(-1)
    cdf = cumulative / cumulative[..., -1:]
    upper = np.take_along_axis(cdf, codes[..., None], -1)[..., 0]
    below = np.take_along_axis(cdf, np.maximum(codes - 1, 0)[..., None], -1)[..., 0]
    lower = np.where(codes > 0, below, 0.0)
    outside = np.maximum(np.maximum(lower - u, u - upper), 0.0)
    outside = np.where(np.take_along_axis(mass, codes[..., None], -1)[..., 0] > 0, outside, 1.0)
    edge = np.minimum(np.abs(u - lower), np.abs(u - upper)) <= DRAW_BOUND
    return outside, edge


def _outside_filtered(logits: NDArray[np.float64], codes: Array, u: NDArray[np.float64], setting: DrawSetting) -> float:
    """Like ``_outside``, for draws with ``setting.strict``: the largest distance. A code within ``DRAW_BOUND`` of the
    filter's limit may be allowed or not.
    """
    flat = logits.reshape(-1, logits.shape[-1])
    distances = []
    for factor in (1 - DRAW_BOUND, 1, 1 + DRAW_BOUND):
        value = setting.strict if setting.is_integer else setting.strict * factor
        mass, allowed = allowed_codes(flat, DrawSettings.of(len(flat), **{setting.name: value}))
        distances.append(_outside((mass * allowed).reshape(logits.shape), codes, u)[0])
    return float(np.minimum.reduce(distances).max())


def _run(
    sampler: Sampler,
    level: Level,
    golden: dict[str, Array],
    random: Array,
    codes: Array,
    settings: DrawSettings | None = None,
) -> tuple[NDArray[np.float64], Array]:
    """Returns logits [n, rows, W, K] and codes [n, rows, W] of the first rows, whose ``codes`` are forced, -1 for a
    draw.
    """
    rows = codes.shape[1]
    arrays = {} if settings is None else settings.arrays(level.codebook_size)
    upper, labels = golden.get(f"{level.name}.upper"), golden.get(f"{level.name}.labels")
    parts = []
    for part in batches(len(codes), sampler.default_batch_size):
        forced = np.full((part.stop - part.start, level.height, level.width), -1, np.int64)
        forced[:, :rows] = codes[part]
        level_inputs = LevelInputs(
            uniform=random[..., part],
            forced=forced.transpose(1, 2, 0),
            settings={name: values[part] for name, values in arrays.items()},
            upper=None if upper is None else upper[part],
            labels=None if labels is None else labels[part],
        )
        finished = [
            (row.logits.astype(np.float64), row.codes.copy())
            for row in runs_of(sampler).rows(level, level_inputs, rows)
        ]
        logits, drawn = (np.stack(values) for values in zip(*finished, strict=True))
        parts.append((logits.transpose(2, 0, 1, 3), drawn.transpose(2, 0, 1)))
    all_logits, all_drawn = (np.concatenate(values) for values in zip(*parts, strict=True))
    return all_logits, all_drawn
