"""HAProxy's answers, as 2.6 gave them and as the guide of 3.4 documents them."""

from pathlib import Path

import pytest

from vesemir.adapters.haproxy.reply import parse_counters, parse_process, parse_servers, refuse_level, refuse_reply
from vesemir.domain.counters import BoxCounters, ServerCounters
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.traffic import AdminState, HaproxyProcess, checked_server_name

RECORDED_2_6 = (Path(__file__).parent / "haproxy-2.6.12.txt").read_text(encoding="utf-8")
"""What 2.6.12 answered to the adapter's command, byte for byte; w3 has no check and was marked down by hand."""

COUNTED_2_6 = (Path(__file__).parent / "haproxy-2.6.12-counters.txt").read_text(encoding="utf-8")
"""What 2.6.12 answered after 8 good pages of w1, three 500s, one answer that never came, one that broke off in the
middle, one that was no HTTP, and a slow one; the balancer tried every second one of them on a dead server first."""

# The management guide of 3.4, section 9.1: the static fields of "show stat" that 2.6 has not, in their order.
NEW_IN_3_4 = (
    *("srid", "sess_other", "h1_sess", "h2_sess", "h3_sess", "req_other", "h1req", "h2req", "h3req", "proto"),
    *("priv_idle_cur", "reqbin", "reqbout", "resbin", "resbout"),
)


def written_3_4() -> str:
    """What 3.4 would answer by its management guide (sections 9.1 and 9.3): written by hand, never asked of a 3.4."""
    lines = RECORDED_2_6.splitlines()
    state_header = next(line for line in lines if line.startswith("# be_id"))
    stat_header = next(line for line in lines if line.startswith("# pxname")).removeprefix("# ").split(",")
    kept = stat_header[: stat_header.index("-")]
    header = [*kept, *NEW_IN_3_4, "-", "quic_rxbuf_full"]
    rows: list[dict[str, str]] = [
        {"svname": "BACKEND", "type": "1", "status": "UP", "algo": "random", "reqbin": "17"},
        {
            "svname": "web1",
            "type": "2",
            "status": "DRAIN",
            "weight": "50",
            "scur": "3",
            "qcur": "0",
            "check_status": "* L7OK",
            "check_desc": '"passed, ""twice"""',
            "check_rise": "2",
            "check_fall": "3",
            "check_health": "4",
            "srid": "5",
            "priv_idle_cur": "9",
        },
        {"svname": "web2", "type": "2", "status": "MAINT (resolution)", "weight": "100", "scur": "0", "qcur": "0"},
    ]
    return "\n".join(
        [
            "1",
            state_header,
            "7 shop 1 web1 127.0.0.1 2 76 50 100 9 15 3 4 6 0 0 0 web1.example 8080 - 0 0 - - 0",
            "7 shop 2 web2 - 0 32 100 100 9 15 3 0 14 0 0 0 web2.example 8080 - 0 0 - - 0",
            "",
            "# " + ",".join(header) + ",",
            *(
                ",".join(({"pxname": "shop", "-": "-"} | row).get(column, "") for column in header) + ","
                for row in rows
            ),
            "",
            "",
        ]
    )


def test_the_tables_of_2_6() -> None:
    servers = parse_servers(RECORDED_2_6, "b", "lb1")
    assert list(servers) == ["w1", "w2", "w3", "w4", "w5", "w6", "w0"]
    web = servers["w1"]
    assert (web.status, web.weight, web.configured_weight, web.is_available) == ("UP", 100, 100, True)
    assert (web.check_health, web.rise, web.fall, web.check_said) == (4, 2, 3, "L7OK Layer7 check passed")
    assert (web.current_sessions, web.queued, web.algorithm) == (0, 0, "roundrobin")
    plain = servers["w3"]
    assert (plain.status, plain.has_check, plain.check_health) == ("DOWN", False, None)
    drained = servers["w4"]
    assert (drained.admin, drained.status) == (AdminState.DRAIN, "DRAIN (agent)")
    assert (drained.has_agent, drained.agent_enabled, drained.is_fresh_pass) == (True, True, False)
    assert (servers["w5"].admin, servers["w5"].has_check, servers["w5"].fall) == (AdminState.MAINT, True, None)
    assert (servers["w6"].tracks, servers["w6"].has_check, servers["w6"].is_up) == ("b/w1", False, True)
    assert (servers["w0"].is_up, servers["w0"].is_available) == (True, False)


