"""What a target that did not succeed leaves in HAProxy (contract section 5), and the words for its failure."""

from collections.abc import Sequence

from vesemir.domain.failure import FailedError
from vesemir.domain.traffic import AdminState
from vesemir.domain.traffic_prior import PriorTraffic
from vesemir.engine.traffic.server import ServerOnBox


async def restored(servers: Sequence[ServerOnBox], prior: PriorTraffic) -> str:
    """As it was found, on each load balancer that can be reached; raises ``FailedError`` for those that cannot."""
    failed: list[FailedError] = []
    for server in servers:
        was = prior.places.get(server.place)
        try:
            if was is not None:
                await server.restore(was)
        except FailedError as error:
            failed.append(error)
    if failed:
        text = "; ".join(error.failure.message for error in failed)
        raise FailedError(failed[0].failure.code, text) from failed[0]
    places = ", ".join(f"{was} on {place}" for place, was in prior.places.items())
    return f"its server {servers[0].name} in HAProxy is as it was before ({places})"


async def left_drained(servers: Sequence[ServerOnBox], prior: PriorTraffic | None, *, ready: str) -> str:
    """The sentence for the failure, also when HAProxy cannot be told; ``ready`` is the command that puts it back.

    With ``prior``, maint that somebody else had set stays maint. Raises ``LeaseLostError`` only.
    """
    known = {} if prior is None else prior.wanted
    done, failed = [], []
    for server in servers:
        was = known.get(server.place)
        kept = was is not None and was.admin is AdminState.MAINT
        try:
            await server.leave_drained(AdminState.MAINT if kept else AdminState.DRAIN)
            done.append(str(server.place))
        except FailedError as error:
            failed.append(f"{server.place} ({error.failure.message})")
    shown, reported = f"its server {servers[0].name}" if servers else "its server", []
    if done:
        reported.append(
            f"{shown} is left drained on {', '.join(done)}, agent checks off: the next deployment that succeeds there "
            f"puts it back; or, once the application answers, `{ready}`"
        )
    if failed:
        reported.append(f"{shown} could not be drained on {', '.join(failed)} and may get traffic: look there")
    return "; ".join(reported)
