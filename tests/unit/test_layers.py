"""The architecture's layers: imports point downwards only, and the board's part needs numpy alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import joulebit

ROOT = Path(joulebit.__file__).parent

# From the bottom up. A package may import from those before it.
LAYERS = ("errors", "fixed", "spec", "accelerator", "kernels", "engine", "nn", "techniques", "energy", "data",
          "train", "experiments", "bench", "cli")  # fmt: skip


def imports(path: Path) -> set[str]:
    """The sub-packages of joulebit that a file imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("joulebit.")}
    return found - {"__version__"}


def test_every_package_has_its_layer() -> None:
    packages = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert packages <= set(LAYERS)


def test_imports_point_downwards() -> None:
    wrong = []
    for path in ROOT.rglob("*.py"):
        relative = path.relative_to(ROOT)
        own = relative.parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        wrong += [
            f"{relative} imports joulebit.{name}"
            for name in imports(path)
            if LAYERS.index(name) > LAYERS.index(own)
        ]
    assert not wrong, "\n".join(wrong)


def test_no_simulator_module_imports_the_host() -> None:
    assert not [p for p in ROOT.rglob("*.py") if "joulebit_host" in p.read_text(encoding="utf-8")]


def test_a_training_step_runs_with_numpy_and_pure_python_packages_alone() -> None:
    program = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("numba", "torch", "scipy", "sklearn", "matplotlib", "jinja2", "llvmlite"):
            raise ModuleNotFoundError(f"blocked: {name}", name=name.split(".")[0])
sys.meta_path.insert(0, Blocked())
import tempfile
from pathlib import Path
from joulebit.experiments.config import load_config
from joulebit.experiments.run import run_training
from joulebit.experiments.rundir import RunDirectory
config = load_config("digits-lenet-fixed", ["engine=numpy", "training.iterations=2", "data.test_limit=20",
                                            "data.train_limit=40", "training.statistics_samples=16"])
with tempfile.TemporaryDirectory() as folder, RunDirectory.create(Path(folder) / "run", config) as run:
    print(run_training(config, run)["weights_sha256"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) == 64
