"""All faults of the design's table but 9 and the second half of 32; docs/reliability.md says where those are."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from tests.chaos import (
    faults_broker,
    faults_cluster,
    faults_credentials,
    faults_dying,
    faults_healing,
    faults_hosts,
    faults_messages,
    faults_pooler,
    faults_prepare,
    faults_record,
    faults_refused,
    faults_traffic,
    faults_upgrade,
)
from tests.chaos.arena import Arena
from tests.chaos.verdict import Try


@dataclass(frozen=True, slots=True)
class Fault:
    """``alone``: it breaks what all arenas share. ``most``: tries beyond that would tell nothing new, or take hours."""

    number: str
    title: str
    blow: Callable[[Arena, Try], Awaitable[None]]
    alone: bool = False
    most: int | None = None
    ha: Literal["", "brokers", "databases"] = ""
    """It needs a lab with ``--ha``; for what befalls its databases each try has a lab of its own."""


FAULTS = (
    Fault("1", "killed before the insert", faults_dying.before_insert),
    Fault("2", "killed after the commit, before the acknowledgement", faults_dying.before_acknowledge),
    Fault("3", "killed in mid-deployment", faults_dying.killed),
    Fault("4", "killed before the command was sent", faults_dying.before_send),
    Fault("5", "killed after the remote result, before the write", faults_dying.before_record),
    Fault("6", "killed after the outbox commit", faults_dying.after_commit),
    Fault("7", "killed after the confirm, before the mark", faults_dying.before_mark),
    Fault("8", "SIGSTOP for longer than the lease, then SIGCONT", faults_dying.stopped),
    Fault("10", "broker restarted, away for 5 s", faults_broker.broker_restarts, alone=True),
    Fault("10b", "broker restarted, away for 120 s", faults_broker.broker_away_long, alone=True, most=5),
    Fault("11", "broker or database unreachable at start", faults_broker.away_at_start),
    Fault("12", "broker behind a black hole", faults_broker.broker_blackhole),
    Fault("13", "publisher confirm lost", faults_broker.confirm_lost),
    Fault("14", "broker memory alarm", faults_broker.memory_alarm, alone=True),
    Fault("15", "queue deleted, consumers cancelled", faults_broker.queue_deleted),
    Fault("16", "reply queue gone", faults_broker.reply_queue_gone),
    Fault("17", "reply queue full", faults_broker.reply_queue_full),
    Fault("18", "poison messages", faults_messages.poison, most=5),
    Fault("19", "same id, another body", faults_messages.conflict, most=5),
    Fault("20", "the same event 10 times", faults_messages.ten_times),
    Fault("21", "PostgreSQL restarted at once", faults_record.restarts, alone=True),
    Fault("21b", "PostgreSQL away for 2.5 leases", faults_record.away_long, alone=True),
    Fault("22", "PostgreSQL behind a black hole for one instance", faults_record.blackhole),
    Fault("23", "connection lost during COMMIT", faults_record.commit_in_doubt),
    Fault("24", "SSH cut in mid-command", faults_hosts.ssh_cut),
    Fault("25", "SSH black hole", faults_hosts.ssh_blackhole),
    Fault("26", "box rebooted in mid-step", faults_hosts.box_reboots, alone=True),
    Fault("27", "1 GiB of output", faults_hosts.output, alone=True, most=3),
    Fault("28", "step that will not die", faults_hosts.will_not_die),
    Fault("29", "SIGTERM in mid-run, a second SIGTERM", faults_dying.terminated),
    Fault("30", "clock jumps by an hour", faults_dying.clock_jumps),
    Fault("31", "an older release and this one, killed, both ways", faults_upgrade.old_and_new, alone=True),
    Fault("32", "HAProxy reloaded in mid-deployment", faults_traffic.haproxy_reloaded),
    Fault("33", "host key changed", faults_hosts.host_key_changed, most=5),
    Fault("34", "disk full; login that prints", faults_hosts.full_disk_and_noise, alone=True, most=5),
    Fault("35", "writes refused, connections flap, delivery limit 20", faults_refused.flaps),
    Fault("36", "the node that leads the queue killed", faults_cluster.leader_killed, ha="brokers"),
    Fault("37", "an instance's node cut off from the other two", faults_cluster.minority_cut_off, ha="brokers"),
    Fault("38", "nodes restarted one after the other under load", faults_cluster.nodes_restarted, ha="brokers"),
    Fault("39", "all broker nodes away for 60 s", faults_cluster.all_brokers_away, ha="brokers", most=20),
    Fault("40", "primary killed, the synchronous standby promoted", faults_cluster.primary_killed, ha="databases"),
    Fault("41", "failover during COMMIT", faults_cluster.commit_in_failover, ha="databases"),
    Fault("42", "the old primary writable beside the new one", faults_cluster.old_primary_comes_back, ha="databases"),
    Fault("43", "disk full, read-only, no connection left, a lock", faults_refused.refuses, alone=True),
    Fault("44", "PgBouncer in between, restarted", faults_pooler.restarted),
    Fault("44b", "PgBouncer in between, away for 2.5 leases", faults_pooler.away_long),
    Fault("45", "bastion killed in mid-rollout", faults_credentials.bastion_dies),
    Fault("46", "certificate ends in mid-rollout, renewed late", faults_credentials.certificate_renewed),
    Fault("47", "a credential rotated while deployments run", faults_credentials.rotated, alone=True),
    Fault("48", "killed in prepare", faults_prepare.in_prepare),
    Fault("48b", "killed between prepare and drain", faults_prepare.before_drain),
    Fault(
        "48c",
        "killed while targets are prepared and drained, behind HAProxy",
        faults_prepare.killed_somewhere,
        alone=True,
    ),
    Fault("48d", "killed while a server is healed", faults_healing.killed, alone=True),
)
