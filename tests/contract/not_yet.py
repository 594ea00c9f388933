"""Sentences of docs/contract.md that are not true yet, each with the issue that makes it true.

The list gets shorter with every issue and is empty at the end. ``text`` is how the sentence begins on the page, word
for word. ``names`` are those of its names that the tests of the page would miss in the models: a name must be missing
there, so a line that became true has to go.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NotYet:
    """``issue`` counts from 1 to 12. ``names``: events, fields (``event:field``), codes, commands, control commands."""

    issue: int
    text: str
    names: tuple[str, ...] = ()


NOT_YET: tuple[NotYet, ...] = (
    # 1. Vocabulary and 2. AMQP
    NotYet(6, "| run-once step | a step of a recipe's list"),
    NotYet(8, "| fleet | the hosts of a lane"),
    NotYet(7, "`oidc:ISSUER:SUBJECT`, `proxy:NAME`. What a message says"),
    # Deploy event
    NotYet(6, "A rollout `succeeded` if and only if"),
    NotYet(8, "- Optional at the top level: `retry_of`"),
    NotYet(8, '`source` (`{"commit", "committed_at", "url"}`', ("retry_of", "source")),
    NotYet(8, "Optional in `targets`: `only`, `except`.", ("targets:only", "targets:except")),
    NotYet(
        8,
        "`max_unreachable`, `only_outdated`, `new_hosts`. An instance",
        ("rollout:max_unreachable", "rollout:only_outdated", "rollout:new_hosts"),
    ),
    NotYet(8, "- `max_unreachable`: a number or percentage"),
    NotYet(8, "- `only`, `except`: host names that narrow"),
    NotYet(8, "- `retry_of`: the id of a finished deployment"),
    NotYet(8, "- `only_outdated`: hosts are left out"),
    NotYet(8, "- `new_hosts`: `ignore` (default) or `deploy`"),
    NotYet(8, "- With `retry_of` or `only_outdated`, nothing left to do"),
    # The lists of a recipe
    NotYet(6, "`before`, `prepare`, `before_batch`, `steps`, `after_batch`"),
    NotYet(8, "(`identify`, whose last line of output"),
    NotYet(6, "- Order: prepare of all targets"),
    NotYet(6, "- A run-once step names its host with `on`"),
    NotYet(6, "- In run-once lists `idempotent` defaults to false"),
    NotYet(6, "- A run-once step is limited by its own `timeout`"),
    NotYet(6, "- A failed `before` (or the failed prepare of its host)"),
    NotYet(6, "- A dry run logs in to the hosts of run-once steps"),
    # Events
    NotYet(8, "`current`: names left out by `only_outdated`", ("deployment.started:current",)),
    NotYet(6, "`once`: list of `{phase, step, host}` |", ("deployment.started:once",)),
    NotYet(8, "| `deployment.extended` |", ("deployment.extended",)),
    NotYet(6, "| `once.started` |", ("once.started",)),
    NotYet(6, "| `once.finished` |", ("once.finished",)),
    NotYet(6, "`once`: list of `{phase, step, host, batch, status, failure}`", ("deployment.finished:once",)),
    # Control message
    # 3. Failure codes
    NotYet(7, "`artifact.signature_invalid` `control.unknown_deployment`", ("artifact.signature_invalid",)),
    NotYet(
        6,
        "`before.failed` `batch.failed` `after.failed`",
        ("before.failed", "batch.failed", "after.failed", "once.state_unknown"),
    ),
    NotYet(7, "`request.unauthenticated` `request.too_many_waiting`", ("request.unauthenticated",)),
    # 4. HTTP
    NotYet(7, "The API is a second way into the same intake"),
    NotYet(7, "| `GET /api/v1/deployments`, `/ID`, `/ID/events`, `/ID/steps` |"),
    NotYet(7, "| `POST /api/v1/deployments` |"),
    NotYet(7, "| `POST /api/v1/deployments/ID/cancel`"),
    NotYet(7, "| `GET /api/v1/lanes`"),
    NotYet(8, "| `GET /api/v1/lanes/APPLICATION/ENVIRONMENT/fleet` |"),
    NotYet(7, "| `POST /api/v1/lanes/APPLICATION/ENVIRONMENT/lock`"),
    NotYet(7, "| `GET /api/v1/statistics`, `/failures/CODE`"),
    NotYet(7, "| `POST /api/v1/policy/test` |"),
    NotYet(7, "| `GET`, `POST /api/v1/tokens`"),
    NotYet(7, "| `GET /api/v1/audit` |"),
    NotYet(9, "| `GET /` | the console (HTML) |"),
    NotYet(7, "- Errors have the `failure` as body"),
    NotYet(7, "- Identity: `Authorization: Bearer` with a token"),
    NotYet(9, "The console has a session cookie"),
    NotYet(7, "- Roles are of HTTP only"),
    NotYet(7, "- On loopback, reading without identity is possible"),
    # 6. Command line
    NotYet(6, "`recipe` · `policy` · `notify`", ("recipe",)),
    NotYet(
        7,
        "`login` · `logout` · `whoami` · `token`",
        ("follow", "login", "logout", "whoami", "token", "completion", "help"),
    ),
    NotYet(8, "`rollback` · `retry` ·", ("retry", "fleet", "reconcile")),
    NotYet(10, "`notify` · `schema`", ("notify", "init")),
    NotYet(7, "All but `run`, `check`, `migrate`"),
    # 7. The lab
    NotYet(7, "- `lab.json` has `tokens`"),
)


def names(*, prefix: str = "") -> set[str]:
    """The names that are not there yet, of those that begin so; without the prefix."""
    found = (name for each in NOT_YET for name in each.names)
    return {name.removeprefix(prefix) for name in found if name.startswith(prefix)}
