"""Training: codebook updates, the straight-through gradient, short trainings of a VQ-VAE and a prior."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_training import SMALL, blobs, colours
from torch.nn import functional

from latentloop.errors import InputError
from latentloop.evaluation.code_use import perplexity
from latentloop.export.configuration import PriorConfig
from latentloop.export.data.codes import Codes, codes_of_level, encode
from latentloop.export.data.datasets import Dataset
from latentloop.export.evaluation import bits_per_code, reconstruction_metrics
from latentloop.export.models.pixelsnail import PixelSnail
from latentloop.export.models.vqvae import Vqvae, nearest_codewords
from latentloop.export.train import prior, vqvae
from latentloop.export.train.codebook import EPSILON, EmaCodebook, k_means
from latentloop.export.train.optimisation.adamw import adamw
from latentloop.export.train.optimisation.precision import mixed_precision, set_layout
from latentloop.export.train.optimisation.weight_average import WeightAverage
from latentloop.export.train.options import PriorOptions, VqvaeOptions


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    """Threads do not speed up tiny models, and slow them down on a busy machine."""
    torch.set_num_threads(1)


def test_k_means_finds_the_clusters() -> None:
    generator = torch.Generator().manual_seed(0)
    cluster_centres = 10 * torch.randn(6, 3, generator=generator)
    vectors = cluster_centres.repeat(50, 1) + 0.01 * torch.randn(300, 3, generator=generator)
    centres, shares = k_means(vectors, 12, generator)
    assert float(shares.sum()) == pytest.approx(1)
    distances = (vectors - centres[nearest_codewords(vectors, centres)]).norm(dim=1)
    assert float(distances.max()) < 0.1
    assert int((shares > 0).sum()) >= 6


def test_codebook_averages_equal_a_numpy_reference() -> None:
    generator = torch.Generator().manual_seed(1)
    embedding = torch.randn(5, 3, generator=generator)
    book = EmaCodebook(embedding, decay=0.9)
    book.initialise(torch.randn(40, 3, generator=generator), 20, generator)
    sizes, sums = book.cluster_size.double().numpy().copy(), book.sums.double().numpy().copy()
    for _ in range(3):
        vectors = torch.randn(20, 3, generator=generator)
        codes = nearest_codewords(vectors, embedding)
        book.update(vectors, codes)
        one_hot = np.eye(5)[codes.numpy()]
        sizes = 0.9 * sizes + 0.1 * one_hot.sum(0)
        sums = 0.9 * sums + 0.1 * one_hot.T @ vectors.double().numpy()
        smoothed = (sizes + EPSILON) / (sizes.sum() + 5 * EPSILON) * sizes.sum()
        np.testing.assert_allclose(embedding.numpy(), sums / smoothed[:, None], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(book.cluster_size.numpy(), sizes, rtol=1e-5)


def test_restarts_repair_a_collapsed_codebook() -> None:
    generator = torch.Generator().manual_seed(2)
    vectors = torch.randn(400, 4, generator=generator)
    perplexities = {}
    for restart in (False, True):
        embedding = torch.full((32, 4), 50.0)
        embedding[0] = 0  # every vector is nearest to this one
        book = EmaCodebook(embedding, decay=0.9)
        book.cluster_size += 1
        book.sums += embedding
        for _ in range(60):
            book.update(vectors, nearest_codewords(vectors, embedding))
            if restart:
                book.restart_unused(vectors, generator)
        counts = torch.bincount(nearest_codewords(vectors, embedding), minlength=32)
        perplexities[restart] = perplexity(counts.numpy())
    assert perplexities[False] == pytest.approx(1)
    assert perplexities[True] > 24


def test_the_gradient_passes_straight_through() -> None:
    """dL/dz of one level is the decoder's dL/de plus 2 (z - e) / numel from the commitment."""
    torch.manual_seed(0)
    model = Vqvae(replace(SMALL, levels=1)).double()
    images = torch.rand(2, 1, 16, 16, dtype=torch.float64)
    out = vqvae.forward(model, images)
    (functional.mse_loss(out.reconstruction, images) + 0.25 * out.commitment).backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in model.to_code[0].parameters()]

    feature = model.features(images)[0]
    z = model.project(0, feature, None)
    codewords = model.codebook(0).lookup(model.codebook(0).nearest(z)).requires_grad_()
    loss = functional.mse_loss(model.decode_codewords([codewords]), images)
    (at_codewords,) = torch.autograd.grad(loss, codewords)
    at_z = at_codewords + 0.25 * 2 * (z - codewords).detach() / z.numel()
    expected = torch.autograd.grad(z, list(model.to_code[0].parameters()), at_z)
    for gradient, reference in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, reference)


def test_a_vqvae_learns_and_uses_its_codes() -> None:
    images = blobs(128)
    task = vqvae.VqvaeTask(SMALL, images, VqvaeOptions(steps=200, batch=32, rate=2e-3, unquantised_steps=50))
    untrained = reconstruction_metrics(task.model, images)
    for step in range(200):
        task.step(step)
    trained = reconstruction_metrics(task.model, images)
    assert trained["mean_squared_error"] < untrained["mean_squared_error"] / 4
    assert trained["psnr_db"] == pytest.approx(-10 * np.log10(trained["mean_squared_error"]))
    # Without k-means and restarts this training ends with 1 or 2 top codes and 7 bottom codes in use.
    assert all(used >= 12 for used in trained["codes_used"].values())
    assert all(value > 6 for value in trained["perplexity"].values())


