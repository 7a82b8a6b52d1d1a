"""Castellan's driver ``chatelaine``.

Owns the choice between keys that the agent wraps (:mod:`chatelaine.key_manager.wrapped`) and keys that the key manager wraps
(:mod:`chatelaine.key_manager.server`). Making a driver opens no connection and reads nothing but its options: Castellan makes
drivers that nobody uses, and with ``fixed_key`` makes each twice, the second of a subclass whose ``get`` and ``delete`` take fewer
arguments. So nothing here calls those two.
"""

from __future__ import annotations

import builtins
from typing import Any

from castellan.common.objects import managed_object
from castellan.key_manager import key_manager
from oslo_config import cfg

from chatelaine.key_manager import options, wrapped


class ChatelaineKeyManager(key_manager.KeyManager):
    """Chatelaine as Castellan's key manager."""

    def __init__(self, configuration: cfg.ConfigOpts | None):
        configuration = cfg.CONF if configuration is None else configuration
        options.register(configuration)
        self._wrapped: wrapped.WrappedKeys | None = None
        self._server: Any = None
        if configuration[options.GROUP].wrapping == 'agent':
            self._wrapped = wrapped.WrappedKeys(configuration)
        else:
            # With it come Barbican's and Keystone's clients.
            from chatelaine.key_manager import server

            self._server = server.ServerKeys(configuration)

    def create_key(
        self,
        context: Any,
        algorithm: str,
        length: int,
        expiration: str | None = None,
        name: str | None = None,
    ) -> str:
        """Makes a symmetric key of ``length`` bits and returns its id."""
        keys: Any = self._wrapped or self._server
        return str(keys.create_key(context, algorithm, length, expiration, name))

    def create_key_pair(
        self,
        context: Any,
        algorithm: str,
        length: int,
        expiration: str | None = None,
        name: str | None = None,
    ) -> tuple[str, str]:
        """Makes a pair of keys and returns the ids of the private and of the public one."""
        keys: Any = self._wrapped or self._server
        private, public = keys.create_key_pair(context, algorithm, length, expiration, name)
        return private, public

    def store(self, context: Any, managed_object: managed_object.ManagedObject, expiration: str | None = None) -> str:
        """Keeps an object and returns its id."""
        keys: Any = self._wrapped or self._server
        return str(keys.store(context, managed_object, expiration))

    def get(self, context: Any, managed_object_id: str, metadata_only: bool = False) -> managed_object.ManagedObject:
        """The object of that id. ``ManagedObjectNotFoundError`` where there is none for the caller, or it has expired."""
        keys: Any = self._wrapped or self._server
        found: managed_object.ManagedObject = keys.get(context, managed_object_id, metadata_only)
        return found

    def delete(self, context: Any, managed_object_id: str, force: bool = False) -> None:
        """Deletes an object. Keys of the agent have no consumers, so ``force`` changes nothing for them."""
        if self._wrapped is not None:
            self._wrapped.delete(context, managed_object_id)
        else:
            self._server.delete(context, managed_object_id, force)

    def add_consumer(self, context: Any, managed_object_id: str, consumer_data: dict[str, str]) -> None:
        """Notes who uses an object. Not for keys of the agent: only their service uses them."""
        if self._wrapped is not None:
            raise NotImplementedError(_NO_CONSUMERS)
        self._server.add_consumer(context, managed_object_id, consumer_data)

    def remove_consumer(self, context: Any, managed_object_id: str, consumer_data: dict[str, str]) -> None:
        """Takes that back."""
        if self._wrapped is not None:
            raise NotImplementedError(_NO_CONSUMERS)
        self._server.remove_consumer(context, managed_object_id, consumer_data)

    def list(
        self,
        context: Any,
        object_type: type[managed_object.ManagedObject] | None = None,
        metadata_only: bool = False,
    ) -> builtins.list[managed_object.ManagedObject]:
        """All objects of the service, or those of one type."""
        keys: Any = self._wrapped or self._server
        return builtins.list(keys.list(context, object_type, metadata_only))

    def list_options_for_discovery(
        self,
    ) -> builtins.list[tuple[str | None, builtins.list[cfg.Opt]]]:
        """The options of the group ``[chatelaine]``."""
        return [(options.GROUP, builtins.list(options.OPTIONS))]


_NO_CONSUMERS = (
    'keys that the agent wraps have no consumers: only their service can use them. '
    'With [chatelaine] wrapping = server there are consumers.'
)