def test_the_tables_of_3_4_have_more_columns() -> None:
    servers = parse_servers(written_3_4(), "shop", "lb1")
    web = servers["web1"]
    assert (web.admin, web.is_fresh_pass, web.user_weight, web.configured_weight) == (AdminState.DRAIN, True, 50, 100)
    assert (web.current_sessions, web.check_said, web.algorithm) == (3, 'L7OK passed, "twice"', "random")
    assert (servers["web2"].admin, servers["web2"].is_up) == (AdminState.MAINT, False)


def test_the_counters_of_2_6() -> None:
    counted = parse_counters(COUNTED_2_6, "lb1")
    assert counted == BoxCounters(
        1408,
        {
            "w1": ServerCounters(15, server_errors=3, response_errors=3, averaged=13, response_ms=25),
            "dead": ServerCounters(14, connection_errors=14, response_ms=0),
        },
    )
    w1 = counted.servers["w1"].since(ServerCounters())
    assert (w1.requests, w1.errors) == (15, 6), "each request once, also the one that broke off after its 200"


def counted_3_4(mode: str) -> str:
    """By the management guide of 3.4 (sections 9.1 and 9.3): written by hand, never asked of a 3.4."""
    stat_header = next(line for line in RECORDED_2_6.splitlines() if line.startswith("# pxname")).removeprefix("# ")
    kept = stat_header.split(",")[: stat_header.split(",").index("-")]
    header = [*kept, *NEW_IN_3_4, "-", "quic_rxbuf_full"]
    row = {
        "pxname": "shop",
        "svname": "web1",
        "type": "2",
        "stot": "130",
        "econ": "4",
        "eresp": "7",
        "wretr": "9",
        "wredis": "2",
        "srv_abrt": "3",
        "status": "UP",
        "mode": mode,
        "rtime": "21",
        "-": "-",
    }
    if mode == "http":
        answers = {"1xx": "5", "2xx": "90", "3xx": "10", "4xx": "6", "5xx": "11", "other": "1"}
        row |= {"req_tot": "123", **{f"hrsp_{kind}": number for kind, number in answers.items()}}
    else:
        row["rtime"] = "0"
    return "\n".join(
        [
            *("Name: HAProxy", "Version: 3.4.0", "Release_date: 2026/05/28", "Nbthread: 8", "Nbproc: 1"),
            *("Process_num: 1", "Pid: 31337", "Uptime: 3d 4h05m06s", "Uptime_sec: 273906", ""),
            "# " + ",".join(header) + ",",
            ",".join(row.get(column, "") for column in header) + ",",
            *("", ""),
        ]
    )


def test_the_counters_of_3_4() -> None:
    assert parse_counters(counted_3_4("http"), "lb1") == BoxCounters(
        31337,
        {"web1": ServerCounters(118 + 6 + 4, 11, connection_errors=6, response_errors=7, averaged=123, response_ms=21)},
    )


def test_the_counters_of_a_backend_in_mode_tcp() -> None:
    """Its sessions are its requests; those that failed are among them, and there are no response times."""
    assert parse_counters(counted_3_4("tcp"), "lb1").servers == {
        "web1": ServerCounters(130, connection_errors=6, response_errors=7, averaged=130)
    }


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Permission denied\n",
        COUNTED_2_6.replace("Pid: ", "Process: "),
        COUNTED_2_6.replace("econ", "other"),
        COUNTED_2_6.replace(",15,641,", ",many,641,").replace(",http,", ",tcp,"),
    ],
)
def test_counters_that_cannot_be_read_are_no_zeros(reply: str) -> None:
    with pytest.raises(FailedError, match="cannot be read") as caught:
        parse_counters(reply, "lb1")
    assert caught.value.failure.code is FailureCode.HAPROXY_UNREACHABLE


