"""All that is wrong with settings, told at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Problems:
    """Collects what is wrong; ``found`` is a sentence for each.

    ``of`` stands before the names of settings that are part of others, such as "model.".
    """

    def __init__(self) -> None:
        self.found: list[str] = []

    def require(self, holds: bool, message: str) -> None:
        """Note the message where a rule does not hold."""
        if not holds:
            self.found.append(message)

    @contextmanager
    def of(self, what: str = "") -> Iterator[None]:
        """Note the ValueError of what is done inside, as one of ``what``."""
        try:
            yield
        except ValueError as error:
            self.found.append(f"{what}: {error}" if what else str(error))

    def positive(self, settings: Any, *names: str, of: str = "") -> None:
        """Note each setting, such as "gan.channels", that is not above 0."""
        for name, value in _values(settings, names):
            self.require(value > 0, f"{of}{name} must be positive, got {value}")

    def at_least_1(self, settings: Any, *names: str, of: str = "") -> None:
        """Note each setting that is below 1."""
        for name, value in _values(settings, names):
            self.require(value >= 1, f"{of}{name} must be at least 1, got {value}")

    def at_least_0(self, settings: Any, *names: str, of: str = "") -> None:
        """Note each setting that is below 0."""
        for name, value in _values(settings, names):
            self.require(value >= 0, f"{of}{name} must be at least 0, got {value}")

    def below_1(self, settings: Any, *names: str, of: str = "") -> None:
        """Note each setting that is not in [0, 1)."""
        for name, value in _values(settings, names):
            self.require(0 <= value < 1, f"{of}{name} must be in [0, 1), got {value}")

    def one_of(self, settings: Any, name: str, values: tuple[str, ...], of: str = "") -> None:
        """Note a setting that is none of these."""
        for _, value in _values(settings, (name,)):
            *others, last = values
            rule = f"{', '.join(others)} or {last}"
            self.require(value in values, f"{of}{name} must be {rule}, got {value!r}")

    def check(self, what: str) -> None:
        """A ValueError that tells all of them, where there are any."""
        if self.found:
            raise ValueError(f"{what}: " + "; ".join(self.found))


def _values(settings: Any, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name in names:
        value = settings
        for part in name.split("."):
            value = getattr(value, part)
        yield name, value
