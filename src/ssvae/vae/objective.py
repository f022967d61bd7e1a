"""What an autoencoder is trained on: one forward pass to a loss, and all regularisers in it."""

from typing import NamedTuple

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from ssvae.losses import generator_loss, kl_loss, l1_loss, load_lpips, of_frames, under_variance
from ssvae.models import DiagonalGaussian
from ssvae.models.backbones import Backbone, Posterior
from ssvae.models.discriminator import Discriminator
from ssvae.regularizers import LatentMasking, LocalCorrelation, balance_with_terms, motion_loss
from ssvae.regularizers.balance import Reduce
from ssvae.regularizers.drawing import drawn_for_each
from ssvae.storage.seeds import generator_of
from ssvae.vae.recipe import TrainingRecipe
from ssvae.vae.rivals import Rivals

Terms = dict[str, torch.Tensor]


class Outcome(NamedTuple):
    """What a forward pass gives."""

    loss: torch.Tensor
    """To differentiate. LCR and the generator's loss are in its gradient, not in its value."""
    terms: Terms
    """Scalars, each without its weight."""
    weights: Terms
    """Of LCR (lcr) and the generator's loss (generator), where they take part; the backward pass
    fills them in."""
    made: torch.Tensor
    """The reconstruction (B, C, T, H, W), without a gradient."""
    wanted: torch.Tensor
    """What it is to equal: the clips, or what equivariance made of them."""