@pytest.mark.slow
def test_a_codebook_of_colours_is_used_completely() -> None:
    """With a small decay and few steps. Without restarts, five bottom codes are unused at the end."""
    config = replace(SMALL, image_channels=3, codebook_size=32, ema_decay=0.98)
    images = colours(128, 16)
    task = vqvae.VqvaeTask(
        config, images, VqvaeOptions(steps=500, batch=32, rate=2e-3, unquantised_steps=30, flip=True)
    )
    for step in range(500):
        task.step(step)
    metrics = reconstruction_metrics(task.averaged(), images)
    assert all(used >= 31 for used in metrics["codes_used"].values())
    assert all(value > 18 for value in metrics["perplexity"].values())


def test_the_saved_vqvae_has_averaged_weights_and_the_current_codebooks() -> None:
    options = VqvaeOptions(steps=6, batch=8, rate=1e-2, unquantised_steps=2, average=0.5)
    task = vqvae.VqvaeTask(SMALL, blobs(16), options)
    expected = task.model.decoder.conv.weight.detach().clone()
    for step in range(6):
        task.step(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * task.model.decoder.conv.weight.detach()
    averaged = task.averaged()
    torch.testing.assert_close(averaged.decoder.conv.weight, expected)
    assert not torch.equal(averaged.decoder.conv.weight, task.model.decoder.conv.weight)
    torch.testing.assert_close(averaged.codebook(0).embedding, task.model.codebook(0).embedding, rtol=0, atol=0)


def test_bfloat16_applies_to_the_convolutions_but_not_to_the_quantisation() -> None:
    torch.manual_seed(0)
    model, images = Vqvae(SMALL), torch.rand(4, 1, 16, 16)
    full = vqvae.forward(model, images)
    with mixed_precision("cpu", "bfloat16"):
        assert model.features(images)[0].dtype == torch.bfloat16
        out = vqvae.forward(set_layout(model, "bfloat16"), set_layout(images, "bfloat16"))
    assert out.reconstruction.dtype == out.commitment.dtype == torch.float32
    for level in range(2):
        z, codes, codewords = out.levels[level].z, out.levels[level].codes, out.levels[level].codewords
        assert z.dtype == codewords.dtype == torch.float32
        torch.testing.assert_close(codes, model.codebook(level).nearest(z))
    torch.testing.assert_close(out.reconstruction, full.reconstruction, rtol=0.1, atol=0.05)
    assert not torch.equal(out.reconstruction, full.reconstruction)


def test_weight_decay_applies_to_matrices_and_kernels_only() -> None:
    model = PixelSnail(PriorConfig(4, 4, 8, 16, 4, 3, 1, 1, heads=2, dropout=0.0, classes=3, class_channels=4))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimiser = adamw(model, rate=0.1, weight_decay=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for name, value in model.named_parameters():
        factor = 1.0 if value.ndim == 1 or name == "label_embedding.weight" else 1 - 0.1 * 0.5
        torch.testing.assert_close(value.detach(), factor * before[name], msg=name)


def test_the_image_size_must_be_a_multiple_of_the_stride() -> None:
    with pytest.raises(InputError, match="size is 20, expected a multiple of 8"):
        vqvae.VqvaeTask(SMALL, blobs(4, 20), VqvaeOptions(steps=1))


def test_flip_appends_the_codes_of_the_mirrored_images() -> None:
    torch.manual_seed(0)
    model = Vqvae(SMALL).eval()
    data = Dataset(blobs(6), np.arange(6))
    mirrored = Dataset(np.ascontiguousarray(data.images[:, :, ::-1]), data.labels)
    both, other = (codes_of_level(encode(model, part, flip=part is data), 1, part.labels) for part in (data, mirrored))
    assert both.upper is not None
    assert other.upper is not None
    assert both.labels is not None
    torch.testing.assert_close(both.codes[6:], other.codes)
    torch.testing.assert_close(both.upper[6:], other.upper)
    assert both.labels.tolist() == [*range(6), *range(6)]


def test_a_codebook_too_large_for_int16_codes_is_an_error() -> None:
    model = Vqvae(replace(SMALL, codebook_size=2**15 + 1))
    with pytest.raises(InputError, match="codebook_size is 32769, expected at most 32768"):
        encode(model, Dataset(blobs(2), None))


def test_a_prior_learns_and_bits_per_code_equals_a_direct_computation() -> None:
    config = PriorConfig(4, 4, 8, 16, 4, 3, 1, 1, heads=2, dropout=0.0)
    codes = torch.arange(4).repeat(32, 4, 1).to(torch.int16)
    data = Codes(codes + torch.randint(0, 4, (32, 1, 1)).short(), None, None)
    task = prior.PriorTask(config, data, PriorOptions(steps=60, batch=16, rate=3e-3, average=0.8))
    losses = [float(task.step(step)) for step in range(60)]
    assert losses[-1] < losses[0] / 2
    model = task.averaged()
    logits = model(data.codes.long()).double().log_softmax(1)
    direct = -logits.gather(1, data.codes.long()[:, None]).mean().item() / np.log(2)
    assert bits_per_code(model, data, batch=7) == pytest.approx(direct, rel=1e-5)
    assert direct < 2


def test_the_weight_average_is_the_documented_recurrence() -> None:
    layer = torch.nn.Linear(2, 1, bias=False)
    average = WeightAverage(layer, 0.5)
    expected = layer.weight.detach().clone()
    for step in range(12):
        with torch.no_grad():
            layer.weight += 1
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * layer.weight.detach()
    torch.testing.assert_close(average.averages[0], expected)
