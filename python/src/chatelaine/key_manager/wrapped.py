"""The driver's half for keys that the agent wraps."""

from __future__ import annotations

import builtins
import logging
import re
from typing import Any

from castellan.common.objects import managed_object
from oslo_config import cfg

from chatelaine import agent, errors
from chatelaine.key_manager import failures, objects, options

LOG = logging.getLogger(__name__)
#: By so much the key manager's clock may be ahead of this one's.
CLOCK_SECONDS = 60.0
_UUID = re.compile(r'[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}(\1[0-9a-fA-F]{4}){3}\1?[0-9a-fA-F]{8}')


class WrappedKeys:
    """Castellan's operations on the agent's keys."""

    def __init__(self, configuration: cfg.ConfigOpts):
        group = configuration[options.GROUP]
        self._agent = agent.Agent(group.agent_socket, timeout=group.timeout, max_connections=group.max_connections)
        self._forward = bool(group.forward_user_token)

    def create_key(self, context: Any, algorithm: str, length: int, expiration: str | None, name: str | None) -> str:
        """A new symmetric key; its id."""
        token = self._token(context)
        with failures.translated():
            made = self._agent.create_key(
                algorithm,
                bit_length=length,
                name=name or None,
                attributes=objects.new_attributes(algorithm, 'symmetric'),
                expires_at=objects.expires_at(expiration),
                token=token,
            )
        return made.document.id

    def create_key_pair(
        self, context: Any, algorithm: str, length: int, expiration: str | None, name: str | None
    ) -> tuple[str, str]:
        """A new pair; the ids of the private and the public key."""
        token = self._token(context)
        with failures.translated():
            private, public = self._agent.create_key_pair(
                algorithm,
                bit_length=length,
                name=name or None,
                attributes=objects.new_attributes(algorithm, None),
                expires_at=objects.expires_at(expiration),
                token=token,
            )
        return private.id, public.id

    def store(self, context: Any, managed: managed_object.ManagedObject, expiration: str | None) -> str:
        """Keeps an object; its id."""
        token = self._token(context)
        new = objects.to_key(managed)
        with failures.translated():
            kept = self._agent.create_key(
                new.algorithm,
                bit_length=new.bit_length,
                key_string=new.key_string,
                name=new.name,
                attributes=new.attributes,
                expires_at=objects.expires_at(expiration),
                token=token,
            )
        return kept.document.id

    def get(self, context: Any, object_id: str, metadata_only: bool) -> managed_object.ManagedObject:
        """An object, or what is known about it."""
        token = self._token(context)
        wanted = _id(object_id)
        with failures.translated(object_id):
            try:
                if metadata_only:
                    document, key_string = self._agent.metadata(wanted, token=token), None
                else:
                    key = self._agent.key(wanted, token=token)
                    document, key_string = key.document, key.key_string
            except errors.ConflictError:
                # To Castellan's callers, what has expired is not there; other states are told.
                document = self._agent.metadata(wanted, token=token)
                if document.state == 'deactivated' and objects.has_expired(document, CLOCK_SECONDS):
                    raise failures.not_found(object_id) from None
                raise
            if objects.has_expired(document):
                raise failures.not_found(object_id)
        return objects.from_key(document, key_string)

    def delete(self, context: Any, object_id: str) -> None:
        """Deletes an object."""
        token = self._token(context)
        with failures.translated(object_id):
            self._agent.delete(_id(object_id), token=token)

    def list(
        self, context: Any, object_type: type[managed_object.ManagedObject] | None, metadata_only: bool
    ) -> builtins.list[managed_object.ManagedObject]:
        """The service's objects; without those that are not released, as with Barbican."""
        token = self._token(context)
        wanted = None if object_type is None else objects.type_name(object_type)
        found = []
        with failures.translated():
            for document in self._agent.all_keys(token=token):
                if document.state != 'active' or objects.has_expired(document):
                    continue
                if wanted is not None and objects.kind_of(document) != wanted:
                    continue
                if metadata_only:
                    found.append(objects.from_key(document, None))
                    continue
                try:
                    key = self._agent.key(document.id, token=token)
                except (errors.NoSuchKeyError, errors.ConflictError, errors.NotAllowedError) as error:
                    LOG.warning('key %s is left out of the list: %s', document.id, error)
                    continue
                found.append(objects.from_key(key.document, key.key_string))
        return found

    def _token(self, context: Any) -> str | None:
        """The token to forward; nothing where the operation is the service's own."""
        if not context:
            raise failures.forbidden('there is no context: nobody is known who could be authorized')
        if not self._forward:
            return None
        # An oslo.context has the one, Castellan's credentials have the other.
        token = getattr(context, 'auth_token', None) or getattr(context, 'token', None)
        if not token:
            reason = 'the context has no token of a user, and [chatelaine] forward_user_token demands one'
            raise failures.forbidden(reason)
        return str(token)


def _id(object_id: str) -> str:
    """The id as the agent writes it."""
    if not object_id:
        raise failures.failed('key identifier not provided')
    if _UUID.fullmatch(str(object_id)) is None:
        raise failures.not_found(object_id)
    digits = str(object_id).replace('-', '').lower()
    return '-'.join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
