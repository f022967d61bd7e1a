"""What an autoencoder is trained on: one forward pass to a loss, and all regularisers in it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from ssvae.losses import generator_loss, kl_loss, l1_loss, load_lpips, of_frames, under_variance
from ssvae.models import DiagonalGaussian
from ssvae.models.backbones import Backbone, Posterior
from ssvae.models.blocks import channels_last
from ssvae.models.discriminator import Discriminator
from ssvae.regularizers import Balance, Decoded, Draws, LatentSpec
from ssvae.regularizers.balance import Reduce
from ssvae.vae.recipe import RegularizedRecipe, TrainingRecipe
from ssvae.vae.regularization import Regularization

Terms = dict[str, torch.Tensor]


class Outcome(NamedTuple):
    """What a forward pass gives."""

    loss: torch.Tensor
    """To differentiate. What is balanced is in its gradient, not in its value."""
    terms: Terms
    """Scalars, each without its weight."""
    balances: Mapping[str, Balance]
    """What is balanced (LCR, the generator's loss), whose weights the backward pass decides."""
    reconstruction: torch.Tensor
    """(B, C, T, H, W), without a gradient."""
    target: torch.Tensor
    """What it is to equal: the clips, or what a regulariser made of them."""


class ReconstructionObjective(nn.Module):
    """An autoencoder, and the loss of what its decoder makes."""

    def __init__(self, backbone: Backbone, recipe: TrainingRecipe):
        super().__init__()
        self.backbone, self.vae, self.recipe = backbone, backbone.vae, recipe
        # What FSDP gathers one by one.
        names = "_no_split_modules", "_repeated_blocks"
        named = next(filter(None, (getattr(backbone.vae, name, None) for name in names)), None)
        present = {type(module).__name__ for module in backbone.vae.modules()}
        self._no_split_modules = [name for name in named or () if name in present]
        if recipe.gradient_checkpointing:
            backbone.enable_gradient_checkpointing()
        # One axis, for FSDP divides no scalars.
        self.log_variance = nn.Parameter(torch.zeros(1)) if recipe.learned_variance else None
        lpips = recipe.perceptual
        loaded = load_lpips(lpips.vgg, lpips.linear) if lpips.weight else None
        self.lpips = None if loaded is None else channels_last(loaded)

    def measured(self) -> Backbone:
        """What validation looks at."""
        return self.backbone

    def judged(
        self, reconstruction: torch.Tensor, discriminator: Discriminator, reduce: Reduce | None
    ) -> Balance:
        """The reconstruction with the generator's loss in its gradient."""
        gan = self.recipe.gan
        return Balance(
            reconstruction,
            lambda x: generator_loss(discriminator(x)),
            self.backbone.decoders_last_layer,
            gan.weight,
            max_ratio=gan.max_weight / reconstruction[0].numel(),  # our loss is a mean over clips
            reduce=reduce,
        )

    def reconstruction_loss(
        self, reconstruction: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, Terms]:
        """L1, with LPIPS where it has a weight, under the variance where one is learned; its
        terms.
        """
        error = l1_loss(reconstruction, target)
        terms: Terms = dict(l1=error)
        if self.lpips is not None:
            terms["lpips"] = of_frames(self.lpips, reconstruction, target).mean()
            error = error + self.recipe.perceptual.weight * terms["lpips"]
        if self.log_variance is None:
            return under_variance(error, None), terms
        log_variance = self.log_variance.squeeze()
        nll = under_variance(error, log_variance)
        return nll, terms | dict(nll=nll, log_variance=log_variance.detach().clone())

    def joined(
        self, loss: torch.Tensor, clips: torch.Tensor, reduce: Reduce | None
    ) -> torch.Tensor:
        """The loss, to which all parameters belong whose gradient is waited for.

        That is of all where processes share images, which some models pass by layers of time.
        """
        unused = self.idle_parameters()
        if reduce is not None and clips.shape[2] == 1:
            unused = [p for p in self.parameters() if p.requires_grad]
        # FSDP waits for none that has no gradient.
        unused = [p for p in unused if not isinstance(p, DTensor)]
        return loss + 0 * torch.stack([p[(0,) * p.ndim] for p in unused]).sum() if unused else loss

    def idle_parameters(self) -> list[nn.Parameter]:
        """Those that are trained, and never used."""
        return []


class Objective(ReconstructionObjective):
    """An autoencoder whose latents are regularised."""

    recipe: RegularizedRecipe

    def __init__(self, backbone: Backbone, recipe: RegularizedRecipe):
        if recipe.freeze_encoder:
            backbone.freeze_encoder()
        regularization = Regularization(recipe, latent_spec(backbone))
        super().__init__(backbone, recipe)
        self.regularization = regularization

    def idle_parameters(self) -> list[nn.Parameter]:
        """Of regularisers that are not enabled."""
        return self.regularization.idle_parameters()

    def forward(
        self,
        clips: torch.Tensor,
        draws: Draws,
        reduce: Reduce | None = None,
        discriminator: Discriminator | None = None,
    ) -> Outcome:
        """Clips (B, C, T, H, W) to the loss, its terms, and the reconstruction.

        The order is that of the gradient: the GAN is weighed against the reconstruction at the
        decoder's last layer, then penalties against both at the encoder's. ``reduce`` (the mean
        over processes) and ``draws`` make the batches of all processes one.
        """
        backbone, regularization = self.backbone, self.regularization
        posterior = backbone.encode(
            regularization.clip(clips, draws), train=not self.recipe.freeze_encoder
        )
        moments, balances, scalars = self._balanced(posterior, reduce)
        mean = _mean(posterior).detach()
        terms: Terms = scalars | regularization.monitored(mean, reduce, told=balances)
        z = sampled(backbone.posterior(moments), draws)
        # A view, so that gradients of terms on z add up in its memory format.
        given, target = regularization.pair(z.view_as(z), clips, draws)
        reconstruction = backbone.decode(regularization.latents(given, draws), train=True)
        plain = reconstruction.detach()
        if discriminator is not None:
            balances["generator"] = self.judged(reconstruction, discriminator, reduce)
            reconstruction = balances["generator"].moments
        loss, errors = self.reconstruction_loss(reconstruction, target)
        decoded = Decoded(
            clips=clips,
            mean=posterior.mean,
            z=z,
            reconstruction=reconstruction,
            target=target,
            draws=draws,
            error_of=self._error_of,
            mean_of=self._mean_of,
        )
        for name, term in regularization.terms(decoded).items():
            errors[name], loss = term.value, loss + term.weight * term.value
        if isinstance(posterior, DiagonalGaussian):
            # Of the posterior itself, not of the balanced moments: penalties are weighed against
            # what comes through the decoder alone (see balance).
            errors["kl"] = kl_loss(posterior, clips)
            loss = loss + self.recipe.kl_weight * errors["kl"]
        terms |= penalties_of(balances) | errors
        return Outcome(self.joined(loss, clips, reduce), terms, balances, plain, target)

    def _balanced(
        self, posterior: Posterior, reduce: Reduce | None
    ) -> tuple[torch.Tensor, dict[str, Balance], Terms]:
        """The posterior's parameters with all penalties on its mean in their gradient; the
        penalties, and what else they tell of the mean.
        """
        moments, balances, scalars = posterior.parameters, {}, Terms()
        for name, hooks in self.regularization.penalties().items():
            assert hooks.penalty is not None

            def penalty_of(m: torch.Tensor, penalty: Any = hooks.penalty) -> torch.Tensor:
                value, more = penalty(_mean(self.backbone.posterior(m)), reduce)
                scalars.update(more)
                return value

            balances[name] = Balance(
                moments,
                penalty_of,
                self.backbone.encoders_last_layer,
                hooks.balanced_weight,
                reduce=reduce,
            )
            moments = balances[name].moments
        return moments, balances, scalars

    def _mean_of(self, clips: torch.Tensor) -> torch.Tensor:
        return self.backbone.encode(clips, train=True).mean

    def _error_of(self, z: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
        return self.reconstruction_loss(self.backbone.decode(z, train=True), clips)[0]


def latent_spec(backbone: Backbone) -> LatentSpec:
    """What regularisers may ask of a model's latents."""
    layout = backbone.layout
    return LatentSpec(
        layout.channels, layout.time_factor, layout.space_factor, backbone.lone_first_frame
    )


def penalties_of(balances: Mapping[str, Balance]) -> Terms:
    """The penalties that are balanced, by name."""
    return {name: b.penalty for name, b in balances.items() if b.penalty is not None}


def sampled(posterior: Posterior, draws: Draws) -> torch.Tensor:
    """A draw for each sample, which does not depend on how processes divide the batch."""
    if not isinstance(posterior, DiagonalGaussian):
        return posterior.mean
    mean = posterior.mean
    noise = draws.randn(mean.shape, mean, mean.dtype)
    return mean + posterior.std * noise.to(mean.device)


def _mean(posterior: Posterior) -> torch.Tensor:
    """The posterior's mean; of images, (B, C, h, w), which have no lone first frame."""
    return posterior.mean.squeeze(2)
