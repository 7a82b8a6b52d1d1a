"""The key manager that Keystone's catalogue names, as clients find it."""

import dataclasses
import datetime

import keystoneauth1.identity
import keystoneauth1.session
import requests
from barbicanclient import client

from .keystone import Keystone

USER = 'key_owner'
#: Members of a consumer, as all clients name them.
CONSUMER = {'service': 'volume', 'resource_type': 'volume', 'resource_id': 'volume-1'}
BINARY = bytes(range(256))
FUTURE = '2051-02-03T04:05:06'


@dataclasses.dataclass(frozen=True)
class KeyManager:
    """The server the catalogue names, and a project of one test there."""

    name: str
    url: str
    keystone: Keystone
    project: str

    def session(self, user: str = USER, project: str | None = None) -> keystoneauth1.session.Session:
        who = self.keystone.users[user]
        auth = keystoneauth1.identity.Password(
            auth_url=self.keystone.url,
            user_id=who.id,
            password=who.password,
            project_id=self.keystone.projects[project or self.project],
        )
        return keystoneauth1.session.Session(auth=auth, session=requests.Session())

    def barbican(self, user: str = USER, project: str | None = None, **more):
        return client.Client(session=self.session(user, project), **more)


def is_recent(time: datetime.datetime) -> bool:
    return abs(datetime.datetime.now(datetime.UTC) - time) < datetime.timedelta(hours=1)
