"""What is learned on an arm's latents, and scored: a row an evaluation."""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from ssvae.bench.stages import encode_vae, learn, map_latents
from ssvae.bench.stages import learning_curve as curve_of
from ssvae.data import vocabulary_of
from ssvae.diffusion.pipeline import assemble, checkpoint_of, generate, scheduler_for
from ssvae.latents.cache import LatentCache
from ssvae.models.backbones import load_backbone
from ssvae.models.finding import find_vae
from ssvae.regularizers import DecoderNoise, DecoderNoiseConfig
from ssvae.storage.seeds import generator_of
from ssvae.training.optimizers import transformer_optimizers
from ssvae.vae.trainer import train_autoencoder
from studies.diffusability.ladder.arms import (
    ATTRIBUTES,
    DECODER_NOISE,
    DECODER_STEPS,
    LARGER,
    LARGER_STEPS,
    LMR_LEARNED,
    LONGER_DECODER,
    MAPS,
    NOISY,
    PLAIN_DIT,
    RATES,
    RESCORED,
    TWO_SIZES,
    Arm,
)
from studies.diffusability.ladder.options import LadderOptions
from studies.diffusability.ladder.rows import DIFFUSION, read
from studies.diffusability.ladder.told import Regime, learning_curve
from studies.diffusability.ladder.told_models import PlainDiT, ToldTransformer

Rows = list[dict[str, Any]]
RESCORED_STEPS, RESCORED_GUIDANCE = (6, 16, 50), (1.0, 2.0, 4.0)
SAMPLING_NOISE = (0.1, 0.2, 0.4)
"""On latents that were drawn, in units of each channel's deviation over its clip."""


def of_the_package(arm: Arm, options: LadderOptions) -> Rows:
    """The package's diffusion model under captions."""
    under_map = None
    if arm.variant in MAPS:
        under_map = arm.label
        map_latents(under_map, arm.latents, None, MAPS[arm.variant], arm.scale, options)
    run = options.work / "diffusion" / arm.label
    found = learn(run, arm.latents, under_map, arm.diffusion_seed, arm.scale, options)
    planned = set(arm.scale.evaluations)  # a longer run of the same may lie in its folder
    return [row for row in found if row["step"] in planned]


def two_sizes(arm: Arm, options: LadderOptions) -> Rows:
    """The package's model on small clips, then on larger ones of the same VAE."""
    small, before = arm.scale, of_the_package(arm, options)
    run = options.work / "diffusion" / arm.label
    clip, first = small.vae.clip, max(small.evaluations)
    sides = {"vae.clip.height": LARGER * clip.height, "vae.clip.width": LARGER * clip.width}
    scale = small.changed(sides)
    side = scale.size[-1]
    vae = LatentCache(options.work / "latents" / arm.latents).vae
    larger = encode_vae(f"{arm.latents}-{side}", vae, scale, options)
    accelerator = options.accelerator()
    backbone, scorer = load_backbone(vae), options.scorer(scale)
    at_the_switch = scorer.score(scorer.sample(checkpoint_of(run), backbone))
    recipe = dataclasses.replace(
        scale.diffusion, latents=str(larger.latents), init=str(run), seed=arm.diffusion_seed
    )
    on = run.with_name(f"{run.name}-{side}")
    after = curve_of(recipe, on, LARGER_STEPS, scale.cooldown, scorer, backbone, accelerator)
    told = {"resolution": side, "ceiling": larger.measure["ceiling"]["reward"]}
    there = [{"step": 0, **at_the_switch}, *after]
    return [
        *({**row, "resolution": clip.height} for row in before),
        *({**row, "step": first + row["step"], **told} for row in there),
    ]


def rescored(arm: Arm, options: LadderOptions) -> Rows:
    """The model of part 1 again, by other samplings."""
    trained = arm.of_part_1
    of_the_package(trained, options)
    checkpoint = checkpoint_of(options.work / "diffusion" / trained.label)
    backbone = load_backbone(LatentCache(options.work / "latents" / arm.latents).vae)
    scorer, rows = copy.copy(options.scorer(arm.scale)), []
    for steps in RESCORED_STEPS:
        for guidance in RESCORED_GUIDANCE:
            scorer.sampling = dataclasses.replace(
                arm.scale.evaluation, steps=steps, guidance=guidance
            )
            scores = scorer.score(scorer.sample(checkpoint, backbone))
            told = {"sampling_steps": steps, "guidance": guidance}
            rows.append({"step": max(arm.scale.evaluations), **scores, **told})
    return rows


def another_decoder(arm: Arm, options: LadderOptions) -> Rows:
    """The model of part 1, decoded by the decoder trained on, with noise on its latents or not."""
    trained = arm.of_part_1
    of_the_package(trained, options)
    checkpoint = checkpoint_of(options.work / "diffusion" / trained.label)
    cache = LatentCache(options.work / "latents" / arm.latents)
    recipe = dataclasses.replace(
        arm.scale.decoder,
        seed=arm.vae.seed,
        init=cache.vae,
        steps=DECODER_STEPS,
        decoder_noise=DecoderNoiseConfig(
            enabled=arm.setting == NOISY, deviation=DECODER_NOISE, fixed=True
        ),
    )
    run = options.work / "vae" / arm.label
    train_autoencoder(recipe, run, options.accelerator())
    backbone, scorer = load_backbone(str(find_vae(run))), options.scorer(arm.scale)
    measure = scorer.measure(backbone, cache.fit())
    found = {"ceiling": measure["ceiling"]["reward"], "psnr": measure["psnr"]}
    found["robustness"] = measure["analysis"]["robustness"]
    scores = scorer.score(scorer.sample(checkpoint, backbone))
    return [{"step": max(arm.scale.evaluations), **scores, **found}]


