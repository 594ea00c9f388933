"""``python -m tests.bastions [--targets N]``: N hosts behind two jump hosts in a row, and then the second one is dead.

Both have sshd's own ``MaxStartups`` (10:30:100), and so has the host. All succeed and no handshake is refused; with the
dead one all fail with one message. Ends with 1 if that does not hold.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from tests.bastions.trial import dead_trial, full_trial
from tests.integration.jump_site import CROWDED, jump_site


async def tried(folder: Path, targets: int) -> bool:
    with jump_site(folder, "bastion1", "bastion2", box_startups=CROWDED) as site:
        full = await full_trial(site, targets)
        print(full, flush=True)
        dead = await dead_trial(site, targets)
        print(dead, flush=True)
    return full.kept and dead.kept


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bastions", description=__doc__)
    parser.add_argument("--targets", type=int, default=200, help="behind both (200)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bastions-") as folder:
        kept = asyncio.run(tried(Path(folder) / "site", arguments.targets))
    print("ok" if kept else "BROKEN")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