class Objective(nn.Module):
    """An autoencoder, its masking and its penalties, and the loss that joins them."""

    def __init__(self, backbone: Backbone, recipe: TrainingRecipe):
        super().__init__()
        self.backbone, self.vae, self.recipe = backbone, backbone.vae, recipe
        # What FSDP gathers one by one.
        named = backbone.vae._no_split_modules or getattr(backbone.vae, "_repeated_blocks", None)
        present = {type(module).__name__ for module in backbone.vae.modules()}
        self._no_split_modules = [name for name in named or () if name in present]
        if recipe.freeze_encoder:
            backbone.freeze_encoder()
        if recipe.gradient_checkpointing:
            backbone.enable_gradient_checkpointing()
        if recipe.compile:
            backbone.compile()
        lcr, lmr, p = recipe.lcr, recipe.lmr, recipe.perceptual
        self.lcr = LocalCorrelation(lcr.window, lcr.threshold, backbone.lone_first_frame)
        channels = backbone.layout.channels
        self.masking = LatentMasking(channels, lmr.ratios, lmr.probabilities, lmr.block)
        self.rivals = Rivals(recipe, backbone.layout)
        # One axis, for FSDP divides no scalars.
        self.log_variance = nn.Parameter(torch.zeros(1)) if recipe.learned_variance else None
        self.lpips = load_lpips(p.vgg, p.linear) if p.weight else None

    def measured(self) -> Backbone:
        """What validation looks at."""
        return self.backbone

    def forward(
        self,
        clips: torch.Tensor,
        generator: torch.Generator,
        share: tuple[int, int] = (0, 1),
        reduce: Reduce | None = None,
        discriminator: Discriminator | None = None,
    ) -> Outcome:
        """Clips (B, C, T, H, W) to the loss, its terms, and the reconstruction.

        The order is that of the gradient: the GAN is weighed against the reconstruction at the
        decoder's last layer, then LCR against both at the encoder's. Local correlation is a term with
        LCR on or off. ``share`` (process, processes) and ``reduce`` (the mean over processes) make
        the batches of all processes one.
        """
        recipe, backbone, rivals = self.recipe, self.backbone, self.rivals
        terms: Terms = {}
        weights: Terms = {}
        # Sizes are drawn on the host, which then need not wait for the device.
        of_host = generator_of(generator.initial_seed(), 1)
        seen = rivals.seen(clips, generator, share)
        posterior = backbone.encode(seen, train=not recipe.freeze_encoder)
        moments = posterior.parameters
        terms["local_correlation"] = self.lcr.correlation(_latents(posterior).detach(), reduce)
        if recipe.lcr.weight:
            moments, penalty, weights["lcr"] = balance_with_terms(
                moments,
                lambda m: self.lcr(_latents(backbone.posterior(m)), reduce),
                backbone.encoders_last_layer,
                recipe.lcr.weight,
                reduce=reduce,
            )
            assert penalty is not None, "LCR acts in training alone"
            terms["lcr"] = penalty
        z = self._sample(backbone.posterior(moments), generator, share)
        given, wanted = rivals.pair(z, clips, of_host)
        given = self.masking(rivals.corrupted(given, generator, share), generator, share)
        made = backbone.decode(given, train=True)
        plain = made.detach()
        if discriminator is not None:
            made, terms["generator"], weights["generator"] = self._judged(
                made, discriminator, reduce
            )
        loss, errors = self._reconstruction_loss(made, wanted)
        terms |= errors
        if rivals.scale_equivariance is not None:
            small_z, small = rivals.scale_equivariance(z, clips, of_host)
            terms["scale_equivariance"], _ = self._reconstruction_loss(
                backbone.decode(small_z, train=True), small
            )
            loss = loss + recipe.scale_equivariance.weight * terms["scale_equivariance"]
        if recipe.future_dropping.motion_weight:
            terms["motion"] = motion_loss(made, wanted)
            loss = loss + recipe.future_dropping.motion_weight * terms["motion"]
        if rivals.spectrum_matching is not None:
            terms["spectrum_matching"] = rivals.spectrum_matching(posterior.mean, clips)
            loss = loss + recipe.spectrum_matching.weight * terms["spectrum_matching"]
        if isinstance(posterior, DiagonalGaussian):
            # Of the posterior itself, not of the balanced moments: LCR is weighed against what comes
            # through the decoder alone (see balance).
            terms["kl"] = kl_loss(posterior, clips)
            loss = loss + recipe.kl_weight * terms["kl"]
        if reduce is not None and clips.shape[2] == 1:
            loss = loss + self._nothing()
        return Outcome(loss, terms, weights, plain, wanted)

    def _judged(
        self, made: torch.Tensor, discriminator: Discriminator, reduce: Reduce | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What was made, with the generator's loss in its gradient; the loss, and its weight."""
        gan = self.recipe.gan
        made, penalty, weight = balance_with_terms(
            made,
            lambda x: generator_loss(discriminator(x)),
            self.backbone.decoders_last_layer,
            gan.weight,
            max_ratio=gan.max_weight / made[0].numel(),  # our loss is a mean over the clip
            reduce=reduce,
        )
        assert penalty is not None, "the generator's loss acts in training alone"
        return made, penalty, weight

    def _nothing(self) -> torch.Tensor:
        """A zero to which all parameters belong.

        Some models pass images by layers of time, whose gradients all processes wait for. (FSDP waits
        for none that has no gradient.)
        """
        trained = [p for p in self.parameters() if p.requires_grad]
        trained = [p for p in trained if not isinstance(p, DTensor)]
        return 0 * torch.stack([p[(0,) * p.ndim] for p in trained]).sum()

    def _reconstruction_loss(
        self, made: torch.Tensor, clips: torch.Tensor
    ) -> tuple[torch.Tensor, Terms]:
        """L1, with LPIPS where it has a weight, under the variance where one is learned; its terms."""
        error = l1_loss(made, clips)
        terms: Terms = dict(l1=error)
        if self.lpips is not None:
            terms["lpips"] = of_frames(self.lpips, made, clips).mean()
            error = error + self.recipe.perceptual.weight * terms["lpips"]
        if self.log_variance is None:
            return under_variance(error, None), terms
        log_variance = self.log_variance.squeeze()
        nll = under_variance(error, log_variance)
        return nll, terms | dict(nll=nll, log_variance=log_variance.detach().clone())

    def _sample(
        self, posterior: Posterior, generator: torch.Generator, share: tuple[int, int]
    ) -> torch.Tensor:
        """A draw for each sample, which does not depend on how processes divide the batch."""
        if not isinstance(posterior, DiagonalGaussian):
            return posterior.mean
        mean = posterior.mean
        noise = drawn_for_each(torch.randn, mean.shape, mean.device, generator, share, mean.dtype)
        return mean + posterior.std * noise.to(mean.device)


def _latents(posterior: Posterior) -> torch.Tensor:
    """The posterior's mean; of images, (B, C, h, w), which have no lone first frame."""
    return posterior.mean.squeeze(2)
