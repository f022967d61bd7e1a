"""What the captions of an endless source can say: sentences whose words are known."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True)
class Vocabulary:
    """A sentence with a word, or a few, for each attribute.

    Args:
        source: what such captions are of, for messages.
        kinds: the values of each attribute, in words.
        sentence: with ``{attribute}`` where its value stands.
        coarse: attributes that a model learns early.
        fine: the others.
    """

    source: str
    kinds: Mapping[str, Sequence[str]]
    sentence: str
    coarse: Sequence[str]
    fine: Sequence[str]

    def __post_init__(self):
        for kind, values in self.kinds.items():
            twice = [value for value, n in Counter(values).items() if n > 1]
            if twice:
                raise ValueError(
                    f"each {kind} of {self.source} needs a name of its own, but two are called "
                    f"{twice[0]!r}: rename one"
                )

    def write(self, attributes: Mapping[str, torch.Tensor]) -> list[str]:
        """The captions that say these values, by number, (B,) of each attribute."""
        numbers = zip(*(attributes[kind].tolist() for kind in self.kinds), strict=True)
        return [
            self.sentence.format(
                **{
                    kind: values[i]
                    for (kind, values), i in zip(self.kinds.items(), row, strict=True)
                }
            )
            for row in numbers
        ]

    def read(self, captions: Sequence[str]) -> dict[str, torch.Tensor]:
        """What captions say: numbers (B,) of each attribute; a ValueError for another sentence."""
        rows = []
        for caption in captions:
            match = self._pattern.fullmatch(caption.strip())
            if match is None:
                example = self.sentence.format(**{k: v[0] for k, v in self.kinds.items()})
                raise ValueError(
                    f'no caption of {self.source}: {caption!r}; they read like "{example}"'
                )
            rows.append([list(values).index(match[kind]) for kind, values in self.kinds.items()])
        columns = torch.tensor(rows, dtype=torch.int64).view(-1, len(self.kinds)).unbind(1)
        return dict(zip(self.kinds, columns, strict=True))

    def says_the_same(self, other: "Vocabulary") -> bool:
        """Whether both have the same values of the same attributes, in the same order."""
        one, two = ([(kind, *values) for kind, values in v.kinds.items()] for v in (self, other))
        return one == two

    def chance(self, kinds: Sequence[str]) -> float:
        """The mean probability of what a caption says, for one who does not know the caption."""
        return sum(1 / len(self.kinds[kind]) for kind in kinds) / len(kinds)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        pattern = re.escape(self.sentence)
        for kind, values in self.kinds.items():
            group = f"(?P<{kind}>{'|'.join(map(re.escape, values))})"
            pattern = pattern.replace(re.escape(f"{{{kind}}}"), group)
        return re.compile(pattern)
