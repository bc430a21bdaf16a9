"""The log: structured lines on stderr, one canonical line a connection, and nothing in them that must not be.

What a peer sent passes `clean` first. Whatever level is set, libraries that would log bodies or parameters
stay at WARNING; a Secret in any field is blank; tracebacks have source lines, never the values of variables.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from cvmd.config import Log
from cvmd.model import Secret

MAX_CLEAN: Final = 64
_PRINTABLE: Final = frozenset(range(0x20, 0x7F))
# botocore logs whole answers at DEBUG, a private key among them; SQLAlchemy logs parameters at INFO.
_LIBRARIES: Final = ("alembic", "asyncio", "boto3", "botocore", "pymysql", "sqlalchemy", "urllib3")
_MULTILINE: Final = frozenset({"exception", "stack"})


def clean(peer_text: bytes | str) -> str:
    """What a peer sent, fit for a log line: printable ASCII, else hex behind 0x; at most 64 characters."""
    raw = peer_text.encode("utf-8", "backslashreplace") if isinstance(peer_text, str) else peer_text
    shown = raw[: MAX_CLEAN + 1]
    text = shown.decode("ascii") if _PRINTABLE.issuperset(shown) else f"0x{shown.hex()}"
    return text if len(text) <= MAX_CLEAN else text[: MAX_CLEAN - 3] + "..."


def canonical(event: str, *, level: int = logging.INFO, **fields: object) -> None:
    """The one line of a connection, or of another thing that ended: all that is known of it, without None."""
    known = {name: value for name, value in fields.items() if value is not None}
    structlog.stdlib.get_logger("cvmd").log(level, event, **known)


def configure(log: Log, stream: TextIO = sys.stderr) -> None:
    """Send this process's log, the libraries' too, to `stream` as `log` says. May be called again."""
    as_json = log.format == "json" or (log.format == "auto" and not stream.isatty())
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,  # plain: the structured and the rich ones show locals
                _make_safe,
                *_renderers(as_json, stream),
            ],
        )
    )
    level = logging.getLevelNamesMapping()[log.level.upper()]
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _renderers(as_json: bool, stream: TextIO) -> list[Processor]:
    if as_json:
        return [structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]


def _make_safe(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blank secrets, hex for bytes, no control characters: whatever the caller forgot."""
    return {name: _safe_lines(value) if name in _MULTILINE else _safe(value) for name, value in event.items()}


def _safe_lines(traceback: str) -> str:
    return "\n".join(_safe(line) for line in traceback.splitlines())


def _safe(value: Any) -> Any:  # noqa: ANN401  # a field of a log line may be anything
    if isinstance(value, Secret):
        return repr(value)
    if isinstance(value, bytes):
        return clean(value)
    if isinstance(value, str):
        return value if value.isprintable() else value.encode("unicode_escape").decode()
    if isinstance(value, dict):
        return {_safe(name): _safe(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_safe(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else _safe(str(value))
