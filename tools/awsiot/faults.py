"""Faults on demand: which calls go wrong, and how."""

from dataclasses import dataclass, field, fields

from tools.awsiot.errors import STATUSES, ServiceError

# kind → whether the operation takes effect
KINDS = {
    "latency": True,  # waits delay_s, then does it
    "late": True,  # does it, then waits delay_s before the answer
    "throttle": False,  # ThrottlingException
    "error": False,  # `code`
    "error-after": True,  # does it, then answers `code`
    "reset": False,  # the connection is reset
    "lost": True,  # does it, then resets the connection: the answer is lost
    "html": False,  # status 200 and a page of HTML
    "fields": True,  # does it, and leaves `members` out of the answer (all of them, where none is named)
}


@dataclass
class Fault:
    """One rule: of the calls to `operation` (`*` = any) it spares `after` and spoils the next `count`.

    `count` None spoils all that follow. `delay_s` comes before the effect, with `late` after it. `status`
    is the HTTP status where it is not the code's own. Raises ValueError if it is no rule.
    """

    operation: str
    kind: str
    after: int = 0
    count: int | None = 1
    delay_s: float = 0.0
    code: str = "InternalFailureException"
    status: int | None = None
    members: tuple[str, ...] = ()
    seen: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        if self.code not in STATUSES and self.status is None:
            raise ValueError(f"{self.code!r} is not known here: give its status too")
        if self.kind == "throttle":
            self.code = "ThrottlingException"

    @classmethod
    def from_json(cls, rule: object) -> "Fault":
        known = {each.name for each in fields(cls) if each.init}
        if not isinstance(rule, dict) or not {"operation", "kind"} <= rule.keys() <= known:
            raise ValueError(f"a fault is an object with operation, kind and of {', '.join(sorted(known))}")
        return cls(**{**rule, "members": tuple(rule.get("members", ()))})

    @property
    def takes_effect(self) -> bool:
        return KINDS[self.kind]

    def error(self) -> ServiceError:
        """What `throttle`, `error` and `error-after` answer."""
        status = self.status or STATUSES[self.code]
        return ServiceError(self.code, f"a fault of the stand-in: {self.kind}", status)

    def spoils(self, operation: str) -> bool:
        """Count this call; True if it is one of those to spoil."""
        if self.operation not in ("*", operation):
            return False
        self.seen += 1
        return self.seen > self.after and (self.count is None or self.seen <= self.after + self.count)


class Faults:
    """The rules in force. Every rule counts every call that it names; the first that spoils it wins."""

    def __init__(self) -> None:
        self._rules: list[Fault] = []

    def add(self, *rules: Fault) -> None:
        self._rules.extend(rules)

    def clear(self) -> None:
        self._rules.clear()

    def take(self, operation: str) -> Fault | None:
        """The fault that this call meets, if any."""
        spoiling = [rule for rule in self._rules if rule.spoils(operation)]
        return spoiling[0] if spoiling else None
