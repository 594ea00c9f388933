"""What HAProxy's runtime socket answers, read into states; pure.

The formats are those of management.txt, section 9.3; tables are read by their header, because columns are added with
every version.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence

from vesemir.domain.counters import BoxCounters, ServerCounters
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.traffic import AdminState, HaproxyProcess, ServerState
from vesemir.domain.visible import words_of_host

MOST_LINES = 25_000
"""Of a reply: three for each of 8,000 servers of one backend."""
LONGEST_LINE = 8192
MOST_COLUMNS = 512
"""HAProxy 3 has about a hundred."""
MOST_CELLS = 2_000_000
_DIGITS = 19
"""Of the greatest number in 64 bits."""

_WITHOUT_NAME = 0x20
"""Of ``srv_admin_state``: in maint because its FQDN has no address, shown as ``MAINT (resolution)``."""
_WITHOUT_ADDRESS = frozenset({"-", "0.0.0.0", "::"})  # noqa: S104 - no address to listen on: as HAProxy shows none
_CHECK_RUNS = 0x02 | 0x04  # configured and enabled, of srv_check_state and srv_agent_state
_CONFIGURED, _ENABLED = 0x02, 0x04
_UNKNOWN = ("No such backend", "No such server", "Can't find backend", "No such proxy", "Require 'backend/server'")
_SERVER_ROW = "2"
_BACKEND_ROW = "1"


def refuse_reply(reply: str, command: str, box: str) -> None:
    """An empty line is success; any text is a failure with that text."""
    text = words_of_host(reply)
    if text:
        raise FailedError(_code_of(text), f"HAProxy on {box} refused {command!r}: {text}{_advice(text)}")


def refuse_level(reply: str, box: str) -> None:
    """Of ``show cli level``: a socket of level ``user`` or ``operator`` answers questions and takes no command. HAProxy
    before 1.8 does not know the question, which is no answer to it."""
    level = words_of_host(reply)
    if level in {"user", "operator"}:
        text = f"HAProxy on {box} lets this socket look and not change anything: its level is {level!r}"
        advice = "set 'level admin' at its stats socket in HAProxy's configuration"
        raise FailedError(FailureCode.HAPROXY_UNREACHABLE, f"{text}; {advice}")


def _code_of(text: str) -> FailureCode:
    if text.startswith(_UNKNOWN):
        return FailureCode.HAPROXY_UNKNOWN_SERVER
    if "static LB algorithm" in text:
        return FailureCode.HAPROXY_WEIGHT_ROUNDS_TO_ZERO
    return FailureCode.HAPROXY_UNREACHABLE


def _advice(text: str) -> str:
    if "ermission denied" in text:
        return " (the socket needs 'level admin' in HAProxy's configuration)"
    if "static LB algorithm" in text:
        return " (leave weight out of the request, or use a dynamic algorithm or 'hash-type consistent')"
    return ""


def parse_process(reply: str, box: str) -> HaproxyProcess:
    """``Pid`` and ``Uptime_sec`` of ``show info``."""
    return HaproxyProcess(_info(reply, "Pid", box), _info(reply, "Uptime_sec", box))


def parse_process_id(reply: str, box: str) -> int:
    """``Pid`` of ``show info``."""
    return _info(reply, "Pid", box)


def _info(reply: str, name: str, box: str) -> int:
    try:
        for line in _lines(reply):
            key, _, value = line.partition(":")
            if key.strip() == name:
                return _whole(value.strip())
    except ValueError as error:
        raise _unreadable("show info", reply, box) from error
    raise _unreadable("show info", reply, box)


def parse_backend_number(reply: str, backend: str, box: str) -> str:
    """``be_id`` of ``show servers state B``. It may change with a reload."""
    if reply.lstrip().startswith(_UNKNOWN):
        raise _no_backend(backend, box)
    try:
        numbers = {row["be_id"] for row in _state_rows(reply) if row["be_name"] == backend}
    except (KeyError, ValueError) as error:
        raise _unreadable("show servers state", reply, box) from error
    if not numbers:
        raise _no_backend(backend, box)
    return min(numbers)


def _lines(reply: str) -> list[str]:
    """Raises ``ValueError`` for a reply of more or longer lines than HAProxy's can have: they are not looked through.

    Only the ends of lines that HAProxy writes count; ``splitlines`` knows ten others.
    """
    lines = reply.split("\n", MOST_LINES)
    if len(lines) > MOST_LINES:
        raise ValueError(f"more than {MOST_LINES} lines")
    if any(len(line) > LONGEST_LINE for line in lines):
        raise ValueError(f"a line of more than {LONGEST_LINE} characters")
    return [line.rstrip("\r") for line in lines]


def _header(line: str, separator: str | None) -> list[str]:
    names = line.removeprefix("# ").split(separator)
    if len(names) > MOST_COLUMNS:
        raise ValueError(f"more than {MOST_COLUMNS} columns")
    return names


def _whole(text: str) -> int:
    """A number as HAProxy writes them. Raises ``ValueError``: what has 30 digits fits nowhere."""
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise ValueError(f"not a number of HAProxy's: {text[:40]!r}")
    return int(text)


def _no_backend(backend: str, box: str) -> FailedError:
    return FailedError(
        FailureCode.HAPROXY_UNKNOWN_SERVER,
        f"HAProxy on {box} has no backend {backend!r} with servers: correct haproxy.backend or HAProxy's configuration",
    )


def parse_backends(reply: str, box: str) -> dict[str, set[str]]:
    """The names of all servers by backend, from ``show servers state`` without a name."""
    backends: dict[str, set[str]] = {}
    try:
        for row in _state_rows(reply):
            backends.setdefault(row["be_name"], set()).add(row["srv_name"])
    except (KeyError, ValueError) as error:
        raise _unreadable("show servers state", reply, box) from error
    return backends


def parse_servers(reply: str, backend: str, box: str) -> dict[str, ServerState]:
    """The answer to ``show servers state B;show stat N 6 -1``: every server of the backend by name."""
    if reply.lstrip().startswith(_UNKNOWN):
        raise _no_backend(backend, box)
    try:
        rows = {row["srv_name"]: row for row in _state_rows(reply) if row["be_name"] == backend}
        algorithm, servers = "", {}
        for stat in _stat_rows(reply):
            if stat["type"] == _BACKEND_ROW:
                algorithm = stat.get("algo") or ""
            elif stat["type"] == _SERVER_ROW:
                servers[stat["svname"]] = stat
        return {name: _server(rows[name], stat, algorithm) for name, stat in servers.items() if name in rows}
    except (KeyError, ValueError) as error:
        raise _unreadable("show servers state and show stat", reply, box) from error


def parse_counters(reply: str, box: str) -> BoxCounters:
    """The answer to ``show info;show stat N 4 -1``, with more before it."""
    try:
        servers = {stat["svname"]: _counters(stat) for stat in _stat_rows(reply) if stat["type"] == _SERVER_ROW}
    except (KeyError, ValueError) as error:
        raise _unreadable("show stat", reply, box) from error
    return BoxCounters(parse_process_id(reply, box), servers)


def _counters(stat: Mapping[str, str]) -> ServerCounters:
    """See ``domain.counters`` for what HAProxy counts where."""
    not_connected = _whole(stat["econ"] or "0") + _whole(stat["wredis"] or "0")
    bad_responses = _whole(stat["eresp"] or "0")
    if stat.get("mode") != "http":
        sessions = _whole(stat["stot"] or "0")
        return ServerCounters(
            requests=sessions,
            connection_errors=not_connected,
            response_errors=bad_responses,
            averaged=sessions,
        )
    responses = sum(_whole(stat[f"hrsp_{kind}"] or "0") for kind in ("2xx", "3xx", "4xx", "5xx", "other"))
    answerless = max(0, bad_responses - _whole(stat["srv_abrt"] or "0"))
    return ServerCounters(
        requests=responses + not_connected + answerless,
        server_errors=_whole(stat["hrsp_5xx"] or "0"),
        connection_errors=not_connected,
        response_errors=bad_responses,
        averaged=responses + _whole(stat["hrsp_1xx"] or "0"),
        response_ms=_number(stat.get("rtime")),
    )


def _state_rows(reply: str) -> Iterator[Mapping[str, str]]:
    """``show servers state``: the format's version, a header that begins with ``#``, rows of words, an empty line.

    Other lines that begin with ``#`` are comments.
    """
    lines = _lines(reply)
    first = _line_of(lines, "# be_id")
    header = _header(lines[first], None)
    for line in lines[first + 1 :]:
        if not line.strip():
            return
        if not line.startswith("#"):
            yield dict(zip(header, line.split(), strict=False))


def _stat_rows(reply: str) -> Iterator[dict[str, str]]:
    """``show stat``: CSV, its header begins with ``# pxname``."""
    lines = _lines(reply)
    first = _line_of(lines, "# pxname")
    header = _header(lines[first], ",")
    if len(header) * len(lines) > MOST_CELLS:
        raise ValueError(f"more than {MOST_CELLS} cells")
    try:
        yield from csv.DictReader(filter(None, lines[first + 1 :]), fieldnames=header)
    except csv.Error as error:
        raise ValueError(str(error)) from error


