"""Imports run one way: between packages in the order below, and inside each without a circle."""

import ast
import importlib
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ssvae

# A package imports only those named before it. Regularisers stand before models because a published
# checkpoint holds a mask token too.
ORDER = [
    "storage",
    "transfer",
    "data",
    "transforms",
    "fused",
    "regularizers",
    "models",
    "inference",
    "losses",
    "spectra",
    "statistics",
    "analysis",
    "latents",
    "training",
    "vae",
    "diffusion",
    "evaluation",
    "report",
    "recipes",
    "bench",
    "app",
    "cli",
    "__main__",
]
ROOT = Path(ssvae.__file__).parent
MODULES = {
    ".".join(("ssvae", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in ROOT.rglob("*.py")
}


def imported(path: Path) -> set[str]:
    """The modules of ssvae that a file imports, wherever in it: late, or for types alone."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            # "from package import module" is an import of the module.
            names |= {name if name in MODULES else (node.module or "") for name in inside}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.split(".")[0] == "ssvae"}


def packages(names: set[str]) -> set[str]:
    return {name.split(".")[1] if "." in name else "ssvae" for name in names}


def test_every_package_has_a_place():
    found = {p.stem for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert found - {"__init__"} == set(ORDER)


def test_the_readme_shows_them_in_their_order():
    readme = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
    shown = re.findall(r"^\| `([\w]+)(?:/|\.py)` \|", readme, re.MULTILINE)
    assert shown == [name for name in ORDER if name != "__main__"]


def test_imports_run_one_way():
    for name, path in MODULES.items():
        if name == "ssvae":  # offers what others hold, when it is asked for
            continue
        place = name.split(".")[1]
        allowed = set(ORDER[: ORDER.index(place) + 1])
        found = packages(imported(path))
        assert found <= allowed, f"{path} imports {found - allowed}"


def test_no_module_imports_itself_by_way_of_others():
    graph = {name: imported(path) - {"ssvae"} for name, path in MODULES.items() if name != "ssvae"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_modules_of_a_package_do_not_import_what_it_offers():
    """Else whether they can be imported would hang on which of them comes first."""
    for name, path in MODULES.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        assert package not in imported(path) or package in ("ssvae", name), path


def test_regularizers_need_nothing_but_transforms():
    assert imported(MODULES["ssvae.transfer"]) == set()
    assert imported(MODULES["ssvae.transforms"]) == {"ssvae.transfer"}
    for path in (ROOT / "regularizers").glob("*.py"):
        assert packages(imported(path)) <= {"regularizers", "transfer", "transforms"}


def test_recipes_do_not_import_what_they_configure():
    data = {
        *("ssvae.models.config", "ssvae.models.names", "ssvae.training.schedules"),
        *("ssvae.storage.problems", "ssvae.regularizers.registry"),
    }
    for module in ("ssvae.vae.recipe", "ssvae.diffusion.recipe"):
        assert imported(MODULES[module]) <= data


def test_the_loop_knows_no_model():
    for path in (ROOT / "training").glob("*.py"):
        assert packages(imported(path)) <= {"storage", "data", "training"}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import ssvae", ["torch", "diffusers", "transformers"]),
        ("import ssvae.regularizers", ["diffusers", "transformers", "accelerate", "rich"]),
        ("import ssvae.cli.vae", ["matplotlib", "ssvae.bench", "ssvae.evaluation"]),
        (
            "import sys; sys.argv = ['ssvae', '--help']\n"
            "from ssvae.cli import main\n"
            "try: main()\n"
            "except SystemExit: pass",
            ["torch", "diffusers", "tyro", "matplotlib"],
        ),
    ],
    ids=["ssvae", "regularizers", "train", "help"],
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


def test_the_library_knows_nothing_of_the_study():
    for path in MODULES.values():
        text = path.read_text()
        assert "import studies" not in text
        assert "from studies" not in text
        assert "from tools" not in text


@pytest.mark.parametrize(
    "name",
    [n for n in ORDER if n not in ("__main__", "fused", "transfer", "transforms", "recipes")],
)
def test_what_a_package_exports_is_there_and_documented(name):
    package = importlib.import_module(f"ssvae.{name}")
    assert package.__doc__
    for offered in getattr(package, "__all__", ()):
        assert getattr(package, offered).__doc__ or not callable(getattr(package, offered)), offered