def test_the_states_that_the_guide_of_3_5_lists() -> None:
    """Section 9.3 of 3.5: the masks of ``show servers state`` with their meaning, and comments between the rows."""
    masks = {"0": AdminState.READY, "1": AdminState.MAINT, "2": AdminState.MAINT, "4": AdminState.READY}
    masks |= {"8": AdminState.DRAIN, "16": AdminState.DRAIN, "32": AdminState.MAINT, "64": AdminState.READY}
    for mask, admin in masks.items():
        row = "7 shop 1 web1 127.0.0.1 2 76 50 100 9 15 3 4 6 0 0 0 web1.example 8080 - 0 0 - - 0"
        changed = row.replace(" 76 ", f" {mask} ")
        text = written_3_4().replace(row, f"# a comment\n{changed}")
        assert parse_servers(text, "shop", "lb1")["web1"].admin is admin


def test_a_server_that_asks_for_no_more_sessions_is_not_up() -> None:
    """``NOLB``: its check answered 404 (``http-check disable-on-404``); srv_op_state 3, soft-stopping."""
    text = written_3_4().replace("2 76 50 100", "3 0 50 100").replace("DRAIN", "NOLB")
    assert not parse_servers(text, "shop", "lb1")["web1"].is_up


def test_an_unknown_backend() -> None:
    with pytest.raises(FailedError, match="no backend 'x'") as caught:
        parse_servers("Can't find backend.\n\nNo such proxy.\n\n", "x", "lb1")
    assert caught.value.failure.code is FailureCode.HAPROXY_UNKNOWN_SERVER


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Permission denied\n",
        "<html>",
        "1\n# be_id be_name\n",
        "# pxname,\n",
        RECORDED_2_6.replace("srv_uweight", "other"),
        RECORDED_2_6.replace(",UP,100,", ",UP,many,"),
    ],
)
def test_what_cannot_be_read_is_no_empty_backend(reply: str) -> None:
    with pytest.raises(FailedError, match="cannot be read") as caught:
        parse_servers(reply, "b", "lb1")
    assert caught.value.failure.code is FailureCode.HAPROXY_UNREACHABLE


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("No such server.\n\n", FailureCode.HAPROXY_UNKNOWN_SERVER),
        ("No such backend.\n\n", FailureCode.HAPROXY_UNKNOWN_SERVER),
        ("Permission denied\n\n", FailureCode.HAPROXY_UNREACHABLE),
        (
            "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.\n\n",
            FailureCode.HAPROXY_WEIGHT_ROUNDS_TO_ZERO,
        ),
        ("Something that no version says yet.\n", FailureCode.HAPROXY_UNREACHABLE),
    ],
)
def test_any_text_is_a_failure_with_that_text(reply: str, code: FailureCode) -> None:
    with pytest.raises(FailedError) as caught:
        refuse_reply(reply, "set server b/s state drain", "lb1")
    assert caught.value.failure.code is code
    assert reply.strip() in caught.value.failure.message


@pytest.mark.parametrize("reply", ["", "\n", "\n\n"])
def test_an_empty_line_is_success(reply: str) -> None:
    refuse_reply(reply, "set server b/s state drain", "lb1")


def test_the_process_id_in_the_example_of_3_5() -> None:
    """Section 9.3, ``show info``, cut there as here."""
    lines = ["Name: HAProxy", "Version: 3.1-dev0-7c653d-2466", "Release_date: 2025/07/01", "Nbthread: 1", "Nbproc: 1"]
    lines += ["Process_num: 1", "Pid: 638069", "Uptime: 0d 0h00m07s", "Uptime_sec: 7", "Memmax_MB: 0", ""]
    assert parse_process("\n".join(lines), "lb1") == HaproxyProcess(638069, 7)


