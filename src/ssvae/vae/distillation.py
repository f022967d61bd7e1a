"""Distilling a small model for latents that are there already: what it is trained on."""

import torch

from ssvae.losses.reconstruction import full
from ssvae.models import DiagonalGaussian
from ssvae.models.backbones import Backbone, Posterior
from ssvae.models.discriminator import Discriminator
from ssvae.models.fingerprint import LATENTS_OF, latents_fingerprint
from ssvae.regularizers import Balance, Draws
from ssvae.regularizers.balance import Reduce
from ssvae.transfer import constant
from ssvae.vae.objective import Outcome, ReconstructionObjective, Terms, penalties_of, sampled
from ssvae.vae.recipe import DistilRecipe

LEAST_UNIT = 0.01
"""Of a channel's standard deviation as the teacher's config has it: some posteriors are narrower
than any student could be exact."""


class Distillation(ReconstructionObjective):
    """A student beside its teacher, which is no part of the module: it does not learn.

    The student's encoder learns the teacher's posterior, its decoder to turn samples of it into
    clips; neither sees the other, so that each fits the teacher's.
    """

    def __init__(self, student: Backbone, teacher: Backbone, recipe: DistilRecipe):
        super().__init__(student, recipe)
        self.halves, self.latent_weight = recipe.halves, recipe.latent_weight
        self._teacher = [teacher]  # in a list, which nn.Module does not look into
        student.vae.register_to_config(**{LATENTS_OF: latents_fingerprint(teacher.vae)})
        for name, parameter in student.vae.named_parameters():
            trained = recipe.halves in ("both", name.split(".")[0])
            parameter.requires_grad_(trained and parameter.requires_grad)

    @property
    def teacher(self) -> Backbone:
        """The model whose latents these are."""
        return self._teacher[0]

    def measured(self) -> Backbone:
        """What validation looks at: the student, a half that it does not learn being the
        teacher's.
        """
        return self.backbone if self.halves == "both" else _Joined(self)

    def forward(
        self,
        clips: torch.Tensor,
        draws: Draws,
        reduce: Reduce | None = None,
        discriminator: Discriminator | None = None,
        moments: torch.Tensor | None = None,
    ) -> Outcome:
        """Clips (B, C, T, H, W) to the loss, its terms, and the student's decoding.

        ``moments`` are the teacher's of the clips, where they are known; the rest is as in
        :class:`Objective`.
        """
        with torch.no_grad():
            teacher = self.teacher
            target = teacher.encode(clips) if moments is None else teacher.posterior(moments)
        loss, terms = clips.new_zeros(()), Terms()
        balances: dict[str, Balance] = {}
        reconstruction = clips
        if self.halves != "decoder":
            student = self.backbone.encode(clips, train=True)
            least = LEAST_UNIT * constant(self.teacher.layout.std, clips.device)
            terms |= latent_terms(student, target, least.view(-1, 1, 1, 1))
            loss = loss + self.latent_weight * terms["latents"]
            if "spread" in terms:
                loss = loss + self.latent_weight * terms["spread"]
        if self.halves != "encoder":
            decoded = self.backbone.decode(sampled(target, draws), train=True)
            reconstruction = decoded.detach()
            if discriminator is not None:
                balances["generator"] = self.judged(decoded, discriminator, reduce)
                decoded = balances["generator"].moments
            error, errors = self.reconstruction_loss(decoded, clips)
            loss, terms = loss + error, terms | penalties_of(balances) | errors
        return Outcome(self.joined(loss, clips, reduce), terms, balances, reconstruction, clips)


def latent_terms(student: Posterior, teacher: Posterior, least: torch.Tensor) -> Terms:
    """How far a student's posterior is from its teacher's, in units of the teacher's deviation.

    Units are ``least`` at least.

    With e = (mean - mean') / std', ``latents`` is the mean of sqrt(1 + e^2) - 1, which is half of
    e^2 near zero and |e| far away, where a student begins; ``spread`` the mean difference of their
    log variances, where the teacher has one, and ``latent_error`` the root of the mean of e^2, to
    look at.
    """
    mean, target = full(student.mean), full(teacher.mean)
    terms: Terms = {}
    if isinstance(teacher, DiagonalGaussian):
        unit = full(teacher.std).maximum(least)
        assert isinstance(student, DiagonalGaussian)
        terms["spread"] = (full(student.logvar) - full(teacher.logvar)).abs().mean()
    else:
        unit = least.expand_as(target)
    error = (mean - target) / unit
    terms["latents"] = ((1 + error.square()).sqrt() - 1).mean()
    terms["latent_error"] = error.detach().square().mean().sqrt()
    return terms


class _Joined(Backbone):
    """Half a student and half its teacher."""

    def __init__(self, distillation: Distillation):
        super().__init__(distillation.backbone.vae)
        self._parts = distillation.backbone, distillation.teacher
        if distillation.halves == "decoder":
            self._parts = self._parts[::-1]

    def encode(self, clips_BCTHW: torch.Tensor, train: bool = False) -> Posterior:
        """By the one of them that encodes."""
        return self._parts[0].encode(clips_BCTHW, train)

    def decode(self, z: torch.Tensor, train: bool = False) -> torch.Tensor:
        """By the other."""
        return self._parts[1].decode(z, train)
