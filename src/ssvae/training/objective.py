"""What an autoencoder is trained on: one forward pass to a loss, and all regularisers in it."""

import torch
from torch import nn

from ssvae.losses import generator_loss, kl_loss, l1_loss, load_lpips, of_frames, under_variance
from ssvae.models import DiagonalGaussian
from ssvae.models.backbones import Backbone, Posterior
from ssvae.models.discriminator import Discriminator
from ssvae.regularizers import LatentMasking, balance, local_correlation
from ssvae.regularizers.balance import Reduce
from ssvae.training.vae_recipe import TrainingRecipe

Terms = dict[str, torch.Tensor]


class Objective(nn.Module):
    """An autoencoder, its masking and its penalties, and the loss that joins them."""

    def __init__(self, backbone: Backbone, recipe: TrainingRecipe):
        super().__init__()
        self.backbone, self.vae = backbone, backbone.vae
        if recipe.freeze_encoder:
            backbone.freeze_encoder()
        if recipe.gradient_checkpointing:
            backbone.enable_gradient_checkpointing()
        lmr, p = recipe.lmr, recipe.perceptual
        self.masking = LatentMasking(
            backbone.layout.channels, lmr.ratios, lmr.probabilities, lmr.block
        )
        # One axis, for FSDP divides no scalars.
        self.log_variance = nn.Parameter(torch.zeros(1)) if recipe.learned_variance else None
        self.lpips = load_lpips(p.vgg, p.linear) if p.weight else None
        self.lcr, self.gan, self.recipe = recipe.lcr, recipe.gan, recipe
        self.weights: Terms = {}
        """Weights of LCR and of the generator's loss, once the backward pass has met them."""

    def forward(
        self,
        clips: torch.Tensor,
        generator: torch.Generator,
        share: tuple[int, int] = (0, 1),
        reduce: Reduce | None = None,
        discriminator: Discriminator | None = None,
    ) -> tuple[torch.Tensor, Terms, torch.Tensor]:
        """Clips (B, 3, T, H, W) to the loss to differentiate, its terms, and the reconstruction.

        LCR and the generator's part of the GAN are not in that loss but enter through
        :func:`balance`, which puts their weights into ``weights`` in the backward pass. The order
        is that of the gradient: the GAN is weighed against the reconstruction at the decoder's
        last layer, then LCR against both at the encoder's. Local correlation is a term with LCR
        on or off. ``share`` (process, processes) and ``reduce`` (the mean over processes) make
        the batches of all processes one.
        """
        terms: Terms = {}
        self.weights = {}
        posterior = self.backbone.encode(clips, train=not self.recipe.freeze_encoder)
        moments = self._regularised(posterior, terms, reduce)
        z = self._sample(self.backbone.posterior(moments), generator, share)
        made = self.backbone.decode(self.masking(z, generator, share), train=True)
        result = made.detach()
        if discriminator is not None:
            made = self._adversarial(made, discriminator, terms, reduce)
        error = terms["l1"] = l1_loss(made, clips)
        if self.lpips is not None:
            terms["lpips"] = of_frames(self.lpips, made, clips).mean()
            error = error + self.recipe.perceptual.weight * terms["lpips"]
        scale = None if self.log_variance is None else self.log_variance.squeeze()
        loss = under_variance(error, scale)
        if scale is not None:
            terms["nll"], terms["log_variance"] = loss, scale.detach().clone()
        if isinstance(posterior, DiagonalGaussian):
            terms["kl"] = kl_loss(posterior, clips)
            loss = loss + self.recipe.kl_weight * terms["kl"]
        if reduce is not None and clips.shape[2] == 1:
            # Some models pass images by layers of time, whose gradients all processes wait for.
            trained = [p for p in self.parameters() if p.requires_grad]
            loss = loss + 0 * torch.stack([p[(0,) * p.ndim] for p in trained]).sum()
        return loss, terms, result

    def _regularised(
        self, posterior: Posterior, terms: Terms, reduce: Reduce | None
    ) -> torch.Tensor:
        """The posterior's moments, with LCR in their gradient."""

        def penalty(moments: torch.Tensor) -> torch.Tensor:
            mean = self.backbone.posterior(moments).mean
            lone_first = self.backbone.lone_first_frame(mean.shape[2])
            correlation = local_correlation(mean, self.lcr.window, lone_first, reduce).average
            terms["local_correlation"] = correlation.detach()
            return torch.relu(self.lcr.threshold - correlation)

        moments = posterior.parameters
        if not self.lcr.weight:
            penalty(moments.detach())
            return moments
        return balance(
            moments,
            lambda m: terms.setdefault("lcr", penalty(m)),
            self.backbone.encoders_last_layer,
            self.lcr.weight,
            on_weight=lambda weight: self.weights.update(lcr_weight=weight),
            reduce=reduce,
        )

    def _sample(
        self, posterior: Posterior, generator: torch.Generator, share: tuple[int, int]
    ) -> torch.Tensor:
        """A draw for each sample, which does not depend on how processes divide the batch."""
        if not isinstance(posterior, DiagonalGaussian):
            return posterior.mean
        (process, processes), mean = share, posterior.mean
        shape = len(mean) * processes, *mean.shape[1:]
        noise = torch.randn(shape, generator=generator, device=generator.device, dtype=mean.dtype)
        own = noise[process * len(mean) : (process + 1) * len(mean)].to(mean.device)
        return mean + posterior.std * own

    def _adversarial(
        self,
        made: torch.Tensor,
        discriminator: Discriminator,
        terms: Terms,
        reduce: Reduce | None,
    ) -> torch.Tensor:
        """The reconstruction, with the generator's loss in its gradient."""
        return balance(
            made,
            lambda x: terms.setdefault("generator", generator_loss(discriminator(x))),
            self.backbone.decoders_last_layer,
            self.gan.weight,
            on_weight=lambda weight: self.weights.update(generator_weight=weight),
            max_ratio=self.gan.max_weight / made[0].numel(),  # our loss is a mean over the clip
            reduce=reduce,
        )
