"""One name is one class: whoever reads it, or looks for it, knows which. And a module is named for what it is."""

import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import vesemir

PACKAGE = Path(vesemir.__file__).parent
MODULES = [module.relative_to(PACKAGE) for module in PACKAGE.rglob("*.py")]


def classes(modules: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Of modules given as (name, source): where each class name stands, private and nested ones too."""
    found = defaultdict(list)
    for module, source in modules:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(f"{module}:{node.lineno}")
    return dict(found)


def test_class_names_are_unique_in_the_package() -> None:
    found = classes((str(module), (PACKAGE / module).read_text(encoding="utf-8")) for module in MODULES)
    assert "DeploymentRun" in found
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_the_same_name_twice_is_seen() -> None:
    assert classes([("a.py", "class _Scope: ..."), ("b.py", "def made():\n    class _Scope: ...")]) == {
        "_Scope": ["a.py:1", "b.py:2"]
    }


def test_no_module_of_the_engine_is_named_by_a_gerund() -> None:
    engine = [module for module in MODULES if module.parts[0] == "engine"]
    assert Path("engine/deployment/run.py") in engine
    assert [str(module) for module in engine if module.stem.endswith("ing")] == []
