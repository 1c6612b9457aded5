"""Changes a gateway process from inside, as no setting of the product can."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_HOOK = """
import importlib.abc, importlib.util, os, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != {name!r}:
            return None
        sys.meta_path.remove(self)
        # By whoever is left, and may have to change it as well.
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            exec({code!r}, {{"module": module}})
        spec.loader.exec_module = exec_module
        return spec

if os.environ.get("ATTACK_MUTANT"):
    from tests.attacks.mutants import install
    install(os.environ["ATTACK_MUTANT"])
if "stockade.cli.gateway" in sys.orig_argv:
    sys.meta_path.insert(0, Finder())
"""


def hooked(directory: Path, name: str, code: str) -> Mapping[str, str]:
    """The environment in which gateways run *code* when they have imported *name*.

    The module is `module` there. What a mutant lacks is lacking there as well: this takes
    the place of the hook that the mutation check has in a process.
    """
    directory.mkdir(exist_ok=True)
    text = _HOOK.format(name=name, code=code)
    directory.joinpath("sitecustomize.py").write_text(text)
    directory.chmod(0o755)
    return {"PYTHONPATH": f"{directory}:{_ROOT}"}
