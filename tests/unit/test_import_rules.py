"""The import rules of pyproject.toml catch what they are there for: an import added where it is forbidden breaks one.

The graph of the real imports is built once; each probe adds one import (or one module) to it, asks the rule, and takes
it out again.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

import grimp
import pytest
from importlinter import Contract, api
from importlinter.contracts.acyclic_siblings import AcyclicSiblingsContract
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.independence import IndependenceContract
from importlinter.contracts.layers import LayersContract
from importlinter.contracts.protected import ProtectedContract

ROOT = Path(__file__).parents[2]
RULES = api.read_configuration(str(ROOT / "pyproject.toml"))
KINDS: dict[str, type[Contract]] = {
    "acyclic_siblings": AcyclicSiblingsContract,
    "forbidden": ForbiddenContract,
    "independence": IndependenceContract,
    "layers": LayersContract,
    "protected": ProtectedContract,
}
LAYERS = [
    {"cli"},
    {"lab"},
    {"service"},
    {"composition"},
    {"plaintext", "reload", "secret_files"},
    {"adapters"},
    {"settings"},
    {"shipped"},
    {"engine"},
    {"contract"},
    {"domain"},
]
ROOMS = [
    {"deployment"},
    {"target", "messages"},
    {"ownership", "traffic", "upkeep"},
    {"ports"},
    {"limits", "failpoints"},
]
MODELS = {f"adapters.{name}" for name in ("http", "inventory", "policy", "recipes", "record_seal", "toml_lines")}
HOMES = {
    ("aio_pika", "aiormq", "pamqp"): {"adapters.amqp"},
    ("aiohttp",): {"adapters.chef", "adapters.http", "lab.chef"},
    ("asyncpg", "aiosql"): {"adapters.postgres"},
    ("asyncssh", "h11"): {"adapters.ssh"},
    ("cryptography",): {"adapters.chef", "adapters.http", "adapters.record_seal", "lab.chef"},
    ("prometheus_client",): {"adapters.observe"},
    ("pydantic", "pydantic_core"): {"cli.configuration", "contract", "settings", *MODELS},
    ("pydantic_settings",): {"cli.configuration", "settings"},
    ("typer", "rich"): {"cli", "lab.progress"},
    ("uvloop",): {"service"},
    ("yaml",): {"adapters.inventory"},
    ("yarl",): {"adapters.amqp", "adapters.chef"},
}
"""Where each driver may be imported. loguru's homes are those of pyproject.toml."""
TOOLS_OF_ADAPTERS = {
    f"vesemir.adapters.{name}"
    for name in ("reloaded_files", "record_seal", "secret_file", "tls_advice", "toml_lines", "url_parts")
}
"""Modules that several adapters share."""

Rule = dict[str, Any]
Probe = tuple[str, str]
"""Who imports what."""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("vesemir", include_external_packages=True, cache_dir=None)


def rules(kind: str) -> list[Rule]:
    return [rule for rule in RULES["contracts_options"] if rule["type"] == kind]


def layers_in(container: str) -> Rule:
    (found,) = (rule for rule in rules("layers") if rule["containers"] == [container])
    return found


def rule_about(driver: str) -> Rule:
    (found,) = (rule for rule in rules("protected") if driver in rule["protected_modules"])
    return found


DRIVERS = [driver for rule in rules("protected") for driver in rule["protected_modules"]]


def kept(rule: Rule, graph: grimp.ImportGraph) -> bool:
    kind = KINDS[rule["type"]]
    contract = kind(name=rule["name"], session_options=RULES["session_options"], contract_options=rule)
    return contract.check(graph, verbose=False).kept


@contextmanager
def imported(graph: grimp.ImportGraph, importer: str, name: str) -> Iterator[None]:
    """An import that is not there; both modules are added where they are missing."""
    missing = [module for module in (importer, name) if module not in graph.modules]
    for module in missing:
        graph.add_module(module, is_squashed=not module.startswith("vesemir."))
    assert not graph.direct_import_exists(importer=importer, imported=name)
    graph.add_import(importer=importer, imported=name)
    yield
    graph.remove_import(importer=importer, imported=name)
    for module in missing:
        graph.remove_module(module)


def uncaught(rule: Rule, graph: grimp.ImportGraph, probes: Iterable[Probe]) -> list[Probe]:
    """The probes that the rule lets pass."""
    passed = []
    for importer, name in probes:
        with imported(graph, importer, name):
            if kept(rule, graph):
                passed.append((importer, name))
    return passed


def modules_of(graph: grimp.ImportGraph) -> list[str]:
    return sorted(name for name in graph.modules if f"{name}.".startswith("vesemir."))


@pytest.mark.parametrize("rule", RULES["contracts_options"], ids=lambda rule: rule["name"])
def test_what_there_is_keeps_each_rule(graph: grimp.ImportGraph, rule: Rule) -> None:
    """So that a probe that breaks one has broken it by itself."""
    assert kept(rule, graph)


