"""The driver's half for keys that the key manager wraps: Castellan's own Barbican driver with fewer requests.

Owns what Castellan's driver does again for every call, though nothing has changed: the login at Keystone and the look-ups of the
endpoint and of the API's version are kept for a while for each set of credentials. A secret is read with one request for its
metadata and one for its payload, where Barbican's client needs up to sixteen for a secret without a name; an order that is active
at once is not waited for; listings are followed to their end.
"""

from __future__ import annotations

import builtins
import collections
import hashlib
import os
import re
import threading
import time
import types
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

from barbicanclient import client as barbican_client
from barbicanclient import exceptions as barbican_exceptions
from castellan.common import exception
from castellan.common.objects import managed_object
from castellan.key_manager import barbican_key_manager
from keystoneauth1 import exceptions as keystone_exceptions
from keystoneauth1 import session
from oslo_config import cfg

from chatelaine.key_manager import failures, options

#: How long a login is used again, in seconds, and for how many sets of credentials at a time.
LOGIN_SECONDS = 300.0
MAX_LOGINS = 64
_PAGE = 100
_MAX_SECRETS = 1_000_000
_ID = re.compile(r'[0-9a-fA-F-]{32,36}')
_SALT = os.urandom(32)
#: What may tell one context from another.
_CREDENTIALS = (
    'auth_url',
    'token',
    'auth_token',
    'username',
    'password',
    'user_id',
    'user_domain_id',
    'user_domain_name',
    'trust_id',
    'domain_id',
    'domain_name',
    'project_id',
    'project_name',
    'project_domain_id',
    'project_domain_name',
    'system_scope',
)


class _Login(NamedTuple):
    client: Any
    until: float


