"""From the tables of the file to the domain's policy, with everything checked that can be wrong with them."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, time, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from vesemir.adapters.policy.models import (
    AllowTable,
    ChefTable,
    ControlTable,
    ExceptTable,
    FreezeTable,
    HaproxyTable,
    IdentityTable,
    LimitTable,
    NoTrafficTable,
    PolicyTable,
    PromoteTable,
    ScopeTable,
    TargetsTable,
)
from vesemir.adapters.policy.windows import DAY_MINUTES, DAYS, WEEK_MINUTES, Span, Weekly
from vesemir.domain.control_permission import ControlPermission
from vesemir.domain.freeze import Window
from vesemir.domain.identity import Identity, IdentityNames, Person, Persons, kind_and_name
from vesemir.domain.names import Names
from vesemir.domain.permission import ChefPermission, Permission, PermissionScope, TargetPermission
from vesemir.domain.policy import Freeze, Limit, Policy
from vesemir.domain.promotion import Promotion
from vesemir.domain.quota import Quota
from vesemir.domain.share import Share

Path = tuple[str | int, ...]

_HOUR = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])")
_DAY_AND_HOUR = re.compile(rf"({'|'.join(DAYS)}) (\S+)")
_FORMS = (
    'give from and until as dates with time, or as "fri 16:00" and "mon 08:00", or days with or without from and until '
    'as "16:00"'
)


class _WrongError(Exception):
    """Something cannot be built; the problem is noted."""


class PolicyBuilder:
    """Builds one policy; ``problems`` has the path and the reason of everything wrong with it."""

    def __init__(self, table: PolicyTable) -> None:
        self.problems: list[tuple[Path, str]] = []
        self._table = table

    def build(self) -> Policy:
        table = self._table
        for kind, rules in (
            ("allow", table.allow),
            ("freeze", table.freeze),
            ("limit", table.limit),
            ("promote", table.promote),
            ("control", table.control),
        ):
            self._check_names(kind, rules)
        return Policy(
            permissions=tuple(self._permission(("allow", index), each) for index, each in enumerate(table.allow)),
            freezes=tuple(self._freeze(("freeze", index), each) for index, each in enumerate(table.freeze)),
            limits=tuple(_limit(each) for each in table.limit),
            allow_otherwise=table.otherwise == "allow",
            contact=table.contact,
            persons=self._persons(table.identity),
            controls=tuple(self._control(("control", index), each) for index, each in enumerate(table.control)),
            promotions=tuple(self._promotion(("promote", index), each) for index, each in enumerate(table.promote)),
            quotas=tuple(self._quotas(table.limit)),
        )

    def _permission(self, path: Path, table: AllowTable) -> Permission:
        return replace(_permission(table), users=self._users(path, table))

    def _users(self, path: Path, table: AllowTable | ExceptTable) -> IdentityNames | None:
        if table.users is not None and table.identities is not None:
            self.problems.append(((*path, "identities"), "is another name of users: give one of the two"))
        return _identities(table.users if table.identities is None else table.identities)

    def _promotion(self, path: Path, table: PromoteTable) -> Promotion:
        if table.environments == [table.require_success_in]:
            text = "is the environment that the rule is about: name the one that comes before it"
            self.problems.append(((*path, "require_success_in"), text))
        return Promotion(
            name=table.name,
            require_success_in=table.require_success_in,
            scope=_scope(table),
            soak=table.soak,
            same_artifact=table.same_artifact,
            contact=table.contact,
        )

    def _quotas(self, tables: Sequence[LimitTable]) -> Iterator[Quota]:
        for index, table in enumerate(tables):
            if table.max_waiting is not None or table.max_running is not None:
                most = table.max_waiting, table.max_running
                yield Quota(table.name, _scope(table), table.per or "identity", *most, contact=table.contact)
            elif table.per is not None:
                text = "says whose deployments max_waiting and max_running count: give one of them, or leave it out"
                self.problems.append((("limit", index, "per"), text))

    def _control(self, path: Path, table: ControlTable) -> ControlPermission:
        if table.not_requester and table.commands is not None and "resume" not in table.commands:
            text = "is about approvals, which are resumes: add resume to commands, or leave not_requester out"
            self.problems.append(((*path, "not_requester"), text))
        return ControlPermission(
            name=table.name,
            scope=_scope(table),
            commands=None if table.commands is None else tuple(table.commands),
            identities=_identities(table.identities),
            groups=_names(table.groups),
            not_requester=table.not_requester,
            contact=table.contact,
        )

    def _persons(self, tables: Sequence[IdentityTable]) -> Persons:
        """Each identity is in one entry: whoever is two persons would be kept apart from himself."""
        self._check_names("identity", tables)
        owners: dict[Identity, str] = {}
        for index, table in enumerate(tables):
            for number, text in enumerate(table.identities):
                path = ("identity", index, "is", number)
                if (problem := _identity_problem(text)) is not None:
                    self.problems.append((path, problem))
                elif owners.setdefault(Identity.of(text), table.name) != table.name:
                    self.problems.append((path, f"{text} is {owners[Identity.of(text)]} already"))
        for index, table in enumerate(tables):
            # In a rule the name means both, and nobody would see that.
            if owners.get(Identity("amqp", table.name), table.name) != table.name:
                owner = owners[Identity("amqp", table.name)]
                self.problems.append((("identity", index, "name"), f"is the RabbitMQ user of {owner}: use another"))
        return Persons(tuple(Person(table.name, _joined(table)) for table in tables))

    def _check_names(self, kind: str, rules: Sequence[ScopeTable | IdentityTable]) -> None:
        times = Counter(rule.name for rule in rules)
        for index, rule in enumerate(rules):
            if times[rule.name] > 1:
                self.problems.append(((kind, index, "name"), f"more than one {kind} is named {rule.name}"))

    def _freeze(self, path: Path, table: FreezeTable) -> Freeze:
        try:
            windows = self._windows(path, table)
        except _WrongError:
            windows = ()
        return Freeze(
            name=table.name,
            windows=windows,
            scope=_scope(table),
            except_users=self._users((*path, "except"), table.exceptions),
            except_groups=_names(table.exceptions.groups),
            except_teams=_names(table.exceptions.teams),
            except_requesters=_names(table.exceptions.requesters),
            reason=table.reason,
            contact=table.contact,
        )

    def _wrong(self, path: Path, reason: str) -> _WrongError:
        self.problems.append((path, reason))
        return _WrongError(reason)

    def _windows(self, path: Path, table: FreezeTable) -> tuple[Window, ...]:
        zone = self._zone(path, table.timezone)
        if table.days is not None:
            return self._daily(path, table, table.days, zone)
        if isinstance(table.start, datetime) and isinstance(table.until, datetime):
            return (self._span(path, table.start, table.until, zone),)
        if isinstance(table.start, str) and isinstance(table.until, str):
            zone = self._needed(path, zone)
            start = self._minute_of_week((*path, "from"), table.start)
            length = (self._minute_of_week((*path, "until"), table.until) - start) % WEEK_MINUTES
            return (Weekly(start, length or WEEK_MINUTES, zone),)
        raise self._wrong(path, _FORMS)

    def _zone(self, path: Path, name: str | None) -> tzinfo | None:
        if name is None:
            return None
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            text = f"{name} is no time zone that this system knows; use a name such as Europe/Berlin (Debian: tzdata)"
            raise self._wrong((*path, "timezone"), text) from error

    def _needed(self, path: Path, zone: tzinfo | None) -> tzinfo:
        if zone is None:
            raise self._wrong(path, "needs a timezone, Europe/Berlin for instance")
        return zone

    def _span(self, path: Path, start: datetime, until: datetime, zone: tzinfo | None) -> Span:
        def aware(moment: datetime) -> datetime:
            return moment if moment.tzinfo is not None else moment.replace(tzinfo=self._needed(path, zone))

        span = Span(aware(start), aware(until))
        if span.start >= span.end:
            raise self._wrong((*path, "until"), "must be later than from")
        return span

    def _daily(self, path: Path, table: FreezeTable, days: Sequence[str], zone: tzinfo | None) -> tuple[Window, ...]:
        zone = self._needed(path, zone)
        begins = self._minute((*path, "from"), table.start, default=0)
        ends = self._minute((*path, "until"), table.until, default=DAY_MINUTES)
        length = ends - begins if ends > begins else ends - begins + DAY_MINUTES  # over midnight
        return tuple(Weekly(DAYS.index(day) * DAY_MINUTES + begins, length, zone) for day in days)

    def _minute_of_week(self, path: Path, text: str) -> int:
        found = _DAY_AND_HOUR.fullmatch(text)
        if found is None:
            raise self._wrong(path, 'must be a day and a time: "fri 16:00"')
        return DAYS.index(found[1]) * DAY_MINUTES + self._minute(path, found[2], default=0)

    def _minute(self, path: Path, value: object, *, default: int) -> int:
        """Of the day; 24:00 is its end."""
        if value is None:
            return default
        if isinstance(value, time):
            return value.hour * 60 + value.minute
        found = _HOUR.fullmatch(value) if isinstance(value, str) else None
        if found is None or (minute := int(found[1]) * 60 + int(found[2])) > DAY_MINUTES:
            raise self._wrong(path, 'must be a time of day, "16:00" for instance')
        return minute


def _names(given: Sequence[str] | None) -> Names | None:
    return None if given is None else Names(tuple(given))


def _identities(given: Sequence[str] | None) -> IdentityNames | None:
    return None if given is None else IdentityNames(tuple(given))


def _identity_problem(text: str) -> str | None:
    kind, name = kind_and_name(text)
    if "*" in name:
        return "must be one identity, without *: patterns are for rules"
    return None if name else f"has no name after {kind}:"


def _joined(table: IdentityTable) -> frozenset[Identity]:
    return frozenset(Identity(*kind_and_name(text)) for text in table.identities)


def _scope(table: ScopeTable) -> PermissionScope:
    return PermissionScope(_names(table.applications), _names(table.environments))


def _permission(table: AllowTable) -> Permission:
    haproxy = table.haproxy or HaproxyTable()
    return Permission(
        name=table.name,
        scope=_scope(table),
        groups=_names(table.groups),
        teams=_names(table.teams),
        requesters=_names(table.requesters),
        recipes=_names(table.recipes),
        targets=_targets(table.targets),
        traffic=not isinstance(haproxy, NoTrafficTable),
        backends=_names(haproxy.backends),
        servers=_names(haproxy.servers),
        balancers=_targets(haproxy.targets),
        contact=table.contact,
        once_hosts=_names(table.once_hosts),
        break_glass=table.break_glass,
    )


def _targets(table: TargetsTable | None) -> TargetPermission | None:
    if table is None:
        return None
    return TargetPermission(_names(table.hosts), _names(table.groups), _chef(table.chef))


def _chef(table: ChefTable | None) -> ChefPermission | None:
    if table is None:
        return None
    return ChefPermission(
        tags=_names(table.tags),
        roles=_names(table.roles),
        recipes=_names(table.recipes),
        environments=_names(table.environments),
        clusters=_names(table.clusters),
        query=table.query,
    )


def _limit(table: LimitTable) -> Limit:
    return Limit(
        name=table.name,
        scope=_scope(table),
        max_targets=table.max_targets,
        max_concurrency=_share(table.max_concurrency),
        max_canary=_share(table.max_canary),
        max_failures=_share(table.max_failures),
        min_available=_share(table.min_available),
        require=tuple(table.require),
        on_failure=tuple(table.on_failure),
        contact=table.contact,
        lock_after_rollback=table.lock_after_rollback,
    )


def _share(value: int | str | None) -> Share | None:
    return None if value is None else Share.of(value)
