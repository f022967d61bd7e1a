"""What a diffusion model is trained on: flow matching of latents under their captions."""

import torch
from torch import nn

from ssvae.diffusion.flow import draw_times, noisy
from ssvae.diffusion.text import embed
from ssvae.diffusion.transformer import PooledWanTransformer3DModel


class FlowObjective(nn.Module):
    """The transformer, a text encoder if it is trained along, and the loss of flow matching."""

    def __init__(
        self, transformer: PooledWanTransformer3DModel, text_encoder: nn.Module | None, shift: float
    ):
        super().__init__()
        self.transformer, self.text_encoder, self.shift = transformer, text_encoder, shift
        self._no_split_modules = list(PooledWanTransformer3DModel._no_split_modules or [])

    def forward(
        self,
        x: torch.Tensor,
        text: tuple[torch.Tensor, ...],
        times: tuple[float, float],
        generator: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents and text to the loss of each clip and its time, both (B,).

        ``text`` is token ids and their mask where the encoder is trained along, else embeddings
        alone; ``times`` are mean and deviation of the logit of the times.
        """
        t = draw_times(len(x), *times, self.shift, generator)
        noise = torch.randn(x.shape, generator=generator, device=x.device)
        embeddings = text[0] if self.text_encoder is None else embed(self.text_encoder, *text)
        (velocity,) = self.transformer(
            hidden_states=noisy(x, noise, t),
            timestep=t * 1000,
            encoder_hidden_states=embeddings,
            return_dict=False,
        )
        return (velocity.float() - (noise - x)).square().flatten(1).mean(1), t
