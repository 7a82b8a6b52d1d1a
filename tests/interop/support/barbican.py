"""A real Barbican: its software crypto backend, Keystone's middleware in front, uwsgi; SQLite or another database.

It is what the tests hold the server's answers against, and the benchmarks its speed. One process unless more are
wanted, so that requests meet a SQLite that nobody else locks; work that Barbican can hand to a queue is done inside the
request, as its defaults have it. Keystone's middleware remembers tokens for five minutes, in each process.
"""

import base64
import os
import pathlib
import secrets
import subprocess
import sys
from collections.abc import Sequence

from .keystone import BIN, REGION, Keystone
from .servers import Server, free_port

START_SECONDS = 60
SET_UP_SECONDS = 120

CONFIGURATION = """\
[DEFAULT]
# Links are made from the request.
host_href =
db_auto_create = true
log_dir =
[database]
connection = {connection}
sqlite_synchronous = false
[keystone_authtoken]
www_authenticate_uri = {auth_url}
auth_url = {auth_url}
auth_type = password
username = {username}
password = {password}
project_name = service
user_domain_name = Default
project_domain_name = Default
region_name = {region}
service_type = key-manager
service_token_roles = service
service_token_roles_required = true
[oslo_policy]
enforce_new_defaults = {new_defaults}
enforce_scope = {new_defaults}
[secretstore]
namespace = barbican.secretstore.plugin
enabled_secretstore_plugins = store_crypto
enable_multiple_secret_stores = false
[crypto]
namespace = barbican.crypto.plugin
enabled_crypto_plugins = simple_crypto
[simple_crypto_plugin]
{keks}
"""

#: The pipelines Barbican ships, less what needs files of the system.
PIPELINES = """\
[composite:main]
use = egg:Paste#urlmap
/: versions
/healthcheck: healthcheck
/v1: keys

[pipeline:versions]
pipeline = cors request_id http_proxy_to_wsgi microversion versions_app

[pipeline:keys]
pipeline = cors request_id http_proxy_to_wsgi authtoken context microversion keys_app

[app:versions_app]
paste.app_factory = barbican.api.app:create_version_app

[app:keys_app]
paste.app_factory = barbican.api.app:create_main_app

[app:healthcheck]
paste.app_factory = oslo_middleware:Healthcheck.app_factory
backends = disable_by_file
disable_by_file_path = {state}/healthcheck_disable

[filter:context]
paste.filter_factory = barbican.api.middleware.context:ContextMiddleware.factory

[filter:microversion]
paste.filter_factory = barbican.api.middleware.microversion:MicroversionMiddleware.factory

[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
oslo_config_project = barbican

[filter:cors]
paste.filter_factory = oslo_middleware.cors:filter_factory
oslo_config_project = barbican

[filter:request_id]
paste.filter_factory = oslo_middleware.request_id:RequestId.factory

[filter:http_proxy_to_wsgi]
paste.filter_factory = oslo_middleware:HTTPProxyToWSGI.factory
"""


def new_kek() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


class Barbican:
    """A server in a state folder of its own, which trusts a Keystone.

    `new_defaults` chooses between Barbican's two rule sets: the secure one, and the legacy one that it starts with.
    `connection` names another database than one of its own, `keks` its key-encryption keys, the active one first.
    """

    def __init__(
        self,
        state: pathlib.Path,
        keystone: Keystone,
        new_defaults: bool = True,
        connection: str | None = None,
        keks: Sequence[str] = (),
        processes: int = 1,
    ):
        self.keystone = keystone
        port = free_port()
        self.url = f'http://127.0.0.1:{port}'
        # The first place where its configuration library looks.
        folder = state / '.barbican'
        folder.mkdir()
        user = keystone.users['barbican']
        configuration = folder / 'barbican.conf'
        configuration.touch(mode=0o600)
        configuration.write_text(
            CONFIGURATION.format(
                state=state,
                auth_url=keystone.url,
                username=user.name,
                password=user.password,
                region=REGION,
                new_defaults=str(new_defaults).lower(),
                connection=connection or f'sqlite:///{state}/barbican.db',
                keks='\n'.join(f'kek = {kek}' for kek in keks or [new_kek()]),
            )
        )
        pipelines = folder / 'barbican-api-paste.ini'
        pipelines.write_text(PIPELINES.format(state=state))
        command = [
            BIN / 'uwsgi',
            *('--http-socket', f'127.0.0.1:{port}', '--paste', f'config:{pipelines}', '--virtualenv', sys.prefix),
            *('--master', '--processes', processes, '--lazy-apps', '--need-app', '--die-on-term', '--no-orphans'),
            # A kept connection would hold a worker.
            *('--buffer-size', 65535, '--add-header', 'Connection: close'),
            # Where it fails without an answer, an answer of 500, as other WSGI servers give it.
            '--catch-exceptions',
            *('--disable-logging', '--log-4xx', '--log-5xx'),
        ]
        if processes > 1:
            # Each of them would make the tables.
            self._make_tables(state)
        name = 'barbican' if new_defaults else 'barbican-legacy'
        self.server = Server(name, state, command, {'HOME': str(state)})
        self.server.start(f'{self.url}/healthcheck', {200}, START_SECONDS)

    def stop(self) -> None:
        self.server.stop()

    @staticmethod
    def _make_tables(state: pathlib.Path) -> None:
        done = subprocess.run(
            [BIN / 'barbican-manage', 'db', 'upgrade'],
            env={'PATH': os.environ['PATH'], 'LANG': 'C.UTF-8', 'HOME': str(state)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SET_UP_SECONDS,
        )
        assert done.returncode == 0, f'barbican-manage db upgrade:\n{done.stdout}\n{done.stderr}'
