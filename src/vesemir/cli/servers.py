"""``vesemir ready`` and ``vesemir drain``: one server back into traffic, or out of it, on every load balancer."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from vesemir.cli.complaint import NOT_DONE
from vesemir.cli.configuration import load_settings
from vesemir.cli.identity import who_asks
from vesemir.cli.output import print_json, say, show, text
from vesemir.cli.requesting import quiet
from vesemir.composition import built_servers_by_hand
from vesemir.domain.failure import FailedError, Failure
from vesemir.domain.identity import Asker
from vesemir.engine.traffic.by_hand import AskedServer, ServersByHand

Hosts = Annotated[list[str], typer.Argument(metavar="HOST…", help="Names of targets, as deployments have them.")]
Application = Annotated[str, typer.Option("--application", "-a", metavar="A", help="The application of the lane.")]
Environment = Annotated[str, typer.Option("--environment", "-e", metavar="E", help="The environment of the lane.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print what became of each, for programs.")]


@dataclass(frozen=True, slots=True)
class ServerOutcome:
    """``failure`` is None where it was done."""

    host: str
    said: str
    failure: Failure | None

    def as_json(self) -> dict[str, Any]:
        failure = None if self.failure is None else self.failure.as_json()
        return {"host": self.host, "done": self.failure is None, "message": self.said, "failure": failure}


def ready_command(
    hosts: Hosts,
    *,
    application: Application,
    environment: Environment,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")] = None,
    as_json: AsJson = False,
) -> None:
    """Put servers back into traffic that Vesemir left drained, or that `vesemir drain` took out.

    Each must pass a fresh health check of HAProxy first, on every load balancer; then it gets 100 % of its weight, and
    its agent checks as they were. One that does not pass stays drained. Servers that somebody else took out are left
    alone. Needs what an instance needs: the settings, the database, and the SSH key to the load balancers.
    """
    _each(
        hosts,
        application=application,
        environment=environment,
        reason=reason,
        as_json=as_json,
        work=lambda servers, asked: servers.ready(asked),
    )


def drain_command(
    hosts: Hosts,
    *,
    application: Application,
    environment: Environment,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded and shown.")],
    as_json: AsJson = False,
) -> None:
    """Take servers out of traffic, on every load balancer, until `vesemir ready`.

    Their sessions may end first. The last server that is UP is not taken out. Deployments work on such a host as on
    others, and leave its server drained. Needs what `vesemir ready` needs.
    """
    _each(
        hosts,
        application=application,
        environment=environment,
        reason=reason,
        as_json=as_json,
        work=lambda servers, asked: servers.drain(asked),
    )


def _each(
    hosts: Sequence[str],
    *,
    application: str,
    environment: str,
    reason: str | None,
    as_json: bool,
    work: Callable[[ServersByHand, AskedServer], Coroutine[Any, Any, str]],
) -> None:
    quiet()
    lane = f"{application}/{environment}"
    asker = Asker(claimed=who_asks(), way="record")
    asked = [AskedServer(lane, host, who_asks(), reason, asker) for host in dict.fromkeys(hosts)]

    async def one_by_one() -> list[ServerOutcome]:
        async with built_servers_by_hand(load_settings(), who=who_asks()) as servers:
            return [await _outcome(each, work(servers, each), tell=not as_json) for each in asked]

    outcomes = asyncio.run(one_by_one())
    if as_json:
        print_json([each.as_json() for each in outcomes])
    if any(each.failure is not None for each in outcomes):
        raise typer.Exit(NOT_DONE)


async def _outcome(asked: AskedServer, work: Coroutine[Any, Any, str], *, tell: bool) -> ServerOutcome:
    """One that fails does not keep the others from being done."""
    try:
        outcome = ServerOutcome(asked.host, await work, None)
    except FailedError as error:
        outcome = ServerOutcome(asked.host, error.failure.message, error.failure)
    if tell and outcome.failure is None:
        show(text(f"{outcome.host}: {outcome.said}"))
    elif tell and outcome.failure is not None:
        say(f"{outcome.host}: {outcome.failure.code}: {outcome.said}")
    return outcome