@pytest.mark.parametrize("reply", ["admin\n\n", "Unknown command: 'show cli level'.\nPlease enter …", ""])
def test_a_level_that_is_admin_or_not_known(reply: str) -> None:
    """HAProxy before 1.8 does not know the question."""
    refuse_level(reply, "lb1")


@pytest.mark.parametrize("level", ["user", "operator"])
def test_a_level_that_is_too_low(level: str) -> None:
    with pytest.raises(FailedError, match=f"its level is '{level}'; set 'level admin'"):
        refuse_level(f"{level}\n\n", "lb1")


def test_the_process_id() -> None:
    assert parse_process("Name: HAProxy\nPid: 8933\nUptime: 0d\nUptime_sec: 12\n", "lb1") == HaproxyProcess(8933, 12)
    for cut in ("Name: HAProxy\nUptime_sec: 3\n", "Pid: 8933\n"):
        with pytest.raises(FailedError, match="cannot be read"):
            parse_process(cut, "lb1")


@pytest.mark.parametrize("name", ["shop", "web-1.example:80", "A_b"])
def test_names_as_haproxy_has_them(name: str) -> None:
    assert checked_server_name(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a\n", "a/b", "ä", "@1 show", "#1", "a\x00"])
def test_names_that_could_be_more_than_a_name(name: str) -> None:
    with pytest.raises(FailedError):
        checked_server_name(name)


STATE = "1\n# be_id be_name srv_name srv_admin_state srv_uweight srv_iweight srv_check_state srv_agent_state\n"


def lying(**changes: str) -> str:
    """The shortest answer about one server, with lies in it."""
    row = {"weight": "1", "scur": "0", "qcur": "0", "admin": "0", "uweight": "1", "check": "6", **changes}
    stat = "# pxname,svname,type,status,weight,scur,qcur\n"
    return (
        f"{STATE}7 shop web1 {row['admin']} {row['uweight']} 1 {row['check']} 0\n\n{stat}"
        f"shop,web1,2,UP,{row['weight']},{row['scur']},{row['qcur']}\n"
    )


def test_the_shortest_answer_is_read() -> None:
    assert parse_servers(lying(), "shop", "lb1")["web1"].weight == 1


@pytest.mark.parametrize(
    "reply",
    [
        lying(weight="9" * 30),
        lying(scur="9" * 5000),
        lying(qcur="-1"),
        lying(admin="nan"),
        lying(uweight="1e5"),
        lying(check="٣"),
        lying() + "x" * 10_000,
        lying() + "shop,web2,2,UP,1,0,0\n" * 30_000,
        lying() + '"' + "x" * 8000 + "\n" + ("x" * 8000 + "\n") * 20,
        lying().replace("# pxname,", "# pxname," + "c," * 1000),
        lying().replace("# pxname,", "# pxname," + "c," * 500) + "\n" * 24_000,
        STATE + "x" * 5_000_000,
    ],
    ids=lambda reply: f"{len(reply)} characters",
)
def test_a_reply_that_lies_is_a_failure_of_the_load_balancer(reply: str) -> None:
    """Never an error that nobody expects, never a number that fits nowhere, never a long message."""
    for parse in (lambda: parse_servers(reply, "shop", "lb1"), lambda: parse_counters(reply, "lb1")):
        with pytest.raises(FailedError) as caught:
            parse()
        assert caught.value.failure.code is FailureCode.HAPROXY_UNREACHABLE
        assert len(caught.value.failure.message) < 500


def test_a_pid_of_30_digits_is_none() -> None:
    with pytest.raises(FailedError):
        parse_process(f"Pid: {'9' * 30}\nUptime_sec: 5\n", "lb1")


def test_a_refusal_without_end_is_a_short_message() -> None:
    with pytest.raises(FailedError) as caught:
        refuse_reply("\x1b[2J" + "no " * 1_000_000, "set server x", "lb1")
    assert len(caught.value.failure.message) < 500
    assert "\x1b" not in caught.value.failure.message
