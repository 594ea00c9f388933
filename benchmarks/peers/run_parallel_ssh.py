"""parallel-ssh: STEPS times ``true`` on every host, all at once. It cannot check host keys."""

import sys
from pathlib import Path

from pssh.clients import ParallelSSHClient

hosts_file, port, key, steps = sys.argv[1:5]
hosts = Path(hosts_file).read_text().split()
client = ParallelSSHClient(
    hosts, port=int(port), user="root", pkey=key, pool_size=len(hosts), num_retries=3, retry_delay=1, allow_agent=False,
    identity_auth=False,
)  # fmt: skip
good = 0
for _ in range(int(steps)):
    output = client.run_command("true")
    client.join(output)
    good += sum(each.exit_code == 0 for each in output)
print(f"ok {good}")
sys.exit(good != len(hosts) * int(steps))
