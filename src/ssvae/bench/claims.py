"""What learning curves allow to claim: faster or slower, ending higher or lower, or not shown."""

from collections.abc import Sequence
from dataclasses import dataclass

CLAIMED = 0.9
"""The share of the way from the start to the reference's end, to which a speed-up is claimed."""
SEEDS_FOR_A_CLAIM = 5
LEVEL = 0.05
SAME_CEILING = 0.02
"""Rewards of reconstructions may differ by so much between VAEs that are compared."""
SPEEDUP, GAIN = "speedup", "gain"
WORDS = {
    (SPEEDUP, True): "faster",
    (SPEEDUP, False): "slower",
    (GAIN, True): "ends higher",
    (GAIN, False): "ends lower",
}
WORDS_AT = {(GAIN, True): "ahead at {step}", (GAIN, False): "behind at {step}"}
"""Where one of the two went on after the last step that both have."""


@dataclass(frozen=True)
class Claim:
    """What is tested of a pair, and how it came out."""

    label: str
    quantity: str
    """:data:`SPEEDUP` or :data:`GAIN`."""
    positive: bool
    """Whether the other is ahead."""
    p: float
    """Student's, two-sided, of the paired differences."""
    corrected: float
    """After Holm, over the claims of the family."""


def verdict(
    claims: Sequence[Claim],
    seeds: int,
    ceiling_gap: float | None = None,
    went_on_after: int | None = None,
) -> str:
    """What the claims about one pair allow to say: "not shown" unless they show it.

    ``ceiling_gap`` is a difference of rewards; None where these are not scored. ``went_on_after``
    is the step of the scores that are compared, where it is not both ends.
    """
    words = WORDS if went_on_after is None else WORDS | WORDS_AT
    if ceiling_gap is not None and abs(ceiling_gap) > SAME_CEILING:
        return f"not comparable: ceilings differ by {abs(ceiling_gap):.3f}"
    if seeds < SEEDS_FOR_A_CLAIM:
        return f"not shown: a claim takes {SEEDS_FOR_A_CLAIM} seeds"
    shown = [words[c.quantity, c.positive] for c in claims if c.corrected < LEVEL]
    return ", ".join(shown).format(step=went_on_after) or "not shown"
