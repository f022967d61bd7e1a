"""The benchmark's scale and options at a size that takes seconds."""

import dataclasses

from ssvae.bench.scales import Scale, laptop
from ssvae.bench.stages import Options

replace = dataclasses.replace


def micro(scale: Scale | None = None, evaluations: tuple[int, ...] = (2, 4)) -> Scale:
    scale = scale or laptop()
    small = replace(scale.vae.model, base_channels=8, z_dim=4)

    def stage(recipe):
        return replace(recipe, steps=2, batch_size=2, model=small)

    return replace(
        scale,
        vae=stage(scale.vae),
        decoder=stage(scale.decoder),
        decoder_round=1,
        decoder_rounds=1,
        clips=8,
        diffusion=replace(
            scale.diffusion,
            batch_size=4,
            model=replace(scale.diffusion.model, layers=1, heads=1, head_dim=16, ffn_dim=32),
        ),
        evaluations=evaluations,
        evaluation=replace(scale.evaluation, samples=8, steps=2),
    )


def options(folder, **changes) -> Options:
    return Options(folder / "out", folder / "work", (0, 1), "cpu", **changes)
