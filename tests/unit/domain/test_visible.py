"""What is hidden in a text is shown: one function for the terminal, the log and the words of failures."""

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesemir.domain.visible import escaped_json, visible, visible_line, words_of_host


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain žluťoučký 🐎 text\n\tgoes on", "plain žluťoučký 🐎 text\n\tgoes on"),
        ("\x1b[31mred\x07", "␛[31mred␇"),
        ("half\rover", "half␍over"),
        ("\x00\x7f", "␀␡"),
        ("\x9b31m", "\\u009b31m"),
        ("abc\u202etxt.exe", "abc\\u202etxt.exe"),
        ("\u2066\u2069\u200e\u200f\u061c", "\\u2066\\u2069\\u200e\\u200f\\u061c"),
        ("pay\u200bpal\ufeff\u00ad\u2060", "pay\\u200bpal\\ufeff\\u00ad\\u2060"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\U000e0041", "\\U000e0041"),
        ("\udcff", "\\udcff"),
    ],
)
def test_hidden_characters_are_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_line_stays_one() -> None:
    assert visible_line("web1\nweb2: succeeded\t") == "web1␊web2: succeeded␉"


def test_no_control_and_no_format_character_is_passed_on() -> None:
    """Of all that Unicode has, as this Python knows it."""
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    passed = {character for character in visible(every) if unicodedata.category(character) in hidden}
    assert passed == {"\n", "\t"}
    assert not any(unicodedata.category(character) in hidden for character in visible_line(every))


@given(st.text())
def test_json_keeps_its_value(text: str) -> None:
    document = escaped_json(json.dumps({"output": text}, ensure_ascii=False))
    assert json.loads(document) == {"output": text}
    assert visible(document) == document


def test_a_hosts_words_are_one_short_line() -> None:
    assert words_of_host(" a\n\tb \x1b[2J") == "a b ␛[2J"
    assert len(words_of_host("x" * 10_000_000)) == 301
