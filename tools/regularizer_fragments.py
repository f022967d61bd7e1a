"""Fragments that follow from the registry of regularisers."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping

import ssvae.regularizers


def exports() -> str:
    """What ``ssvae.regularizers`` offers: what its files do."""
    lines, offered = [], []
    for module in sorted(m.name for m in pkgutil.iter_modules(ssvae.regularizers.__path__)):
        name = f"{ssvae.regularizers.__name__}.{module}"
        names = sorted(getattr(importlib.import_module(name), "__all__", []), key=_of_import)
        if names:
            lines += [f"from {name} import (", *(f"    {each}," for each in names), ")"]
            offered += names
    offered = sorted(offered, key=lambda name: (not name[0].isupper(), name))
    return "\n".join([*lines, "", "__all__ = [", *(f'    "{name}",' for name in offered), "]"])


def _of_import(name: str) -> tuple[bool, str]:
    """Classes before functions, as the linter has imports."""
    return not name[0].isupper(), name.lower()


FRAGMENTS: Mapping[str, Callable[[], str]] = {"regularizers.exports": exports}