class ServerKeys(barbican_key_manager.BarbicanKeyManager):
    """Castellan's driver for Barbican, against Chatelaine."""

    def __init__(self, configuration: cfg.ConfigOpts):
        super().__init__(configuration)
        self._timeout = float(configuration[options.GROUP].timeout)
        self._logins: collections.OrderedDict[bytes, _Login] = collections.OrderedDict()
        self._lock = threading.Lock()
        self._process = os.getpid()

    def _get_barbican_client(self, context: Any) -> Any:
        _known(context)
        credentials = _credentials(context)
        if os.getpid() != self._process:
            # A child must not share its parent's connections, nor wait for a lock that a thread of the parent holds.
            self._process, self._lock, self._logins = os.getpid(), threading.Lock(), collections.OrderedDict()
        if credentials is None:
            return self._log_in(context)
        with self._lock:
            login = self._logins.get(credentials)
            if login is not None and login.until > time.monotonic():
                self._logins.move_to_end(credentials)
                return login.client
        # Not under the lock: Keystone may take its time, and others need not wait for it.
        client = self._log_in(context)
        with self._lock:
            self._logins[credentials] = _Login(client, time.monotonic() + LOGIN_SECONDS)
            self._logins.move_to_end(credentials)
            while len(self._logins) > MAX_LOGINS:
                self._logins.popitem(last=False)
        return client

    def _log_in(self, context: Any) -> Any:
        try:
            auth = self._get_keystone_auth(context)
            opened = session.Session(auth=auth, verify=self._verify, timeout=self._timeout)
            return barbican_client.Client(
                version=self.conf.barbican.barbican_api_version,
                session=opened,
                endpoint=self._get_barbican_endpoint(auth, opened),
            )
        except exception.CastellanException:
            raise
        except (keystone_exceptions.Unauthorized, keystone_exceptions.Forbidden) as error:
            raise failures.forbidden(str(error)) from error
        except Exception as error:
            raise failures.failed(error) from error

    def _get_active_order(self, barbican_client: Any, order_ref: str) -> Any:
        order = barbican_client.orders.get(order_ref)
        return order if order.status == 'ACTIVE' else super()._get_active_order(barbican_client, order_ref)

    def get(self, context: Any, managed_object_id: str, metadata_only: bool = False) -> managed_object.ManagedObject:
        """An object, or what is known about it."""
        path = f'secrets/{_checked(context, managed_object_id)}'
        http = self._get_barbican_client(context).client
        try:
            return self._object(http, http.get(path), metadata_only)
        except Exception as error:  # noqa: BLE001 - told apart there
            self._fail(context, error, managed_object_id)

    def list(
        self,
        context: Any,
        object_type: type[managed_object.ManagedObject] | None = None,
        metadata_only: bool = False,
    ) -> builtins.list[managed_object.ManagedObject]:
        """All objects that the caller may see."""
        wanted = None
        if object_type is not None:
            wanted = self._secret_type_dict.get(object_type)
            if wanted is None:
                raise failures.failed(f'there is no object type {object_type.__name__}')
        http = self._get_barbican_client(context).client
        found = []
        try:
            for metadata in _secrets(http, wanted):
                try:
                    found.append(self._object(http, metadata, metadata_only))
                except (barbican_exceptions.HTTPClientError, _NoPayloadError) as error:
                    barbican_key_manager.LOG.warning('a secret is left out of the list: %s', error)
        except Exception as error:  # noqa: BLE001 - told apart there
            self._fail(context, error, None)
        return found

    def _object(self, http: Any, metadata: dict[str, Any], metadata_only: bool) -> managed_object.ManagedObject:
        secret = types.SimpleNamespace(
            secret_ref=metadata['secret_ref'],
            secret_type=metadata.get('secret_type'),
            algorithm=metadata.get('algorithm'),
            bit_length=metadata.get('bit_length'),
            name=metadata.get('name'),
            created=metadata.get('created'),
            consumers=metadata.get('consumers') or [],
            payload=None,
        )
        if not metadata_only:
            content_type = (metadata.get('content_types') or {}).get('default')
            if content_type is None:
                raise _NoPayloadError('the secret has no payload')
            path = f'secrets/{_id(self._retrieve_secret_uuid(secret.secret_ref))}/payload'
            payload = http._get_raw(path, headers={'Accept': content_type})
            secret.payload = payload.decode() if content_type == 'text/plain' else payload
        return self._get_castellan_object(secret, metadata_only)

    def create_key(self, context: Any, *arguments: Any, **named: Any) -> str:
        """A new symmetric key; its id."""
        return str(self._told(context, None, super().create_key, *arguments, **named))

    def create_key_pair(self, context: Any, *arguments: Any, **named: Any) -> tuple[str, str]:
        """A new pair; the ids of the private and the public key."""
        private, public = self._told(context, None, super().create_key_pair, *arguments, **named)
        return private, public

    def store(self, context: Any, *arguments: Any, **named: Any) -> str:
        """Keeps an object; its id."""
        return str(self._told(context, None, super().store, *arguments, **named))

    def delete(self, context: Any, managed_object_id: str, force: bool = False) -> None:
        """Deletes an object; with ``force`` also one that has consumers."""
        self._told(context, managed_object_id, super().delete, _checked(context, managed_object_id), force)

    def add_consumer(self, context: Any, managed_object_id: str, consumer_data: dict[str, str]) -> None:
        """Notes who uses an object."""
        self._told(
            context, managed_object_id, super().add_consumer, _checked(context, managed_object_id), consumer_data
        )

    def remove_consumer(self, context: Any, managed_object_id: str, consumer_data: dict[str, str]) -> None:
        """Takes that back."""
        self._told(
            context, managed_object_id, super().remove_consumer, _checked(context, managed_object_id), consumer_data
        )

    def _told(self, context: Any, object_id: str | None, operation: Any, *arguments: Any, **named: Any) -> Any:
        """Castellan's own operation, with errors that tell a denial from a failure."""
        try:
            return operation(context, *arguments, **named)
        except (failures.AccessForbidden, exception.ManagedObjectNotFoundError):
            raise
        except exception.KeyManagerError as error:
            # What Barbican's client had said; Castellan's driver does not name it as the cause.
            met = error.__cause__ or error.__context__
            if isinstance(met, Exception) and not isinstance(met, exception.CastellanException):
                self._fail(context, met, object_id)
            raise
        except Exception as error:  # noqa: BLE001 - told apart there
            self._fail(context, error, object_id)

    def _fail(self, context: Any, error: Exception, object_id: str | None) -> NoReturn:
        status = getattr(error, 'status_code', None) or getattr(error, 'http_status', None)
        if isinstance(error, exception.CastellanException):
            raise error
        if status == 401 or isinstance(error, barbican_exceptions.HTTPAuthError):
            # The next call logs in anew.
            credentials = _credentials(context)
            with self._lock:
                if credentials is not None:
                    self._logins.pop(credentials, None)
            raise failures.forbidden(str(error)) from error
        if status == 403:
            raise failures.forbidden(str(error)) from error
        if status == 404 and object_id is not None:
            raise failures.not_found(object_id) from error
        raise failures.failed(error) from error


class _NoPayloadError(Exception):
    pass


def _secrets(http: Any, kind: str | None) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    offset = 0
    while True:
        query: dict[str, Any] = {'limit': _PAGE, 'offset': offset}
        if kind is not None:
            query['secret_type'] = kind
        page = http.get('secrets', params=query)['secrets']
        for metadata in page:
            # What is deleted or made meanwhile moves the rest.
            if metadata['secret_ref'] not in seen:
                seen.add(metadata['secret_ref'])
                yield metadata
        offset += len(page)
        if len(page) < _PAGE:
            return
        if offset > _MAX_SECRETS:
            raise failures.failed(f'there are more than {_MAX_SECRETS} secrets')


def _checked(context: Any, object_id: str) -> str:
    _known(context)
    return _id(object_id)


def _known(context: Any) -> None:
    if not context:
        raise failures.forbidden('there is no context: nobody is known who could be authorized')


def _id(object_id: str) -> str:
    if not object_id:
        raise failures.failed('key identifier not provided')
    if _ID.fullmatch(str(object_id)) is None:
        raise failures.not_found(object_id)
    return str(object_id)


def _credentials(context: Any) -> bytes | None:
    """What tells one set of credentials from another, without holding them; nothing where they cannot be told."""
    values = [repr(getattr(context, name, None)) for name in _CREDENTIALS]
    secret = (
        getattr(context, 'token', None) or getattr(context, 'auth_token', None) or getattr(context, 'password', None)
    )
    if not secret:
        return None
    text = '\0'.join([type(context).__qualname__, *values])
    return hashlib.blake2b(text.encode(), key=_SALT).digest()
