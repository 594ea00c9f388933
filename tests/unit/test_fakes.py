"""Tests use the fakes by their public names, which the fakes document: then a fake can be changed inside."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
FAKES = TESTS / "fakes"
OWN = {"self", "cls"}


def private_names(source: str) -> set[str]:
    """What the classes of a fake keep for themselves: methods, fields, attributes."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                names.add(name)
    return {name for name in names if name.startswith("_") and not name.endswith("__")}


def looks_inside(source: str, private: set[str]) -> Iterator[str]:
    """Where such a name is used on something else than the own object, or imported."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=owner, attr=name) if name in private and ast.unparse(owner) not in OWN:
                yield ast.unparse(node)
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("tests.fakes"):
                yield from (name.name for name in names if name.name in private)


def test_no_test_looks_inside_a_fake() -> None:
    private = set().union(*(private_names(fake.read_text(encoding="utf-8")) for fake in FAKES.glob("*.py")))
    assert {"_pid", "_FakeRelay", "_fail"} <= private
    found = {
        str(test.relative_to(TESTS)): inside
        for test in TESTS.rglob("*.py")
        if test.parent != FAKES and (inside := list(looks_inside(test.read_text(encoding="utf-8"), private)))
    }
    assert found == {}


def test_looking_inside_is_seen() -> None:
    source = "from tests.fakes.hosts import _FakeRelay\nlb._pid = 3\nsuper()._fail()\nself._pid = 4\n"
    assert list(looks_inside(source, {"_pid", "_fail", "_FakeRelay"})) == ["_FakeRelay", "lb._pid", "super()._fail"]
