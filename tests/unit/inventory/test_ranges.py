"""Host ranges mean what they mean to Ansible."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesemir.adapters.inventory.ranges import expand


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("web1", ["web1"]),
        ("web[1:3]", ["web1", "web2", "web3"]),
        ("web[:2]", ["web0", "web1", "web2"]),
        ("web[01:05:2].example.org", ["web01.example.org", "web03.example.org", "web05.example.org"]),
        ("box[a:c]", ["boxa", "boxb", "boxc"]),
        ("box[a:e:2]", ["boxa", "boxc", "boxe"]),
        ("r[1:2]-[a:b]", ["r1-a", "r1-b", "r2-a", "r2-b"]),
        ("web[9:11]", ["web9", "web10", "web11"]),
    ],
)
def test_a_range_has_both_ends(pattern: str, names: list[str]) -> None:
    assert expand(pattern) == names


@pytest.mark.parametrize(
    "pattern",
    ["web[1]", "web[1:]", "web[1:2", "web1:2]", "web[5:1]", "web[01:100]", "web[1:9:0]", "web[a:5]", "web[c:a]",
     "web[1:9:-1]", "", "web[1:400]-[1:400]", "web[1:99999999999999999999]", "w!", "~web.*", "web[²:³]"],
)  # fmt: skip
def test_what_is_no_range_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"range|host name|hosts"):
        expand(pattern)


@given(start=st.integers(0, 999), count=st.integers(1, 50), step=st.integers(1, 9), width=st.sampled_from([0, 4]))
def test_every_number_of_the_range_is_there_once_in_order(start: int, count: int, step: int, width: int) -> None:
    end = start + (count - 1) * step
    names = expand(f"web[{start:0{width}d}:{end:0{width}d}:{step}]")
    assert [int(name[3:]) for name in names] == list(range(start, end + 1, step))
    assert width == 0 or {len(name) for name in names} == {7}


@given(st.text(alphabet="web[]:019az-*", max_size=12))
def test_any_text_gives_host_names_or_a_value_error(text: str) -> None:
    try:
        names = expand(text)
    except ValueError:
        return
    assert names
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) for name in names)
