"""An analysis that several processes make together, and some clips to be looked at."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from ssvae.analysis.analyzer import Analysis, Analyzer
from ssvae.analysis.artefacts import find_artefacts
from ssvae.analysis.cost import measure_cost
from ssvae.analysis.drift import measure_drift
from ssvae.analysis.interpolation import Features
from ssvae.analysis.subject import Subject
from ssvae.data import FixedClips
from ssvae.data.vocabulary import Vocabulary
from ssvae.losses import LPIPS
from ssvae.storage.processes import gather_objects

SHOWN = 3  # clips that are kept to be looked at
Pairs = dict[str, tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class SharedAnalysis:
    """Analyses of models over the same clips, by all processes together."""

    source: FixedClips
    accelerator: Accelerator
    batch_size: int
    fps: float | None
    lpips: LPIPS | None
    skip_artefacts: bool
    features: Features | None = None
    """Of what is decoded between latents."""
    vocabulary: Vocabulary | None = None
    """What captions can say, where that is known."""
    intervals: bool = False
    """Whether figures have intervals over films."""

    def analyse(
        self, vae: Subject, on_clips: Callable[..., object]
    ) -> tuple[Analysis, Pairs] | None:
        """A model's analysis, by all processes together, and some clips with what it made of them.

        The main process alone has it.
        """
        share = self.accelerator.process_index, self.accelerator.num_processes
        count = len(range(share[0], self.source.number, share[1]))
        shown_places = {count * i // SHOWN for i in range(SHOWN)}
        analyzer, pairs = (
            Analyzer(self.fps, vocabulary=self.vocabulary, intervals=self.intervals),
            Pairs(),
        )

        def see() -> tuple[Analyzer, torch.Tensor | None]:
            done, first = 0, None
            for batch in self.source.batches(self.batch_size, *share):
                seen = analyzer.update(
                    vae, batch.video, batch.names, self.lpips, batch.captions, self.features
                )
                reconstructions = seen.float().cpu()
                for i, name in enumerate(batch.names):
                    if done + i in shown_places:
                        pairs[name] = batch.video[i].cpu(), reconstructions[i]
                first = batch.video[:1].cpu() if first is None else first
                done += len(batch.names)
                on_clips(done)
            return analyzer, first

        parts = gather_objects(self.accelerator, see)
        try:
            if self.accelerator.is_main_process:
                broken = {name for analyzer, _ in parts for name in analyzer.broken}
                kept = [clip for name, (clip, _) in pairs.items() if name not in broken]
                clips = torch.stack(kept) if kept else None
                if not self.skip_artefacts:
                    on_clips(count, "on synthetic films, and again and again")
                return self._joined(vae, parts, clips), pairs
        finally:
            self.accelerator.wait_for_everyone()  # others would take the cores that are measured
        return None

    def _joined(
        self,
        vae: Subject,
        parts: list[tuple[Analyzer, torch.Tensor | None]],
        clips: torch.Tensor | None,
    ) -> Analysis:
        """One analysis of what all processes saw, with the model's cost, and how some clips
        drift.
        """
        (whole, _), *others = parts
        for other, _ in others:
            whole.merge(other)
        if whole.model is None:
            raise ValueError(
                f"none of the {self.source.number} clips could be read: the log names the files"
            )
        clip = next(first for _, first in parts if first is not None)
        cost = measure_cost(vae, vae.placed(clip))
        between = None if self.features is None else whole.interpolations(vae, self.features)
        if self.skip_artefacts:
            return whole.result(cost, interpolations=between)
        artefacts = find_artefacts(vae, *clip.shape[2:])
        drift = None if clips is None else measure_drift(vae, clips)
        return whole.result(cost, artefacts, drift, between)