def _line_of(lines: Sequence[str], start: str) -> int:
    for number, line in enumerate(lines):
        if line.startswith(start):
            return number
    raise ValueError(f"no line begins with {start!r}")


def _server(state: Mapping[str, str], stat: Mapping[str, str], algorithm: str) -> ServerState:
    agent, bits = _whole(state["srv_agent_state"]), _whole(state["srv_admin_state"])
    admin = AdminState.from_bits(bits)
    return ServerState(
        name=stat["svname"],
        admin=admin,
        status=stat["status"],
        weight=_whole(stat["weight"]),
        user_weight=_whole(state["srv_uweight"]),
        configured_weight=_whole(state["srv_iweight"]),
        current_sessions=_whole(stat["scur"] or "0"),
        queued=_whole(stat["qcur"] or "0"),
        check_health=_number(stat.get("check_health")),
        rise=_number(stat.get("check_rise")),
        fall=_number(stat.get("check_fall")),
        has_check=_whole(state["srv_check_state"]) & _CHECK_RUNS == _CHECK_RUNS,
        has_agent=bool(agent & _CONFIGURED),
        agent_enabled=bool(agent & _CONFIGURED and agent & _ENABLED),
        check_said=_check_said(stat),
        tracks=stat.get("tracked") or "",
        algorithm=algorithm,
        is_empty_slot=bool(bits & _WITHOUT_NAME)
        or (admin is AdminState.MAINT and state["srv_addr"] in _WITHOUT_ADDRESS),
    )


def _check_said(stat: Mapping[str, str]) -> str:
    """The last check's result. While the next one runs HAProxy puts ``* `` before it (management.txt, 9.1)."""
    status = (stat.get("check_status") or "").removeprefix("* ")
    return " ".join(filter(None, (status, stat.get("check_desc"))))


def _number(text: str | None) -> int | None:
    return _whole(text) if text else None


def _unreadable(command: str, reply: str, box: str) -> FailedError:
    start = words_of_host(reply, longest=200) or "nothing"
    text = f"HAProxy on {box} answered {command} with what cannot be read ({start}): is it its runtime socket?"
    if reply.startswith("Unknown command") and "show proc" in reply:
        text = (
            f"HAProxy on {box} answered on its master socket, which knows no {command}: name the socket of a "
            "'stats socket' line of its configuration in haproxy_socket, not that of -S"
        )
    return FailedError(FailureCode.HAPROXY_UNREACHABLE, text)
