"""A look at the servers of the targets that were not begun, once before the end: the result tells of them too."""

from collections.abc import Sequence

from vesemir.engine.ports.changes import RecordInTraffic
from vesemir.engine.target.context import Deployment
from vesemir.engine.target.row import Row


async def last_look(deployment: Deployment, rows: Sequence[Row]) -> Sequence[RecordInTraffic]:
    """One reading of each load balancer for all of them; what is to be recorded. A dry run begins none."""
    unseen = [row for row in rows if row.never_begun or deployment.request.dry_run]
    if not unseen:
        return ()
    seen = await deployment.in_traffic(*(row.name for row in unseen))
    for row in unseen:
        row.in_traffic = seen[row.name]
    return [RecordInTraffic(row.name, row.direction, row.in_traffic) for row in unseen if row.in_traffic is not None]
