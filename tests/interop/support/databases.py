"""The databases a Barbican or a key manager may have: SQLite, MariaDB, PostgreSQL. Each in a folder of its own, on
loopback alone."""

import os
import pathlib
import pwd
import secrets
import shutil
import subprocess
import tempfile

import sqlalchemy

from .servers import Server, free_port

NAME = 'barbican'
SET_UP_SECONDS = 120
START_SECONDS = 60


class DatabaseServer(Server):
    """A server that is there once it takes a connection."""

    def __init__(self, name: str, state: pathlib.Path, command, address: str):
        super().__init__(name, state, command, {})
        self._engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.pool.NullPool)

    def _answers(self, url, statuses) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f'{self.name} ended with {self.process.returncode} instead of serving')
        try:
            with self._engine.connect():
                return True
        except sqlalchemy.exc.OperationalError:
            return False


class Sqlite:
    """A file; there is nothing to run."""

    def __init__(self, state: pathlib.Path):
        path = state / 'barbican.db'
        #: As Barbican is told.
        self.connection = f'sqlite:///{path}'
        #: As the import is told.
        self.address = f'sqlite://{path}'
        self.password = None

    def stop(self) -> None:
        pass


class Served:
    """A database with a server of its own."""

    _server: DatabaseServer
    _root: str
    #: Statements that make the database empty again.
    _empty: tuple[str, ...]

    def kill(self) -> None:
        """Ends the server without any warning."""
        self._server.kill()

    def start(self) -> None:
        self._server.start('', (), START_SECONDS)

    def empty(self) -> None:
        execute(self._root, *self._empty)


class MariaDb(Served):
    """`durable`: as it is when nobody chooses, flushed to disk at each commit; tests need no such care."""

    def __init__(self, state: pathlib.Path, durable: bool = False):
        port = free_port()
        self.password = secrets.token_urlsafe(18)
        data = state / 'mariadb'
        user = pwd.getpwuid(os.geteuid()).pw_name
        run(
            *('mariadb-install-db', '--no-defaults', f'--user={user}', f'--datadir={data}'),
            *('--auth-root-authentication-method=normal', '--skip-test-db'),
        )
        # The path of a socket may not be long.
        self._folder = tempfile.mkdtemp(prefix='db-')
        command = [
            *('mariadbd', '--no-defaults', f'--user={user}', f'--datadir={data}', '--bind-address=127.0.0.1'),
            *(f'--port={port}', f'--socket={self._folder}/s', f'--pid-file={data}/pid'),
            *('--character-set-server=utf8mb4', f'--innodb-flush-log-at-trx-commit={1 if durable else 0}'),
        ]
        place = f'127.0.0.1:{port}'
        root = f'mysql+pymysql://root@{place}/mysql'
        self._server = DatabaseServer('mariadb', state, command, root)
        self._server.start('', (), START_SECONDS)
        execute(
            root,
            f'CREATE DATABASE {NAME}',
            f"CREATE USER '{NAME}'@'%' IDENTIFIED BY '{self.password}'",
            f"GRANT ALL ON {NAME}.* TO '{NAME}'@'%'",
        )
        self._root, self._empty = root, (f'DROP DATABASE {NAME}', f'CREATE DATABASE {NAME}')
        self.connection = f'mysql+pymysql://{NAME}:{self.password}@{place}/{NAME}?charset=utf8'
        self.address = f'mysql://{NAME}@{place}/{NAME}'

    def stop(self) -> None:
        self._server.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class Postgres(Served):
    def __init__(self, state: pathlib.Path):
        port = free_port()
        self.password = secrets.token_urlsafe(18)
        programs = sorted(pathlib.Path('/usr/lib/postgresql').glob('*/bin'), key=lambda path: int(path.parent.name))[-1]
        # It does not run as root, and its user may not enter the tests' folders.
        folder = pathlib.Path(tempfile.mkdtemp(prefix='db-'))
        as_user = []
        if os.geteuid() == 0:
            shutil.chown(folder, 'postgres', 'postgres')
            as_user = ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups', '--pdeathsig', 'KILL', '--']
        self._folder = folder
        run(*as_user, programs / 'initdb', '-D', folder / 'data', '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '-N')
        hosts = folder / 'data/pg_hba.conf'
        hosts.write_text('host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n')
        command = [
            *(*as_user, programs / 'postgres', '-D', folder / 'data', '-p', port, '-h', '127.0.0.1'),
            *('-k', folder, '-c', 'fsync=off'),
        ]
        place = f'127.0.0.1:{port}'
        root = f'postgresql+psycopg2://postgres@{place}/postgres'
        self._server = DatabaseServer('postgresql', state, command, root)
        self._server.start('', (), START_SECONDS)
        execute(root, f"CREATE USER {NAME} PASSWORD '{self.password}'", f'CREATE DATABASE {NAME} OWNER {NAME}')
        # Barbican's software backend writes bytes into columns of text, which PostgreSQL refuses unless it is told how.
        execute(
            root.removesuffix('postgres') + NAME,
            "CREATE FUNCTION text_of(bytea) RETURNS text LANGUAGE sql AS $$ SELECT convert_from($1, 'UTF8') $$",
            'CREATE CAST (bytea AS text) WITH FUNCTION text_of(bytea) AS ASSIGNMENT',
        )
        self._root = root
        self._empty = (f'DROP DATABASE {NAME} WITH (FORCE)', f'CREATE DATABASE {NAME} OWNER {NAME}')
        self.connection = f'postgresql+psycopg2://{NAME}:{self.password}@{place}/{NAME}'
        self.address = f'postgresql://{NAME}@{place}/{NAME}'

    def stop(self) -> None:
        self._server.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def run(*command) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, timeout=SET_UP_SECONDS)
    assert done.returncode == 0, f'{command}: {done.stdout.decode()}\n{done.stderr.decode()}'


def execute(address: str, *statements: str) -> None:
    """Runs statements one by one, each for good."""
    engine = sqlalchemy.create_engine(address, isolation_level='AUTOCOMMIT', poolclass=sqlalchemy.pool.NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(sqlalchemy.text(statement))
    engine.dispose()
