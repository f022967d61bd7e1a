"""What ``ssvae.regularizers`` offers: what its files do. They are read, not imported.

A file that is new or gone must not keep this from running.
"""

import ast
from pathlib import Path

WIDTH = 100
FOLDER = Path(__file__).parents[1] / "src" / "ssvae" / "regularizers"


def exports() -> str:
    """The imports of the package, and all that it offers."""
    lines, offered = [], []
    for path in sorted(FOLDER.glob("*.py")):
        names = sorted(_offered(path), key=_of_import)
        if names and path.stem != "__init__":
            line = f"from ssvae.regularizers.{path.stem} import "
            whole = line + ", ".join(names)
            fits = len(whole) <= WIDTH
            lines += [whole] if fits else [f"{line}(", *(f"    {each}," for each in names), ")"]
            offered += names
    offered = sorted(offered, key=lambda name: (not name[0].isupper(), name))
    return "\n".join([*lines, "", "__all__ = [", *(f'    "{name}",' for name in offered), "]"])


def _offered(path: Path) -> list[str]:
    """The names in a file's ``__all__``."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def _of_import(name: str) -> tuple[bool, str]:
    """Classes before functions, as the linter has imports."""
    return not name[0].isupper(), name.lower()
