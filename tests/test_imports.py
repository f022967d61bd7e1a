"""Imports run one way: a package of ssvae imports only those named before it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ssvae

# Regularisers stand before models because a published checkpoint holds a mask token too.
ORDER = [
    "data",
    "regularizers",
    "models",
    "inference",
    "losses",
    "spectra",
    "diffusion",
    "evaluation",
    "training",
    "report",
    "recipes",
    "console",
    "bench",
    "demo",
    "cli",
    "__main__",
]
ROOT = Path(ssvae.__file__).parent


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.add(node.module or "")
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return {name.split(".")[1] for name in names if name.startswith("ssvae.")}


def test_every_package_has_a_place():
    found = {p.stem for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert found - {"__init__"} == set(ORDER)


def test_imports_run_one_way():
    for path in ROOT.rglob("*.py"):
        place = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if place == "__init__":
            continue
        allowed = set(ORDER[: ORDER.index(place) + 1])
        assert imported(path) <= allowed, f"{path} imports {imported(path) - allowed}"


def test_regularizers_need_nothing_of_the_project():
    for path in (ROOT / "regularizers").glob("*.py"):
        assert imported(path) <= {"regularizers"}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import ssvae", ["torch", "diffusers", "transformers"]),
        ("import ssvae.regularizers", ["diffusers", "transformers", "accelerate", "rich"]),
        (
            "import sys; sys.argv = ['ssvae', '--help']\n"
            "from ssvae.cli import main\n"
            "try: main()\n"
            "except SystemExit: pass",
            ["torch", "diffusers", "tyro", "matplotlib"],
        ),
    ],
    ids=["ssvae", "regularizers", "help"],
)
def test_only_what_is_needed_is_imported(code, absent):
    ask = f"{code}\nimport sys; print(*[n for n in {absent} if n in sys.modules], sep=',')"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


def test_all_that_is_offered_is_there():
    for name in ssvae.__all__:
        assert getattr(ssvae, name).__name__ == name
        assert name in dir(ssvae)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = ssvae.Nothing
