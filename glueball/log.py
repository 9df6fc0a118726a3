"""mx.log: a logger with a handler and a short format.

>>> get_logger("glueball.example").level == WARNING
True
"""

from __future__ import annotations

import logging
from logging import CRITICAL, DEBUG, ERROR, INFO, NOTSET, WARNING

__all__ = ["CRITICAL", "DEBUG", "ERROR", "INFO", "NOTSET", "WARNING", "getLogger", "get_logger"]


def get_logger(
    name: str | None = None, filename: str | None = None, filemode: str | None = None, level: int = WARNING
) -> logging.Logger:
    """Return the logger of a name; at the first call it gets a handler, which writes to `filename` or to stderr."""
    logger = logging.getLogger(name)
    if name is not None and not any(getattr(each, "of_glueball", False) for each in logger.handlers):
        handler = logging.FileHandler(filename, filemode or "a") if filename else logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname).1s %(asctime)s %(name)s: %(message)s", "%m-%d %H:%M:%S"))
        handler.of_glueball = True  # type: ignore[attr-defined]  # so that a second call adds no second one
        logger.addHandler(handler)
        logger.setLevel(level)
    return logger


getLogger = get_logger  # noqa: N816 (compatible name)
