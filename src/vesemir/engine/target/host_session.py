"""Opening a session on a host: what a host says about our lease is looked up where the truth is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vesemir.domain.failure import EpochRefusedError, FailedError, FailureCode
from vesemir.domain.target import Target
from vesemir.engine.ports.hosts import Host
from vesemir.engine.target.context import Deployment


@asynccontextmanager
async def open_host(deployment: Deployment, target: Target) -> AsyncIterator[Host]:
    """``Hosts.open`` with this deployment's ticket.

    A host that has seen a later claim of the lane ends its session, and this instance must stop everything. But a host
    may lie, or remember what a restored database has forgotten: then the lease is still ours, only this target fails,
    and no instance takes the deployment over to meet the same host again. Raises ``LeaseLostError``, ``FailedError``.
    """
    try:
        async with deployment.ports.hosts.open(target, deployment.ticket()) as host:
            yield host
    except EpochRefusedError as error:
        await deployment.recorder.write()  # writes nothing, but only for the owner: raises LeaseLostError for others
        text = (
            f"{error}, but the record has no later claim than epoch {deployment.lease.claim.epoch}; "
            "if the database was restored from a backup, the host remembers claims that the backup does not have; "
            "else find out what answers there before anything is deployed to it again"
        )
        raise FailedError(FailureCode.SSH_PROTOCOL_VIOLATED, text) from error
