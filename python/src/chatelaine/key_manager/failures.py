"""Errors as Castellan's callers expect them, whoever they come from.

Cinder tries a deletion again as itself when it gets a ``KeyManagerError``, and Nova recognises a denial by the word "Forbidden" in
the text of one; others catch Castellan's ``Forbidden``. So a denial is both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from castellan.common import exception

from chatelaine import errors


class AccessForbidden(exception.Forbidden, exception.KeyManagerError):
    """The caller may not do it."""

    message = 'Forbidden: %(reason)s'


def forbidden(reason: str) -> AccessForbidden:
    """A denial."""
    return AccessForbidden(reason=reason)


def failed(reason: object) -> exception.KeyManagerError:
    """Any other failure."""
    return exception.KeyManagerError(reason=str(reason))


def not_found(object_id: str | None) -> exception.ManagedObjectNotFoundError:
    """There is no such object for the caller."""
    return exception.ManagedObjectNotFoundError(uuid=object_id)


@contextlib.contextmanager
def translated(object_id: str | None = None) -> Iterator[None]:
    """What the agent says, as Castellan's errors."""
    try:
        yield
    except errors.NotAllowedError as error:
        raise forbidden(str(error)) from error
    except errors.NoSuchKeyError as error:
        if object_id is None:
            raise failed(error) from error
        raise not_found(object_id) from error
    except errors.AgentError as error:
        raise failed(error) from error
