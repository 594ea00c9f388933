"""Which connection is let in, and which makes room."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from vesemir.adapters.http.crowd import SPARES, Crowd
from vesemir.adapters.http.limits import HttpLimits

HERE, THERE = "127.0.0.1", "192.0.2.1"


@dataclass(eq=False)
class Member:
    peer: str = HERE
    closed: bool = False

    def make_room(self) -> None:
        self.closed = True


@dataclass
class Entrance:
    """A crowd, and who came to it."""

    crowd: Crowd
    members: list[Member] = field(default_factory=list)

    def come(self, count: int = 1, *, peer: str = HERE, works: bool = False) -> Member:
        for _ in range(count):
            member = Member(peer)
            member.closed = not self.crowd.admit(member)
            if works and not member.closed:
                self.crowd.works(member)
            self.members.append(member)
        return self.members[-1]

    @property
    def open(self) -> list[Member]:
        return [member for member in self.members if not member.closed]


def entrance(*, connections: int = 10, per_address: int = 6) -> Entrance:
    return Entrance(Crowd(HttpLimits(connections=connections, per_address=per_address)))


def test_the_one_of_an_address_that_waited_longest_makes_room_for_a_new_one() -> None:
    at = entrance()
    at.come(6)
    other = at.come(peer=THERE)
    new = at.come()
    assert [member.closed for member in at.members] == [True, *[False] * 7]
    assert not other.closed
    assert not at.crowd.is_spare(new)


def test_a_crowd_from_one_address_takes_no_place_from_another() -> None:
    at = entrance()
    others = [at.come(peer=THERE) for _ in range(4)]
    at.come(100)
    assert not any(member.closed for member in others)
    assert len(at.open) == 10


def test_in_all_there_is_no_more_than_the_bound() -> None:
    at = entrance()
    for number in range(100):
        at.come(peer=f"192.0.2.{number}")
    assert [member.closed for member in at.members] == [True] * 90 + [False] * 10


def test_what_works_keeps_its_place_and_waits_last_when_it_is_done() -> None:
    at = entrance()
    first = at.come(works=True)
    at.come(5)
    at.come(3)
    assert not first.closed
    at.crowd.waits(first)
    at.come(5)
    assert not first.closed
    at.come()
    assert first.closed


def test_where_all_are_in_work_a_spare_is_let_in_for_a_health_check() -> None:
    at = entrance()
    at.come(6, works=True)
    spare = at.come()
    assert at.crowd.is_spare(spare)
    at.come(100)
    assert spare.closed
    newest = at.come()
    assert not newest.closed
    assert at.crowd.is_spare(newest)
    assert len(at.crowd) == 7


def test_spares_are_few_and_shared_by_all_addresses() -> None:
    at = entrance(connections=10, per_address=10)
    at.come(10, works=True)
    for number in range(SPARES):
        assert not at.come(peer=f"192.0.2.{number}", works=True).closed
    assert at.come(peer=THERE).closed
    assert len(at.crowd) == 10 + SPARES


def test_who_left_makes_room() -> None:
    at = entrance()
    at.come(6, works=True)
    for member in at.members:
        at.crowd.left(member)
        at.crowd.left(member)
    assert len(at.crowd) == 0
    assert not at.crowd.is_spare(at.come())


@given(st.lists(st.tuples(st.sampled_from("awl"), st.integers(0, 3), st.integers(0, 30)), max_size=200))
def test_whatever_comes_and_goes_the_bounds_hold(moves: list[tuple[str, int, int]]) -> None:
    at = entrance()
    for move, peer, number in moves:
        if move == "a":
            at.come(peer=f"192.0.2.{peer}", works=number % 2 == 0)
        elif at.open:
            member = at.open[number % len(at.open)]
            if move == "w":
                at.crowd.waits(member)
            else:
                at.crowd.left(member)
                member.closed = True
        spares = [member for member in at.open if at.crowd.is_spare(member)]
        assert len(at.crowd) == len(at.open) <= 10 + len(spares)
        assert len(spares) <= SPARES
        for each in range(4):
            of_peer = [m for m in at.open if m.peer == f"192.0.2.{each}" and not at.crowd.is_spare(m)]
            assert len(of_peer) <= 6
