"""How a VAE of the user's own is named: the function that returns it."""

import re
from pathlib import Path

FACTORY = re.compile(r"(?P<source>[^:]+\.py|[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)(?P<more>:.+)?")
"""``module:function`` or ``file.py:function``; behind another colon the folder of weights."""


def is_own(name: str | Path) -> bool:
    """Whether this names a VAE of the user's own; a file or folder that is so called comes
    first.
    """
    return FACTORY.fullmatch(str(name)) is not None and not Path(name).exists()
