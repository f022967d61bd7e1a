"""What this project's study shows of the two biases, for those who are told that one is missing."""

from collections.abc import Sequence
from dataclasses import dataclass

NOT_SHOWN = "not shown"


@dataclass(frozen=True)
class Tested:
    """A regulariser in a setting where it was run with the seeds that a claim takes."""

    regularizer: str
    setting: str
    verdict: str
    """What a diffusion model on such latents does, or :data:`NOT_SHOWN`."""


# fragment study.evidence
TESTED: Sequence[Tested] = (
    Tested("LCR", "the default latents", "not shown"),
    Tested("LMR", "the default latents", "not shown"),
    Tested("LCR", "the default latents with LMR", "not shown"),
    Tested("LMR", "the default latents with LCR", "not shown"),
    Tested("LCR", "patches of 2x2", "not shown"),
    Tested("LCR", "48 channels", "not shown"),
    Tested("LCR", "48 channels on moving pictures", "not shown"),
    Tested("LCR", "clips of 64x64 pixels", "not shown"),
)
# end


def evidence(regularizer: str, tested: Sequence[Tested] = TESTED) -> str:
    """In a sentence, where it is shown what a regulariser does to a diffusion model."""
    own = [test for test in tested if test.regularizer == regularizer]
    shown = [f"{test.setting} ({test.verdict})" for test in own if test.verdict != NOT_SHOWN]
    others = [test.setting for test in own if test.verdict == NOT_SHOWN]
    if shown:
        elsewhere = f", and not shown for {'; '.join(others)}" if others else ""
        return (
            f"What {regularizer} does to a diffusion model is shown for {'; '.join(shown)}"
            f"{elsewhere}."
        )
    looked = f", looked for in {len(others)} settings of five seeds each" if others else ""
    return (
        f"That a diffusion model learns faster with {regularizer} is the paper's claim; this "
        f"project's study has not shown it{looked}{': ' if others else ''}{'; '.join(others)}."
    )
