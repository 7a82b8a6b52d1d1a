"""The same requests to a real Barbican and to Chatelaine; `judgement` says what differs between the answers.

A case is a chain of steps, which are data: a request, the status Barbican answers it with, and, where Chatelaine is
better on purpose, what it answers instead and why. What a server makes up itself (ids, references, times, the texts of
errors) is replaced by placeholders before answers are compared; everything else must be equal: the status, every key
and value of a JSON body, the bytes of any other, and the headers that clients read.

In paths, headers and bodies `<name>` stands for the reference a server gave under that name, `<name#id>` for its id,
`<base>` for the server's address, `<soon>` for a time that is near when the case starts, `<user:name>` and
`<project:name>` for Keystone's ids (the project `own` is the case's own).
"""

import dataclasses
import datetime
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import requests

from .identity import DOMAIN_SCOPE, SYSTEM, UNSCOPED, Token, project_scope
from .keystone import Keystone

TIMEOUT_SECONDS = 60
PATIENCE_SECONDS = 10
SOON_SECONDS = 2
REQUEST_ID = re.compile(r'req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')
UUID = re.compile(r'[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}')
#: Times carry no zone, and no fraction when that is zero: some clients read nothing else.
TIME = re.compile(r'\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{6})?')
#: What lies farther from now was given by the case and must come back as it was given.
NEAR = datetime.timedelta(hours=1)
#: Texts for people; that there is one is compared, what it says is not.
TEXTS = {'description', 'error_reason', 'message'}
#: References a server answers with.
REFERENCES = ['secret_ref', 'container_ref', 'order_ref', 'transport_key_ref', 'acl_ref', 'metadata_ref']
#: Headers compared beside those with rules of their own.
HEADERS = ['openstack-api-version', 'www-authenticate']
ANONYMOUS = 'anonymous'
#: Instead of the pages for people that Barbican's libraries answer some errors with, which no client reads.
PAGE = '<page>'
PLACEHOLDER = re.compile(r'<([a-z0-9_]+)(?:#(id)|:([a-z0-9_]+))?>')


@dataclasses.dataclass(frozen=True)
class Expected:
    """What Chatelaine answers where it differs on purpose."""

    status: int
    #: The reason, with the place that documents it.
    because: str
    #: Members that must be in the JSON body, or the bytes of another one.
    body: Mapping[str, Any] | bytes | None = None
    #: Headers it must have; None for those it must not have.
    headers: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    #: A last word on the answer, for what members and headers cannot say.
    check: Callable[[requests.Response], bool] | None = None


@dataclasses.dataclass(frozen=True)
class Step:
    """One request and the status Barbican answers it with."""

    method: str
    path: str
    status: int
    #: JSON, or what is sent as it is: bytes or a text.
    body: Any = None
    #: None leaves a header out that the client would send.
    headers: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    caller: str = 'demo'
    #: The name under which later steps find the reference of this answer.
    save: str | None = None
    #: Words the description of the error must hold, for those that clients look at.
    says: str | None = None
    #: What is compared of bytes that are others each time.
    view: Callable[[bytes], Any] | None = None
    #: The list whose order Barbican leaves to its database: compared sorted by name.
    unordered: str | None = None
    #: Asked again for some seconds, until the status is this: for what happens by itself.
    patient: bool = False
    ours: Expected | None = None


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    steps: Sequence[Step]
    #: Runs in a project nobody else has used, for what counts and lists.
    alone: bool = False


@dataclasses.dataclass
class Reply:
    """An answer with everything replaced that a server makes up itself."""

    status: int
    headers: dict[str, str | None]
    body: Any
    response: requests.Response = dataclasses.field(repr=False, compare=False)


class Callers:
    """The people of the cases and their tokens: everybody acts in the case's project, strangers elsewhere."""

    #: Who they are, and where they act.
    STRANGERS: Mapping[str, tuple[str, str | dict]] = {
        **{name: (name, 'alt_demo') for name in ['alt_member', 'alt_admin', 'alt_creator', 'alt_listed']},
        'system_admin': ('key_admin', SYSTEM),
        'system_reader': ('auditor', SYSTEM),
        'domain_member': ('demo', DOMAIN_SCOPE),
        'unscoped': ('demo', UNSCOPED),
    }

    def __init__(self, keystone: Keystone):
        self.keystone = keystone
        self._tokens: dict[tuple[str, str | None], Token] = {}

    def token(self, caller: str, project: str) -> Token | None:
        """None for those who have none."""
        if caller == ANONYMOUS:
            return None
        stranger = caller in self.STRANGERS
        key = (caller, None if stranger else project)
        if key not in self._tokens:
            user, place = self.STRANGERS.get(caller, (caller, project))
            in_project = isinstance(place, str) and place != UNSCOPED
            scope = project_scope(self.keystone.projects[place]) if in_project else place
            self._tokens[key] = self.keystone.identity.token(self.keystone.users[user], scope)
        return self._tokens[key]


