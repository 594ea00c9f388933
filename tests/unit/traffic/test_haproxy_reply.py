"""HAProxy's answers, as 2.6 gave them and as 3.x documents them."""

from pathlib import Path

import pytest

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.haproxy_reply import checked_name, parse_process_id, parse_servers, refuse_reply
from vesemir.domain.traffic import AdminState

RECORDED_2_6 = (Path(__file__).parent / "haproxy-2.6.12.txt").read_text(encoding="utf-8")
"""What 2.6.12 answered to the adapter's command, byte for byte; w3 has no check and was marked down by hand."""

# Written by hand from the management guide of 3.0: "show stat" has more columns, in part before those of 2.6, quoted
# text, and "show servers state" the check's and agent's addresses at its end.
WRITTEN_3_0 = '''1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state \
bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr \
srv_agent_port srv_something_new
7 shop 1 web1 10.0.0.1 2 8 50 100 9 15 3 4 6 0 0 0 web1.example 8080 - 0 0 - - 0 x
7 shop 2 web2 10.0.0.2 0 32 100 100 9 15 3 0 14 0 0 0 web2.example 8080 - 0 0 - - 0 x

# pxname,svname,new_first,qcur,scur,status,weight,tracked,type,check_status,check_desc,check_rise,check_fall,\
check_health,algo,proto,h3_data,-,
shop,BACKEND,,0,0,UP,150,,1,,,,,,random,,,-,
shop,web1,,0,3,DRAIN,50,,2,L7OK,"passed, ""twice""",2,3,4,,,,-,
shop,web2,,0,0,MAINT (resolution),100,,2,,,,,,,,,-,

'''


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


def test_the_tables_of_3_0_have_other_columns() -> None:
    servers = parse_servers(WRITTEN_3_0, "shop", "lb1")
    web = servers["web1"]
    assert (web.admin, web.is_fresh_pass, web.user_weight, web.configured_weight) == (AdminState.DRAIN, True, 50, 100)
    assert (web.current_sessions, web.check_said, web.algorithm) == (3, 'L7OK passed, "twice"', "random")
    assert (servers["web2"].admin, servers["web2"].is_up) == (AdminState.MAINT, False)


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


def test_the_process_id() -> None:
    assert parse_process_id("Name: HAProxy\nPid: 8933\nUptime: 0d\n", "lb1") == 8933
    with pytest.raises(FailedError, match="cannot be read"):
        parse_process_id("Name: HAProxy\n", "lb1")


@pytest.mark.parametrize("name", ["shop", "web-1.example:80", "A_b"])
def test_names_as_haproxy_has_them(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a\n", "a/b", "ä", "@1 show", "#1", "a\x00"])
def test_names_that_could_be_more_than_a_name(name: str) -> None:
    with pytest.raises(FailedError):
        checked_name(name)
