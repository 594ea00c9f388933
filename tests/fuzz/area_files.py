"""Files that people write: recipes, policies and inventories are read, or refused by one clear error of ours."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from hypothesis import strategies as st
from tests.fuzz.examine import Area, Check
from tests.fuzz.mutation import nearly
from tests.fuzz.storable import assert_storable
from tests.unit.inventory import test_ansible_inventory, test_static_inventory
from tests.unit.policy import test_policy_files

from vesemir.adapters.inventory.static import read_inventory
from vesemir.adapters.policy.file import read_policy
from vesemir.adapters.recipes.recipe_file import read_recipe
from vesemir.domain.failure import VesemirError
from vesemir.domain.recipe import Recipe

ROOT = Path(__file__).parents[2]
LONGEST_MESSAGE = 2_000_000
"""Characters: a line for each problem, and a file may have many."""


def _files(*patterns: str) -> list[bytes]:
    found = [file.read_bytes() for pattern in patterns for file in sorted(ROOT.glob(pattern))]
    assert found, patterns
    return found


def _texts_of(module: object, *, has: str) -> list[bytes]:
    """The samples of a test module: its texts of more than one line."""
    texts = [value for name, value in vars(module).items() if isinstance(value, str) and not name.startswith("__")]
    return [text.encode() for text in texts if "\n" in text and has in text]


ANSIBLE_YAML = b"""\
all:
  vars: {shared: "a b"}
  hosts:
    mail.example.com:
  children:
    webservers: &web
      hosts:
        foo[1:3].example.com: {http_port: 80, ansible_host: 192.0.2.50, ansible_port: 2222}
      vars: {a: 1.5, b: [1, {c: null}], d: 2026-11-27, e: 0o17, f: 1_000, g: 190:20:30}
    east:
      children:
        webservers:
"""
NATIVE_YAML = b"""\
groups:
  web:
    hosts: [web1, "web[2:4]"]
hosts:
  web1: {address: 10.0.0.1, port: 22, variables: {a: b}}
"""
TOML_INVENTORIES = [*_files("config/inventory.toml"), *_texts_of(test_static_inventory, has="[")]
INI_INVENTORIES = _texts_of(test_ansible_inventory, has="[")
YAML_INVENTORIES = [
    ANSIBLE_YAML,
    *_texts_of(test_ansible_inventory, has=": "),
    NATIVE_YAML,
]
RECIPES = _files("config/recipes/*.toml")
POLICIES = [*_files("config/policy.toml"), *_texts_of(test_policy_files, has="[")]


def _read_inventory(file: Path) -> None:
    for target in read_inventory(file).targets().values():
        assert_storable(target)


def _read_recipe(file: Path) -> None:
    recipe: Recipe = read_recipe(file)
    assert_storable(recipe.source)


def _judge_message(message: str, file: Path) -> None:
    assert str(file) in message
    assert len(message) < LONGEST_MESSAGE
    message.encode()


Read = Callable[[Path], object]


def _opened(reads: Mapping[str, Read]) -> Callable[[], AbstractContextManager[Check]]:
    """``reads`` by the name of the file."""

    @contextmanager
    def opened() -> Iterator[Check]:
        with tempfile.TemporaryDirectory() as folder:

            def judge(example: tuple[str, bytes]) -> None:
                name, content = example
                file = Path(folder) / name
                file.write_bytes(content)
                try:
                    reads[name](file)
                except VesemirError as error:
                    _judge_message(str(error), file)

            yield judge

    return opened


def _named(name: str, seeds: list[bytes]) -> st.SearchStrategy[tuple[str, bytes]]:
    return st.tuples(st.just(name), nearly(seeds))


RECIPE_FILES = Area(
    "recipes",
    "recipe files: read, or one clear error",
    _named("fuzzed.toml", RECIPES),
    _opened({"fuzzed.toml": _read_recipe}),
)
POLICY_FILES = Area(
    "policies",
    "policy files: read, or one clear error",
    _named("policy.toml", POLICIES),
    _opened({"policy.toml": read_policy}),
)
INVENTORY_FILES = Area(
    "inventories",
    "inventories in TOML, YAML and INI: read, or one clear error",
    _named("hosts.toml", TOML_INVENTORIES) | _named("hosts.yaml", YAML_INVENTORIES) | _named("hosts", INI_INVENTORIES),
    _opened(dict.fromkeys(("hosts.toml", "hosts.yaml", "hosts"), _read_inventory)),
)
