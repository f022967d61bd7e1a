"""All of the analysis of one VAE over one set of clips."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from ssvae.analysis.artefacts import Artefacts, find_artefacts
from ssvae.analysis.cost import Cost, measure_cost
from ssvae.analysis.drift import Drift, measure_drift
from ssvae.analysis.fidelity import Fidelity, quality
from ssvae.analysis.films import Films
from ssvae.analysis.interpolation import Features, Interpolation, Interpolations
from ssvae.analysis.result import DEAD, Analysis, Model, Protocol, check_latents
from ssvae.analysis.robustness import SIGMAS, Robustness, keys_of
from ssvae.analysis.semantics import Semantics, labels_of, semantics_of
from ssvae.analysis.subject import Subject
from ssvae.data.batch import check_finite, in_batches
from ssvae.data.vocabulary import Vocabulary
from ssvae.losses.perceptual import LPIPS
from ssvae.spectra.channels import ChannelSpectrum
from ssvae.spectra.correlation import CorrelationSample
from ssvae.spectra.frequency import FrequencySpectrum


class Analyzer:
    """Accumulates an analysis: what several of them saw, merged, is as what one saw.

    Neither the order of the clips, nor batches, nor the division among processes changes a figure
    but by rounding: noise, and the sample for the local correlation, go by the clips' content.
    ``sigmas`` are the deviations of the noise, ``vocabulary`` is what captions can say; with
    ``intervals`` films are kept apart, and figures have intervals over them.
    """

    def __init__(
        self,
        fps: float | None = None,
        sigmas: Sequence[float] = SIGMAS,
        vocabulary: Vocabulary | None = None,
        intervals: bool = False,
    ):
        self.films = Films(DEAD) if intervals else None
        self.fps, self.vocabulary = fps, vocabulary
        self._captions: dict[int, str] = {}
        self.interpolation = Interpolation()
        self.frequency, self.channels = FrequencySpectrum(dead=DEAD), ChannelSpectrum()
        self.correlation, self.robustness = CorrelationSample(), Robustness(sigmas)
        self.fidelity, self.broken = Fidelity(), dict[str, str]()
        self.model: Model | None = None
        self._size: tuple[tuple[int, ...], tuple[int, ...]] | None = None  # of clips, of latents
        self._seen = 0

    @torch.no_grad()
    def update(
        self,
        vae: Subject,
        clips: torch.Tensor,
        names: Sequence[str] = (),
        lpips: LPIPS | None = None,
        captions: Sequence[str] = (),
        features: Features | None = None,
    ) -> torch.Tensor:
        """Add clips (B, 3, T, H, W) in [-1, 1]; returns their reconstructions.

        With ``features`` it also measures what is decoded between latents.

        Raises:
            ValueError: for clips that are not finite or of another size than those before.
        """
        size = None if self._size is None else self._size[0]
        if clips.ndim != 5 or (size is not None and tuple(clips.shape[1:]) != size):
            raise ValueError(
                f"clips must be (batch, 3, frames, height, width) of one size, got "
                f"{tuple(clips.shape)}" + (f" after clips of {size}" if size else "")
            )
        check_finite(clips, f"the batch after clip {self._seen}")
        keys = keys_of(clips)
        self._captions |= dict(zip(keys, captions, strict=False))
        # The checksum tells clips apart that several analyzers saw.
        names = names or [f"clip {self._seen + i} ({key:08x})" for i, key in enumerate(keys)]
        self._seen += len(clips)
        clips = vae.placed(clips)
        mean = vae.encode(clips)
        self._describe(vae, clips, mean)
        reconstruction = vae.decode(mean)
        whole = self._whole(names, mean, reconstruction)
        if whole.any():
            mean, truth, kept = mean[whole], clips[whole], reconstruction[whole]
            keys = [key for key, is_whole in zip(keys, whole.tolist(), strict=True) if is_whole]
            self.frequency.update(mean)
            self.channels.update(mean)
            self.correlation.update(mean, keys)
            measured = quality(kept, truth, lpips)
            self.fidelity.add(measured, kept, truth)
            if self.films is not None:
                good = [name for name, fine in zip(names, whole.tolist(), strict=True) if fine]
                self.films.update(good, keys, mean, measured)
            self.robustness.update(vae.decode, mean, truth, keys, kept)
            if features is not None:
                self.interpolation.update(
                    features, vae.decode, mean, truth, keys, vae.lone_first_frame
                )
        return reconstruction

    def merge(self, other: "Analyzer") -> "Analyzer":
        """Add all that another has seen of the same model."""
        self.frequency.merge(other.frequency)
        self.channels.merge(other.channels)
        self.correlation.merge(other.correlation)
        self.robustness.merge(other.robustness)
        self.fidelity.merge(other.fidelity)
        self.broken |= other.broken
        self._captions |= other._captions
        self.interpolation.merge(other.interpolation)
        if self.films is not None and other.films is not None:
            self.films.merge(other.films)
        self._seen += other._seen
        self.model, self._size = self.model or other.model, self._size or other._size
        return self

    def result(
        self,
        cost: Cost | None = None,
        artefacts: Artefacts | None = None,
        drift: Drift | None = None,
        interpolations: Interpolations | None = None,
    ) -> Analysis:
        """The analysis of all clips so far, and what else was measured of the same model.

        Raises:
            ValueError: for no clips, or where every clip gave NaN or infinity.
        """
        if self.model is None or self._size is None:
            raise ValueError("an analysis needs at least one batch of clips, got none")
        if not self.fidelity.clips:
            raise ValueError(
                f"{next(iter(self.broken.values()))} of all {self._seen} clips hold NaN or "
                "infinity: its weights are broken, or the dtype overflows; try float32"
            )
        (channels, *size), latent = self._size
        correlation = self.correlation.result(self.model.lone_first_frame)
        return Analysis(
            self.model,
            Protocol(self.fidelity.clips, size[0], size[1], size[2], self.fps, latent, channels),
            self.frequency.result(),
            self.channels.result(),
            float(correlation.average),
            None if correlation.first_frame is None else float(correlation.first_frame),
            None if correlation.rest is None else float(correlation.rest),
            self.robustness.result(),
            self.fidelity.result(),
            dict(sorted(self.broken.items())),
            cost,
            artefacts,
            drift,
            self._semantics(),
            interpolations,
            {}
            if self.films is None
            else self.films.intervals(self.correlation, self.model.lone_first_frame),
        )

    @torch.no_grad()
    def interpolations(self, vae: Subject, features: Features) -> Interpolations | None:
        """What the model makes of latents between those of clips that were seen with these
        ``features``; None for fewer than two.
        """
        if self.fidelity.clips < 2:
            return None
        keys, latents = self.correlation.kept
        return self.interpolation.result(
            features, lambda z: vae.decode(vae.placed(z)), latents, keys
        )

    def _semantics(self) -> Semantics | None:
        """What neighbours have in common, over the sample whose captions are known."""
        keys, latents = self.correlation.kept
        known = [i for i, key in enumerate(keys) if key in self._captions]
        labels = labels_of([self._captions[keys[i]] for i in known], self.vocabulary)
        return None if labels is None else semantics_of(latents[known], labels)

    def _describe(self, vae: Subject, clips: torch.Tensor, mean: torch.Tensor) -> None:
        if self.model is not None:
            return
        check_latents(tuple(mean.shape), vae.name)
        self._size = tuple(clips.shape[1:]), tuple(mean.shape[1:])
        self.model = Model(
            vae.name,
            vae.parameters(),
            vae.parameters("encoder", "quant_conv") or None,
            vae.parameters("decoder", "post_quant_conv") or None,
            vae.lone_first_frame,
        )

    def _whole(
        self, names: Sequence[str], mean: torch.Tensor, reconstruction: torch.Tensor
    ) -> torch.Tensor:
        """Which clips came through without NaN or infinity; the others are named."""
        good = [torch.isfinite(x.flatten(1)).all(1).tolist() for x in (mean, reconstruction)]
        for name, latents, reconstruction in zip(names, *good, strict=True):
            if not (latents and reconstruction):
                self.broken[name] = "the latents" if not latents else "the reconstructions"
        return torch.tensor([a and b for a, b in zip(*good, strict=True)], device=mean.device)


def analyze(
    vae: Any,
    clips: torch.Tensor | Iterable[torch.Tensor],
    fps: float | None = None,
    lpips: LPIPS | None = None,
    cost: bool = False,
    artefacts: bool = False,
    drift: bool = False,
    features: Features | None = None,
    on_clips: Callable[[int], Any] = lambda done: None,
) -> Analysis:
    """Analyse a VAE's latents and reconstructions over clips.

    Args:
        vae: a VAE of a class in :data:`ssvae.models.classes.CLASSES` or a ``Backbone``; or any
            model with ``encode`` and ``decode`` in diffusers' way.
        clips: batches (B, 3, T, H, W) in [-1, 1], all of one size, read once; or one such tensor.
        fps: frame rate of the clips, noted in the protocol.
        lpips: the network of :func:`ssvae.losses.load_lpips`, to measure LPIPS too.
        cost: also measure time and memory, of the first clip.
        artefacts: also pass synthetic films of the clips' size through; see :func:`find_artefacts`.
        drift: also pass the first batch through again and again; see :func:`measure_drift`.
        features: also measure what is decoded between latents (tFVD, iFID) in the features of a
            network, such as :func:`ssvae.evaluation.load_network` gives.
        on_clips: hears how many clips are done.

    The latents are posterior means. Local correlation is taken over a sample of 512 clips. Clips
    that give NaN or infinity are left out and named in ``broken``.

    Raises:
        ValueError: for no clips, clips that are not finite or of several sizes, or latents that
            are not finite for any clip.
    """
    subject, analyzer, first, done = Subject.of(vae), Analyzer(fps), None, 0
    whole = torch.zeros(0)
    for batch in in_batches(clips):
        reconstruction = analyzer.update(subject, batch, lpips=lpips, features=features)
        if first is None:
            first, whole = (
                batch,
                batch[torch.isfinite(reconstruction.flatten(1)).all(1).to(batch.device)],
            )
        done += len(batch)
        on_clips(done)
    if first is None:
        return analyzer.result()
    return analyzer.result(
        measure_cost(subject, subject.placed(first[:1])) if cost else None,
        find_artefacts(subject, *first.shape[2:]) if artefacts else None,
        measure_drift(subject, whole) if drift and len(whole) else None,
        None if features is None else analyzer.interpolations(subject, features),
    )
