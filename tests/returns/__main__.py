"""``python -m tests.returns``: how often the broker gets an event back while the record refuses writes.

Two whole instances on a real RabbitMQ and PostgreSQL, each behind a proxy of its own. The queues have a delivery limit
of 20, as in RabbitMQ 4. The database refuses writes (``default_transaction_read_only``) for ``--seconds``. Meanwhile
the connections to the broker are cut ``--flaps`` times, and ``--events`` events are sent, half of them at once. It ends
with 1 if an event is lost, was returned more often than there are instances, or ``/health`` took over 10 s to say why.
"""

import argparse
import asyncio
import contextlib
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from loguru import logger
from tests.integration.postgres_server import PostgresServer, running_server
from tests.integration.rabbit_server import RabbitServer
from tests.integration.rabbit_server import running_server as running_broker
from tests.integration.refusing_record import Site, refused, site_opened

DELIVERY_LIMIT = 20
NOTICED_SECONDS = 10.0


async def measure(rabbit: RabbitServer, server: PostgresServer, folder: Path, options: argparse.Namespace) -> int:
    dsn = server.dsn(await server.make_database("template_vesemir"))
    async with site_opened(rabbit, server, dsn, folder, instances=options.instances) as site:
        await site.limit_deliveries(DELIVERY_LIMIT)
        await site.healthy(seconds=30)
        asked, noticed, reasons = await _outage(site, options)
        begun = time.monotonic()
        await site.healthy(seconds=60)
        recovered = time.monotonic() - begun
        accepted = await site.accepted(asked, seconds=60)
        counted = Counter(site.returns[name] for name in asked)
    lines = (
        f"{options.seconds:g} s without writes, {options.flaps} flaps of each of {options.instances} instances",
        f"503 after {noticed:.1f} s: {'; '.join(sorted(set(reasons)))}",
        f"takes work again after {recovered:.1f} s",
        f"events: {len(asked)} confirmed, {accepted} in the record, {len(asked) - accepted} lost",
        f"events by returns: {', '.join(f'{events} returned {n} times' for n, events in sorted(counted.items()))}",
    )
    sys.stdout.writelines(f"{line}\n" for line in lines)
    good = accepted == len(asked) and max(counted) <= options.instances and noticed <= NOTICED_SECONDS
    return 0 if good else 1


async def _outage(site: Site, options: argparse.Namespace) -> tuple[list[str], float, list[str]]:
    """What was asked for; seconds until every instance said 503, and why."""
    begun = time.monotonic()
    async with refused(site):
        asked = await site.ask(options.events // 2)
        await site.unhealthy(seconds=60)
        noticed = time.monotonic() - begun
        reasons = [await instance.reason() for instance in site.instances]
        for flap in range(options.flaps):
            await asyncio.gather(*(instance.flap() for instance in site.instances))
            share = (options.events - len(asked)) // (options.flaps - flap)
            asked += await site.ask(share)
            await asyncio.sleep(max(0.0, begun + options.seconds * (flap + 1) / options.flaps - time.monotonic()))
    return asked, noticed, reasons


@contextlib.contextmanager
def servers() -> Iterator[tuple[RabbitServer, PostgresServer]]:
    with running_broker() as rabbit, running_server() as server:
        yield rabbit, server


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.returns", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long writes are refused (600)")
    parser.add_argument("--flaps", type=int, default=60, help="cuts of the connections meanwhile (60)")
    parser.add_argument("--events", type=int, default=200, help="deploy events sent meanwhile (200)")
    parser.add_argument("--instances", type=int, default=2, help="instances (2)")
    options = parser.parse_args()
    logger.remove()
    for library in ("aio_pika", "aiormq"):  # their connections are meant to be lost
        logging.getLogger(library).setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="vesemir-returns-") as folder, servers() as (rabbit, server):
        return asyncio.run(measure(rabbit, server, Path(folder), options))


if __name__ == "__main__":
    raise SystemExit(main())
