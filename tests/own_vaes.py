"""VAEs of somebody's own, as a user would bring them: tests name their functions."""

from types import SimpleNamespace

import torch
from torch import nn


class Causal(nn.Module):
    """Frames by 2, the first alone, pixels by 4; a posterior as that of diffusers."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv3d(3, 8, (3, 4, 4), (2, 4, 4)))
        self.decoder = nn.Sequential(nn.ConvTranspose3d(4, 3, (2, 4, 4), (2, 4, 4)))

    def encode(self, clips: torch.Tensor) -> SimpleNamespace:
        padded = torch.cat([clips[:, :, :1]] * 2 + [clips], 2)
        mean, logvar = self.encoder(padded).chunk(2, 1)
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=mean, logvar=logvar))

    def decode(self, z: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=self.decoder(z)[:, :, 1:])


class Uniform(nn.Module):
    """Frames by 4, pixels by 8; latents and clips as plain tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv3d(3, 6, (4, 8, 8), (4, 8, 8))
        self.up = nn.ConvTranspose3d(6, 3, (4, 8, 8), (4, 8, 8))

    def encode(self, clips: torch.Tensor) -> torch.Tensor:
        return self.down(clips)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return self.up(z)


class Pair(nn.Module):
    """Frames by 4, pixels by 8; a pair of mean and log variance, and layers in an odd order."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Conv3d(6, 3, 1)
        self.to_moments = nn.Conv3d(8, 12, 1)
        self.first = nn.Conv3d(3, 8, (4, 8, 8), (4, 8, 8))
        self.up = nn.ConvTranspose3d(6, 6, (4, 8, 8), (4, 8, 8))

    def encode(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, logvar = self.to_moments(self.first(clips)).chunk(2, 1)
        return mean, logvar

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return self.out(self.up(z))


class Images:
    """No module: it holds two, for images, with pixels by 2."""

    def __init__(self) -> None:
        self.enc = nn.Conv2d(3, 5, 2, 2)
        self.dec = nn.ConvTranspose2d(5, 3, 2, 2)

    def encode(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.enc(images),)

    def decode(self, z: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.dec(z),)


def causal() -> Causal:
    torch.manual_seed(0)
    return Causal()


def uniform() -> Uniform:
    torch.manual_seed(0)
    return Uniform()


def pair() -> Pair:
    torch.manual_seed(0)
    return Pair()


def images() -> Images:
    torch.manual_seed(0)
    return Images()


def stubborn() -> nn.Module:
    return type("Stubborn", (nn.Module,), {"encode": lambda self, x: x[0], "decode": None})()


def none_at_all() -> str:
    return "a VAE"
