"""What can go wrong when the agent is asked. No text holds a key or a token."""

from __future__ import annotations


class AgentError(Exception):
    """The agent did not do what was asked; one of the classes below says why."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        field: str | None = None,
        request_id: str | None = None,
        retry_after: int | None = None,
    ):
        super().__init__(message)
        #: The HTTP status, where there was an answer.
        self.status = status
        #: The field of the request that was wrong.
        self.field = field
        #: By which the logs of the agent and of the key manager know the request.
        self.request_id = request_id
        #: Seconds after which to try again.
        self.retry_after = retry_after

    def __str__(self) -> str:
        text = str(self.args[0])
        if self.field:
            text = f'{self.field}: {text}'
        if self.request_id:
            text = f'{text} (request {self.request_id})'
        return text


class InvalidRequestError(AgentError):
    """A field of the request is wrong; ``field`` names it."""


class NotAllowedError(AgentError):
    """This process, or the user it asks for, may not do it."""


class NoSuchKeyError(AgentError):
    """There is no such key for this service."""


class ConflictError(AgentError):
    """The key is there already, or its state does not allow it."""


class UnavailableError(AgentError):
    """The agent cannot be reached or is sealed, or the key manager is away: try again later."""


class UnexpectedAnswerError(AgentError):
    """The agent failed, or answered what it must not."""
