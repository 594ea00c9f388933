"""Planning: the batches cover each target once, the canary comes first, and percentages round as the contract says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.plan import make_plan
from vesemir.domain.request import Rollout
from vesemir.domain.share import Share
from vesemir.domain.target import Target

SHARES = st.one_of(st.integers(0, 30).map(Share), st.integers(0, 100).map(lambda percent: Share(percent, percent=True)))


def targets(count: int, zones: int = 1) -> list[Target]:
    return [Target(f"web{n}", f"127.0.0.{n}", variables={"zone": f"z{n % zones}"}) for n in range(1, count + 1)]


def batches(count: int, **rollout: object) -> list[list[str]]:
    return [list(batch.names) for batch in make_plan(targets(count), Rollout(**rollout)).batches]  # type: ignore[arg-type]


def test_the_contracts_example() -> None:
    """Concurrency 2 with a canary of 1 on five boxes: one, two, two."""
    assert batches(5, concurrency=Share(2), canary=Share(1)) == [["web1"], ["web2", "web3"], ["web4", "web5"]]


@pytest.mark.parametrize(("percent", "size"), [(1, 1), (25, 2), (50, 5), (99, 9), (100, 10)])
def test_a_percentage_of_concurrency_is_rounded_down_but_at_least_one(percent: int, size: int) -> None:
    assert len(batches(10, concurrency=Share(percent, percent=True))[0]) == size


def test_a_canary_percentage_above_zero_is_at_least_one_target() -> None:
    assert batches(5, concurrency=Share(5), canary=Share(1, percent=True))[0] == ["web1"]
    assert batches(5, concurrency=Share(5), canary=Share(0, percent=True)) == [["web1", "web2", "web3", "web4", "web5"]]


@given(count=st.integers(1, 60), zones=st.integers(1, 4), concurrency=SHARES, canary=SHARES, ordered=st.booleans())
def test_every_target_is_in_exactly_one_batch(
    count: int, zones: int, concurrency: Share, canary: Share, *, ordered: bool
) -> None:
    """Whatever is asked: each target once, no batch above the concurrency, canaries first, values never mixed."""
    hosts = targets(count, zones)
    plan = make_plan(hosts, Rollout(concurrency=concurrency, canary=canary, order_by="zone" if ordered else None))
    assert sorted(plan.names) == sorted(host.name for host in hosts)
    assert all(1 <= len(batch.names) <= plan.concurrency for batch in plan.batches)
    assert [batch.number for batch in plan.batches] == list(range(1, len(plan.batches) + 1))
    kinds = [batch.canary for batch in plan.batches]
    assert kinds == sorted(kinds, reverse=True)
    assert sum(len(batch.names) for batch in plan.batches if batch.canary) == min(
        count, canary.down(count, at_least=1 if canary.amount else 0)
    )
    if ordered:
        zone = {host.name: host.variables["zone"] for host in hosts}
        assert all(len({zone[name] for name in batch.names}) == 1 for batch in plan.batches)


@given(
    count=st.integers(1, 60),
    chosen=st.sets(st.integers(1, 60)),
    broken=st.sets(st.integers(1, 60)),
    concurrency=SHARES,
)
def test_the_way_back_has_each_changed_target_once_and_the_broken_ones_first(
    count: int, chosen: set[int], broken: set[int], concurrency: Share
) -> None:
    plan = make_plan(targets(count), Rollout(concurrency=concurrency))
    changed = frozenset(f"web{n}" for n in chosen if n <= count)
    out = frozenset(f"web{n}" for n in broken)
    back = plan.way_back(changed, broken=out)
    in_order = [name for name in plan.names if name in changed]
    assert list(back.names) == sorted(in_order, key=lambda name: name not in out)
    assert all(len(batch.names) <= back.concurrency for batch in back.batches)
    assert [batch.number for batch in back.batches] == list(range(1, len(back.batches) + 1))


def test_none_and_too_few_are_failures_of_their_own() -> None:
    with pytest.raises(FailedError) as none:
        make_plan([], Rollout())
    assert none.value.failure.code is FailureCode.TARGETS_NONE_FOUND
    with pytest.raises(FailedError) as few:
        make_plan(targets(2), Rollout(min_targets=3))
    assert few.value.failure.code is FailureCode.TARGETS_TOO_FEW


@given(amount=st.integers(0, 100), total=st.integers(0, 10_000))
def test_capacity_is_rounded_up_and_the_rest_down(amount: int, total: int) -> None:
    share = Share(amount, percent=True)
    assert share.down(total) <= amount * total / 100 <= share.up(total)
    assert share.up(total) - share.down(total) in {0, 1}