class Side:
    """One of the two servers as one case sees it."""

    def __init__(self, name: str, url: str, callers: Callers, project: str):
        self.name = name
        self.url = url
        self._authority = url.split('/')[2]
        self._callers = callers
        self._project = project
        self._names: dict[str, str] = {}
        self._placeholders: dict[str, str] = {}
        self._session = requests.Session()
        soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=SOON_SECONDS)
        self._soon = soon.strftime('%Y-%m-%dT%H:%M:%S.%f')

    # Requests

    def send(self, step: Step, status: int) -> Reply:
        """Sends the request and reads the answer; `status` is what a patient step waits for."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            response = self._request(step)
            if response.status_code == status or not step.patient or time.monotonic() > deadline:
                break
            time.sleep(PATIENCE_SECONDS / 50)
        if step.save is not None:
            self._save(step.save, response)
        return self._reply(step, response)

    def _request(self, step: Step) -> requests.Response:
        headers: dict[str, str | None] = {'Content-Type': 'application/json'} if json_body(step.body) else {}
        token = self._callers.token(step.caller, self._project)
        headers['X-Auth-Token'] = token.value if token else None
        headers |= step.headers
        path = self._filled(step.path)
        url = path if path.startswith('http') else self.url + path
        body = self._filled(step.body)
        if json_body(step.body):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        return self._session.request(
            step.method,
            url,
            data=body,
            headers={name: self._filled(value) for name, value in headers.items()},
            timeout=TIMEOUT_SECONDS,
            allow_redirects=False,
        )

    def _filled(self, value: Any) -> Any:
        if isinstance(value, str):
            return PLACEHOLDER.sub(self._fill, value)
        if isinstance(value, dict):
            return {self._filled(key): self._filled(member) for key, member in value.items()}
        if isinstance(value, list):
            return [self._filled(member) for member in value]
        return value

    def _fill(self, match: re.Match) -> str:
        name, part, detail = match.groups()
        keystone = self._callers.keystone
        if name == 'base':
            return self.url
        if name == 'soon':
            return self._soon
        if name == 'user':
            return keystone.users[detail].id
        if name == 'project':
            return keystone.projects[self._project if detail == 'own' else detail]
        assert name in self._names, f'{self.name} has given no reference for {name} yet'
        reference = self._names[name]
        return reference.rsplit('/', 1)[-1] if part == 'id' else reference

    def _save(self, name: str, response: requests.Response) -> None:
        try:
            document = response.json()
        except requests.JSONDecodeError:
            return
        if not isinstance(document, dict):
            return
        found = [(name, document[key]) for key in REFERENCES if isinstance(document.get(key), str)][:1]
        # What a container holds is known by its name and theirs.
        found += [(f'{name}_{held["name"]}', held['secret_ref']) for held in document.get('secret_refs', [])]
        for known, reference in found:
            self._names[known] = reference
            self._placeholders.setdefault(reference.rsplit('/', 1)[-1], f'<{known}#id>')

    def has(self, name: str) -> bool:
        """Whether the server has given a reference under this name."""
        return name in self._names

    # Answers

    def _reply(self, step: Step, response: requests.Response) -> Reply:
        body = self._body(step, response)
        headers = {name: self._plain(response.headers.get(name)) for name in HEADERS}
        headers['vary'] = listed(response.headers.get('vary'))
        headers['location'] = self._plain(response.headers.get('location'))
        request_id = response.headers.get('x-openstack-request-id', '')
        headers['request id'] = 'good' if REQUEST_ID.fullmatch(request_id) else 'bad'
        if body != PAGE and response.content:
            headers['content-type'] = response.headers.get('content-type', '').lower()
        if response.status_code == 405:
            headers['allow'] = listed(response.headers.get('allow'))
        return Reply(response.status_code, headers, body, response)

    def _body(self, step: Step, response: requests.Response) -> Any:
        if step.method == 'HEAD' or not response.content:
            return b''
        kind = response.headers.get('content-type', '').split(';')[0]
        if kind == 'application/json':
            document = response.json()
            if step.unordered is not None:
                document[step.unordered].sort(key=lambda member: json.dumps(member.get('name')))
            return self._plain(document)
        if step.view is not None and response.status_code < 300:
            return step.view(response.content)
        return response.content if response.status_code < 300 else PAGE

    def _plain(self, value: Any, key: str | None = None) -> Any:
        """A value as any server would have said it."""
        if isinstance(value, dict):
            return {member: self._plain(inner, member) for member, inner in value.items()}
        if isinstance(value, list):
            plain = [self._plain(inner) for inner in value]
            # A set, as far as anybody is told.
            return sorted(plain, key=str) if key == 'users' else plain
        if not isinstance(value, str):
            return value
        if key in TEXTS:
            return '<text>' if value else ''
        if TIME.fullmatch(value) and is_near(value):
            return '<time>'
        return UUID.sub(self._placeholder, value.replace(self.url, '<base>').replace(self._authority, '<authority>'))

    def _placeholder(self, match: re.Match) -> str:
        """The same number for the same thing on both servers: the place where it was first met in the case."""
        return self._placeholders.setdefault(match.group(), f'<id {len(self._placeholders)}>')


def json_body(body: Any) -> bool:
    return body is not None and not isinstance(body, bytes | str)


def listed(header: str | None) -> list[str] | None:
    return None if header is None else sorted(part.strip().lower() for part in header.split(','))


def is_near(time: str) -> bool:
    moment = datetime.datetime.fromisoformat(time).replace(tzinfo=datetime.UTC)
    return abs(datetime.datetime.now(datetime.UTC) - moment) < NEAR
