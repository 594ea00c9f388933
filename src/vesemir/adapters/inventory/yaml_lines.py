"""YAML as plain values, with the line of every key and element. Nothing in a file can make an object or run code."""

import yaml

from vesemir.adapters.toml_lines import KeyPath

_MAX_NODES = 500_000
_STRING_TAGS = frozenset({"tag:yaml.org,2002:str", "!unsafe"})


class YamlError(ValueError):
    """With the line, if there is one."""

    def __init__(self, line: int | None, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def read_yaml(text: str) -> tuple[object, dict[KeyPath, int]]:
    """Raises ``YamlError``: broken syntax, a key twice, a tag such as ``!vault``, aliases that unfold without end."""
    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:  # a NUL or another control character, also in a comment
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(line, f"has a character that YAML does not allow: {chr(error.character)!r}") from error
    try:
        node = loader.get_single_node()
        reader = _YamlReader(loader)
        return (None if node is None else reader.value(node, ())), reader.lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(None if mark is None else mark.line + 1, error.problem or str(error)) from error
    except yaml.YAMLError as error:
        raise YamlError(None, str(error)) from error
    except RecursionError as error:
        raise YamlError(None, "is nested too deeply, or contains itself") from error
    finally:
        loader.dispose()


class _YamlReader:
    def __init__(self, loader: yaml.SafeLoader) -> None:
        self._loader = loader
        self._nodes = 0
        self.lines: dict[KeyPath, int] = {}

    def value(self, node: yaml.Node, path: KeyPath) -> object:
        self._nodes += 1
        line = node.start_mark.line + 1
        if self._nodes > _MAX_NODES:
            raise YamlError(line, f"has more than {_MAX_NODES} values; aliases may be repeating each other")
        self.lines.setdefault(path, line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self._key(key_node)
            if key in seen:
                raise YamlError(key_node.start_mark.line + 1, f"{key} stands twice in one mapping")
            seen.add(key)
        self._loader.flatten_mapping(node)
        found: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            found[key] = self.value(value_node, (*path, key))
        return found

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise YamlError(node.start_mark.line + 1, "a key must be text")
        return str(node.value)

    def _scalar(self, node: yaml.Node) -> object:
        if node.tag in _STRING_TAGS:
            return str(node.value)
        if node.tag.startswith("!"):
            raise YamlError(node.start_mark.line + 1, f"{node.tag} is not supported; a secret belongs into a file")
        try:
            return self._loader.construct_object(node)
        except (ValueError, OverflowError) as error:  # a number of thousands of digits, a date that is none
            raise YamlError(node.start_mark.line + 1, f"a value cannot be read: {error}") from error
