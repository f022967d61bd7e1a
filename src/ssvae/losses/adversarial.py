"""The losses of generator and discriminator, over the scores of one or more discriminators.

Scores come as a list, one tensor (B, ...) a discriminator, and the losses are means over the list.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from ssvae.losses.reconstruction import full
from ssvae.regularizers.balance import Reduce

Scores = Sequence[torch.Tensor]


def generator_loss(fake: Scores) -> torch.Tensor:
    """Reconstructions should be scored high: a scalar."""
    return _mean([-full(scores).mean() for scores in fake])


def hinge_loss(real: Scores, fake: Scores) -> torch.Tensor:
    """Clips should be scored above 1, reconstructions below -1 (arXiv 1705.02894): a scalar."""
    return 0.5 * _mean(
        [
            F.relu(1 - full(r)).mean() + F.relu(1 + full(f)).mean()
            for r, f in zip(real, fake, strict=True)
        ]
    )


def r1_penalty(
    discriminator: Callable[[torch.Tensor], Scores], clips: torch.Tensor
) -> torch.Tensor:
    """Squared gradient of the scores at clips (B, 3, T, H, W), by clip (arXiv 1801.04406).

    Scores are averaged over patches first. A scalar, to be weighed by gamma / 2.
    """
    clips = clips.detach().requires_grad_()
    score = _mean([full(scores).flatten(1).mean(1) for scores in discriminator(clips)]).sum()
    (gradient,) = torch.autograd.grad(score, clips, create_graph=True)
    return full(gradient).square().flatten(1).sum(1).mean()


class LeCam:
    """The regulariser of arXiv 2104.03310: scores stay near the running mean of the other side.

    ``means`` (2,) holds the running means of the scores of clips and of reconstructions.
    """

    def __init__(self, decay: float = 0.99, device: torch.device | str = "cpu"):
        self.decay, self.means = decay, torch.zeros(2, device=device)

    def __call__(self, real: Scores, fake: Scores, reduce: Reduce | None = None) -> torch.Tensor:
        """A scalar, after the means took these scores up."""
        now = torch.stack([_mean([full(s.detach()).mean() for s in side]) for side in (real, fake)])
        now = now if reduce is None else reduce(now)
        moved = self.means.lerp(now.to(self.means), 1 - self.decay)
        self.means = torch.where(now.isfinite(), moved, self.means)  # else they would stay so
        of_real, of_fake = self.means
        return _mean(
            [
                F.relu(full(r) - of_fake).square().mean()
                + F.relu(of_real - full(f)).square().mean()
                for r, f in zip(real, fake, strict=True)
            ]
        )


def _mean(values: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(values).mean(0)
