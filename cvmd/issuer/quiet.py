"""AWS's libraries kept from logging: at DEBUG botocore logs whole answers, and with them private keys."""

from __future__ import annotations

import logging

from cvmd.errors import IssuerError

_PINNED = ("boto3", "botocore", "s3transfer", "urllib3")


def pin_loggers() -> None:
    """Nothing below WARNING from these libraries, whatever level anybody sets before or later (invariant 6).

    The level saves the cost of records that nobody will see. The filter is what holds: it sits on each
    logger, where neither a level set later nor logging.config reaches it. Call again when more are loaded.
    """
    for name in _PINNED:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if name.partition(".")[0] in _PINNED and isinstance(logger, logging.Logger):
            logger.addFilter(_is_fit)  # the same one again is no second one


def _is_fit(record: logging.LogRecord) -> bool:
    """A warning at least; in place of a traceback, of frames that held answers, the error's name."""
    if record.levelno < logging.WARNING:
        return False
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        name = str(error) if isinstance(error, IssuerError) else type(error).__name__
        record.msg, record.args, record.exc_info = f"{record.getMessage()} {name}", (), None
    return True
