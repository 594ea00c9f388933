"""Following a record that is away for a while, and times as people type them."""

from datetime import UTC, datetime

import pytest
from tests.fakes.views import a_step_view, a_view

from vesemir.cli.complaint import UsageError
from vesemir.cli.logs import LogPages, _followed
from vesemir.cli.moment import moment_of
from vesemir.domain.states import DeploymentState
from vesemir.engine.ports.store import StoreAwayError
from vesemir.engine.ports.views import DeploymentView, StepView

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


class FlakyReader:
    """Three steps, the record away at some questions, the deployment ended some answers after the last one."""

    def __init__(self) -> None:
        self.asked = 0
        self.answered = 0

    def _answer(self) -> None:
        self.asked += 1
        if self.asked in {2, 5, 6}:
            raise StoreAwayError("the database does not answer")

    async def deployment_view(self, _deployment_id: str) -> DeploymentView:
        self._answer()
        self.answered += 1
        state = DeploymentState.SUCCEEDED if self.answered > 4 else DeploymentState.RUNNING
        return a_view(steps_total=min(self.answered, 3), state=state)

    async def steps(self, _deployment_id: str, *, after: int, **_: object) -> list[StepView]:
        self._answer()
        numbers = range(after + 1, min(self.answered, 3) + 1)
        return [a_step_view(number, f"web{number}", output="out") for number in numbers]


async def test_following_outlives_an_outage_and_prints_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vesemir.cli.logs._POLL_SECONDS", 0)
    await _followed(FlakyReader(), LogPages("d1", None, 0), as_json=False)  # type: ignore[arg-type]  # what it needs
    said = capsys.readouterr()
    heads = [line.split()[0] for line in said.out.splitlines() if not line.startswith(" ")]
    assert heads == ["web1", "web2", "web3"]
    assert "the database does not answer; waiting for it" in said.err
    assert said.err.endswith("d1: succeeded\n")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (None, None),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T12:30", datetime(2026, 11, 1, 12, 30, tzinfo=UTC)),
        ("2026-11-01T12:30:00+02:00", datetime(2026, 11, 1, 10, 30, tzinfo=UTC)),
        ("90m", datetime(2026, 11, 25, 10, 30, tzinfo=UTC)),
        ("7d", datetime(2026, 11, 18, 12, tzinfo=UTC)),
        ("2w", datetime(2026, 11, 11, 12, tzinfo=UTC)),
    ],
)
def test_a_time_as_a_person_types_it(given: str | None, meant: datetime | None) -> None:
    assert moment_of("--since", given, now=NOW) == meant


@pytest.mark.parametrize("given", ["", "yesterday", "0d", "-1d", "7", "7y", "2026-13-01", "999999999d"])
def test_anything_else_is_told(given: str) -> None:
    with pytest.raises(UsageError, match="--since takes a day"):
        moment_of("--since", given, now=NOW)