@pytest.mark.parametrize("drivers", HOMES, ids=lambda drivers: drivers[0])
def test_a_driver_has_the_homes_that_it_should_have(drivers: tuple[str, ...]) -> None:
    rule = rule_about(drivers[0])
    assert set(rule["protected_modules"]) == set(drivers)
    assert set(rule["allowed_importers"]) == {f"vesemir.{home}" for home in HOMES[drivers]}


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_driver_is_caught_in_every_module_but_those_of_its_homes(graph: grimp.ImportGraph, driver: str) -> None:
    rule = rule_about(driver)
    homes = tuple(f"{name}." for name in rule["allowed_importers"])
    new = ["vesemir.adapters.new", "vesemir.cli.new", "vesemir.engine.target.new"]
    elsewhere = [name for name in (*modules_of(graph), *new) if not f"{name}.".startswith(homes)]
    assert len(elsewhere) > 200
    assert uncaught(rule, graph, [(module, driver) for module in elsewhere]) == []


def test_whatever_is_not_of_the_standard_library_has_a_home(graph: grimp.ImportGraph) -> None:
    """A driver that somebody begins to use, or a package that is declared, is in one of the rules."""
    used = {name for name in graph.modules if not name.startswith("vesemir")} - sys.stdlib_module_names
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {re.split(r"[\[>]", each)[0].replace("-", "_") for each in project["dependencies"]}
    assert used <= set(DRIVERS)
    assert {{"pyyaml": "yaml"}.get(name, name) for name in named} <= set(DRIVERS)


def test_each_layer_is_caught_importing_one_above_it(graph: grimp.ImportGraph) -> None:
    rule = layers_in("vesemir")
    assert [set(layer.split(" | ")) for layer in rule["layers"]] == LAYERS
    pairs = [(high, low) for above, below in combinations(LAYERS, 2) for high in above for low in below]
    probes = [(f"vesemir.{low}", f"vesemir.{high}") for high, low in pairs]
    assert uncaught(rule, graph, probes) == []


def test_each_room_of_the_engine_is_caught_importing_one_beside_or_above_it(graph: grimp.ImportGraph) -> None:
    """The room itself, and a new module in it."""
    floors = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
    forbidden = [(low, high) for low, high in permutations(floors, 2) if floors[high] <= floors[low]]
    probes = [(f"vesemir.engine.{low}", f"vesemir.engine.{high}") for low, high in forbidden]
    assert len(probes) == 41
    new = [(f"{low}.new", high) for low, high in probes]
    assert uncaught(layers_in("vesemir.engine"), graph, [*probes, *new]) == []


@pytest.mark.parametrize("module", ["vesemir.engine.new", "vesemir.new"])
def test_a_module_without_a_layer_is_caught(graph: grimp.ImportGraph, module: str) -> None:
    graph.add_module(module)
    passes = kept(layers_in(module.rpartition(".")[0]), graph)
    graph.remove_module(module)
    assert not passes


def test_a_cycle_between_siblings_is_caught_wherever_one_imports_the_other(graph: grimp.ImportGraph) -> None:
    """For every import between two modules of one package: the one back."""
    (rule,) = rules("acyclic_siblings")
    back = [
        (name, importer)
        for importer in modules_of(graph)
        for name in sorted(graph.find_modules_directly_imported_by(importer))
        if name.startswith("vesemir.") and name.rpartition(".")[0] == importer.rpartition(".")[0]
    ]
    assert len(back) > 100
    assert uncaught(rule, graph, back) == []


def test_an_adapter_is_caught_importing_another(graph: grimp.ImportGraph) -> None:
    """Whatever is among the adapters is one, but for what they share."""
    (rule,) = rules("independence")
    assert set(rule["modules"]) == graph.find_children("vesemir.adapters") - TOOLS_OF_ADAPTERS
    assert uncaught(rule, graph, permutations(sorted(rule["modules"]), 2)) == []


@pytest.mark.parametrize("rule", rules("forbidden"), ids=lambda rule: rule["name"])
def test_what_a_pure_layer_must_not_know_is_caught(graph: grimp.ImportGraph, rule: Rule) -> None:
    """In the package itself, and in a new module of it."""
    places = [place for source in rule["source_modules"] for place in (source, f"{source}.new")]
    assert uncaught(rule, graph, product(places, rule["forbidden_modules"])) == []


@pytest.mark.parametrize("fake", sorted((ROOT / "tests" / "fakes").glob("*.py")), ids=lambda path: path.stem)
def test_a_fake_takes_nothing_from_an_adapter(fake: Path) -> None:
    """A rule that a fake has from the real adapter is tested by no contract suite: it is the domain's."""
    nodes = ast.walk(ast.parse(fake.read_text(encoding="utf-8")))
    modules = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    assert [name for name in modules if name.startswith("vesemir.adapters")] == []
