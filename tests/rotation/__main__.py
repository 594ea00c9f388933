"""``python -m tests.rotation``: each credential is rotated while a deployment begins every second; none may fail.

In a lab of its own, with two instances whose secrets come from files. After each rotation all connections of that kind
are ended, so that everything has to log in again; the last one also ends what the old SSH key may do.
"""

import asyncio
import json
import sys
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from tests.chaos.arena import Arena
from tests.chaos.servers import lab_up
from tests.rotation.rotation import BETWEEN_SECONDS, Rotation


async def rotated(folder: Path) -> bool:
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(lab_up(folder / "lab", boxes=2))
        arena = await stack.enter_async_context(Arena.opened(lab))
        rotation = Rotation(arena, folder, user=arena.name)
        await rotation.prepare()
        await arena.crew(2)
        steady = asyncio.create_task(rotation.deploy())
        for step in (rotation.broker, rotation.database, rotation.token, rotation.ssh):
            await asyncio.sleep(BETWEEN_SECONDS)
            before = len(rotation.asked)
            await step()
            print(f"{step.__name__}: rotated; {len(rotation.asked) - before} deployments began meanwhile", flush=True)
        await asyncio.sleep(BETWEEN_SECONDS)
        assert not steady.done()
        steady.cancel()
        results = [await arena.result(each) for each in rotation.asked]
        failed = [result for result in results if result["status"] != "succeeded"]
        print(f"{len(results)} deployments: {dict(Counter(result['status'] for result in results))}")
        for result in failed:
            print(json.dumps(result)[:2000])
        return not failed and all(instance.running for instance in arena.instances)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="vesemir-rotation-") as name:
        Path(name).chmod(0o755)  # the lab's servers are other users
        return 0 if asyncio.run(rotated(Path(name))) else 1


if __name__ == "__main__":
    sys.exit(main())