def under_noise(arm: Arm, options: LadderOptions) -> Rows:
    """The package's model, and its last samples decoded with noise on their latents."""
    rows = of_the_package(arm, options)
    run = options.work / "diffusion" / arm.label
    backbone = load_backbone(LatentCache(options.work / "latents" / arm.latents).vae)
    scorer, sampling = options.scorer(arm.scale), arm.scale.evaluation
    pipeline = assemble(checkpoint_of(run), backbone)
    decode = pipeline.vae.decode
    for deviation in SAMPLING_NOISE:
        add, generator = DecoderNoise(deviation, fixed=True).train(), generator_of(arm.seed)

        def disturbed(z: torch.Tensor, *args: Any, add: Any = add, of: Any = generator, **kw: Any):
            return decode(add(z, of), *args, **kw)

        pipeline.vae.decode = disturbed
        clips = generate(
            pipeline,
            scorer.captions,
            scorer.size,
            sampling.steps,
            sampling.guidance,
            sampling.seed,
            batch_size=64,
        )
        told = {"step": max(arm.scale.evaluations), "latent_noise": deviation}
        rows.append({**scorer.score(clips), **told})
    return rows


def told_transformer(arm: Arm, options: LadderOptions) -> Rows:
    """The package's model, its recipe and sampler, attributes in the time embedding."""
    cache, scale = LatentCache(options.work / "latents" / arm.latents), arm.scale
    recipe, sampling = scale.diffusion, scale.evaluation
    torch.manual_seed(arm.diffusion_seed)
    model = ToldTransformer(recipe, cache.shape[0], vocabulary_of(scale.data))
    optimizers = transformer_optimizers(
        model.transformer.blocks,
        model.parameters(),
        recipe.optimizer,
        muon_learning_rate=recipe.muon_learning_rate,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
    )
    regime = Regime(
        evaluations=scale.evaluations,
        ema_decay=recipe.ema_decay,
        scheduler=partial(scheduler_for, 1.0),
        sampling_steps=sampling.steps,
        guidance=sampling.guidance,
        batch_size=recipe.batch_size,
        warmup_steps=recipe.warmup_steps,
        dropout=recipe.caption_dropout,
        time_mean=recipe.time_mean,
        max_grad_norm=recipe.max_grad_norm,
    )
    return _told(model, optimizers, cache, regime, arm, options)


def plain_dit(arm: Arm, options: LadderOptions) -> Rows:
    """A DiT that is not the package's, by AdamW at the rate that was chosen for this variant."""
    cache = LatentCache(options.work / "latents" / arm.latents)
    rate = RATES.get(arm.setting) or chosen_rate(arm.variant, read(options.rows))
    torch.manual_seed(arm.diffusion_seed)
    model = PlainDiT(cache.shape, vocabulary_of(arm.scale.data))
    optimizers = transformer_optimizers(
        model.blocks,
        model.parameters(),
        "adamw",
        muon_learning_rate=0.0,
        learning_rate=rate,
        weight_decay=0.0,
    )
    regime = Regime(
        evaluations=arm.scale.evaluations,
        ema_decay=0.995,
        scheduler=FlowMatchEulerDiscreteScheduler,
        sampling_steps=16,
        guidance=1.5,
    )
    rows = _told(model, optimizers, cache, regime, arm, options)
    return [row | {"learning_rate": rate} for row in rows]


def chosen_rate(variant: str, rows: Rows) -> float:
    """The plain DiT's rate that gave the highest reward for this variant."""
    rewards = {
        RATES[row["setting"]]: row["scores"]["reward"]
        for row in rows
        if row["kind"] == DIFFUSION and row["variant"] == variant and row["setting"] in RATES
    }
    missing = set(RATES.values()) - set(rewards)
    if missing:
        raise ValueError(
            f"the plain DiT's rates {sorted(missing)} have not been tried for {variant}: run "
            "ladder --part 10 --seeds 10 first"
        )
    return max(rewards, key=rewards.__getitem__)


def _told(
    model: torch.nn.Module,
    optimizers: list[torch.optim.Optimizer],
    cache: LatentCache,
    regime: Regime,
    arm: Arm,
    options: LadderOptions,
) -> Rows:
    backbone, scorer = load_backbone(cache.vae), options.scorer(arm.scale)
    return learning_curve(
        model, optimizers, cache, backbone, scorer, regime, seed=arm.diffusion_seed
    )


CURVES: Mapping[str, Callable[[Arm, LadderOptions], Rows]] = {
    TWO_SIZES: two_sizes,
    LMR_LEARNED: under_noise,
    RESCORED: rescored,
    NOISY: another_decoder,
    LONGER_DECODER: another_decoder,
    ATTRIBUTES: told_transformer,
    PLAIN_DIT: plain_dit,
    **dict.fromkeys(RATES, plain_dit),
}
"""Of settings that have a way of their own."""
