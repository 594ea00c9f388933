"""fabric: STEPS times ``true`` on every host, a thread each, host keys checked."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import paramiko
from fabric import Config, Connection

hosts_file, port, key, steps, known_hosts = sys.argv[1:6]
hosts = Path(hosts_file).read_text().split()
config = Config(overrides={"load_ssh_configs": False})
known = paramiko.HostKeys(known_hosts)  # read once for all
rejecting = paramiko.RejectPolicy()


def one(host: str) -> int:
    connection = Connection(
        host, user="root", port=int(port),
        config=config.clone(),  # one that threads share loses its keys at times
        connect_kwargs={"key_filename": key, "allow_agent": False, "look_for_keys": False, "banner_timeout": 120},
    )  # fmt: skip
    connection.client.set_missing_host_key_policy(rejecting)
    connection.client.get_host_keys().update({name: known[name] for name in (f"[{host}]:{port}",)})
    with connection:
        return sum(connection.run("true", hide=True, in_stream=False).ok for _ in range(int(steps)))


with ThreadPoolExecutor(len(hosts)) as pool:
    good = sum(pool.map(one, hosts))
print(f"ok {good}")
sys.exit(good != len(hosts) * int(steps))
