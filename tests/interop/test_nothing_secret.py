"""Key strings, tokens and passwords, looked for in all that a server at trace writes (T-SECRET-LOGGED)."""

import base64
import hashlib
import json
import secrets
import ssl
import urllib.parse

import httpx
import pytest
import requests

from support import canary
from support.canary import Canaries
from support.certificates import Authority
from support.native import REQUEST_ID, Keys, encoded, expect, new_id, random_key, refused
from support.standalone import Standalone

#: Everything, the libraries too, which the word `trace` alone leaves quiet.
EVERYTHING = 'trace,h2=trace,hyper=trace,hyper_util=trace,rustls=trace,reqwest=trace,tower=trace'


#: Fixed, so that what is found does not depend on chance; and many, so that all kinds of bytes are there.
PLANTED = [hashlib.sha256(bytes([number])).digest() for number in range(64)]


@pytest.mark.parametrize('key', PLANTED, ids=range(len(PLANTED)))
def test_the_search_finds_what_is_planted(key):
    """Each form, written by other means than those of the search, at any place of a larger text."""
    other = hashlib.sha256(key).digest()
    canaries = Canaries({'key': key})
    assert canaries.found_in(b'nothing here ' + other + other.hex().encode() + base64.b64encode(other)) == []
    text = json.dumps({'k': ''.join(map(chr, key))})
    planted = [key, key.hex().encode(), base64.b16encode(key), repr(list(key)).encode(), repr(key).encode()]
    planted += [urllib.parse.quote_from_bytes(key).encode(), text.encode(), ''.join(map(chr, key)).encode()]
    for before in range(6):
        planted += [base64.b64encode(bytes(before) + key + b'tail'), base64.urlsafe_b64encode(bytes(before) + key)]
    for form in planted:
        assert canaries.found_in(b'before ' + form + b' after'), form
    # A part of it is enough, at either end.
    for part in [key[:20], key[-20:], key[6:26]]:
        assert canaries.found_in(part.hex().encode()), part
        assert canaries.found_in(base64.b64encode(part)), part
    assert len(canary.forms(key[: canary.PIECE_BYTES])) >= 20


def malformed_bodies(key: bytes) -> list[dict | list | str]:
    """Bodies in which a key string stands where it does not belong; each has an error of its own."""
    text = encoded(key)
    good = {'key_string': text, 'algorithm': 'aes', 'bit_length': 256}
    places = ['algorithm', 'bit_length', 'scope', 'generate', 'attributes', 'expires_at', 'activates_at']
    return [
        *[good | {place: value} for place in places for value in (text, key.hex(), [text], {text: text}, {text: 1})],
        good | {text: 1},
        good | {key.hex(): text},
        good | {key.hex()[:40]: text},
        good | {'attributes': {text: 'x'}},
        good | {'attributes': {'a': [key.hex()]}},
        good | {'attributes': {'a' * 65: text}},
        good | {'attributes': {key.hex(): 'x' * 300}},
        good | {'name': {text: 1}},
        good | {'name': [text]},
        good | {'name': text * 10},
        good | {'master_key': [text]},
        good | {'master_key': text * 10},
        good | {'key_string': text + '*'},
        good | {'key_string': [text]},
        good | {'key_string': {text: text}},
        good | {'key_string': list(key)},
        good | {'key_string': key.hex(), 'bit_length': 255},
        good | {'bit_length': 128},
        good | {'generate': True},
        good | {'algorithm': 'des'},
        good | {'algorithm': 'rot13'},
        {'key_string': text, 'colour': text},
        [text],
        text,
    ]


def wrong_requests(url: str, token: str, key: bytes) -> list[requests.Response]:
    """Requests that are refused, with a key string in every place a request has; their answers."""
    text, code = encoded(key), key.hex()
    keys, answers = Keys(url, token), []
    quoted = urllib.parse.quote(text, safe='')
    for body in malformed_bodies(key):
        answers.append(keys.call('PUT', f'/v1/keys/{new_id()}', body))
        answers.append(keys.call('POST', '/v1/keys', body))
        answers.append(keys.call('PATCH', f'/v1/keys/{new_id()}', body, {'If-Match': '"1"'}))
        answers.append(keys.call('POST', f'/v1/keys/{new_id()}/revoke', body))
    for reason in [text, [text], {text: 1}]:
        answers.append(keys.call('POST', f'/v1/keys/{new_id()}/revoke', {'reason': reason}))
    raw = {'X-Auth-Token': token, 'Content-Type': 'application/json'}
    put = f'{url}/v1/keys/{new_id()}'
    whole = json.dumps({'key_string': text, 'algorithm': 'aes'}).encode()
    for content in [key, text.encode(), whole[:-1], whole + whole, whole[:-8], whole.replace(b'"', b"'"), b'{' + key]:
        answers.append(requests.put(put, data=content, headers=raw, timeout=30))
    for kind in ['text/plain', text, f'application/json; k={code}']:
        answers.append(requests.put(put, data=whole[:-1], headers=raw | {'Content-Type': kind}, timeout=30))
    paths = [f'/v1/keys/{quoted}', f'/v1/keys/{code}', f'/v1/{code}', f'/{quoted}/x', f'/v1/keys/%FF{code}']
    for name in ['scope', 'state', 'master_key=a&marker', 'limit', 'deleted', 'colour', 'limit=5&limit']:
        paths += [f'/v1/keys?{name}={quoted}', f'/v1/keys?{name}=%FF{code}']
    paths += [f'/v1/keys?{quoted}=1', f'/v1/keys?{code}', f'/v1/keys?{code}=1&{code}=1']
    paths += [f'/v1/keys/{new_id()}?{code}=1', f'/v1/keys/{new_id()}?allow_inactive={quoted}']
    # As paths and as methods; neither has a body, so that each error is that of the place.
    for path in paths:
        answers.append(requests.get(url + path, headers=raw, timeout=30))
    answers.append(requests.request(code, f'{url}/v1/keys', headers=raw, timeout=30))
    for name in ['If-Match', 'X-Service-Token', 'X-Auth-Token', 'X-Forwarded-For', 'Host', 'Accept']:
        answers.append(requests.patch(put, data=b'{}', headers=raw | {name: text}, timeout=30))
        answers.append(requests.patch(put, data=b'{}', headers=raw | {name: code}, timeout=30))
    return answers


def look(canaries: Canaries, files, answers: list[requests.Response]) -> None:
    found = canaries.found_in_files(files)
    for answer in answers:
        content = answer.content + repr(dict(answer.headers)).encode()
        asked = f'{answer.request.method} {answer.request.url}: {answer.text[:60]}'
        found += [f'answer {answer.status_code} to {asked}: {what}' for what in canaries.found_in(content)]
    assert not found, '\n'.join(found)


@pytest.mark.parametrize('log_format', ['text', 'json'])
def test_nothing_secret_is_written_down(keystone, own_chatelaine, log_format, tmp_path):
    """With a real Keystone: neither key strings nor tokens nor passwords, in the log, audit trail, store or answers."""
    log = {'level': EVERYTHING, 'requests': True, 'format': log_format}
    chatelaine = own_chatelaine({'log': log})
    token, stranger = keystone.token('cinder', 'service'), keystone.token('swift', 'service')
    bad, service = 'gAAAAA-' + secrets.token_urlsafe(40), secrets.token_urlsafe(40)
    keys = {name: random_key() for name in ['put', 'updated', 'refused', 'command']}
    key_id = new_id()
    cinder = Keys(chatelaine.url, token)
    expect(cinder.put(key_id, keys['put']), 201)
    request_id = cinder.get(key_id).headers[REQUEST_ID]
    made = expect(cinder.create(generate=True, algorithm='aes', bit_length=256), 201)['id']
    keys['generated'] = base64.b64decode(expect(cinder.get(made), 200)['key_string'])
    answers = [cinder.update(key_id, '"1"', key_string=encoded(keys['updated']))]
    expect(answers[0], 200)
    refused(cinder.put(key_id, keys['refused']), 409)
    refused(cinder.update(key_id, '"1"', key_string=encoded(keys['refused'])), 412)
    for other, status in [(stranger, 404), (bad, 401), (keys['refused'].hex(), 401)]:
        answers.append(Keys(chatelaine.url, other).get(key_id))
        refused(answers[-1], status)
    headers = {'X-Service-Token': service}
    refused(cinder.call('GET', f'/v1/keys/{key_id}', headers=headers), 401)
    answers += wrong_requests(chatelaine.url, token.value, keys['refused'])
    assert {answer.status_code // 100 for answer in answers[1:]} == {4}
    environment = keystone.environment(keystone.users['cinder'], 'service')
    command = ['-vv', 'key', 'put', new_id(), '--key-string-file', '-', '--algorithm', 'aes']
    told = [chatelaine.cli(*command, environment=environment, stdin=keys['command'])]
    told.append(chatelaine.cli(*command, environment=environment, stdin=keys['refused'][:31], expected=7))
    said = b''.join(done.stdout + done.stderr for done in told)
    expect(cinder.delete(key_id), 204)
    chatelaine.cli('--config', str(chatelaine.configuration), 'reap')
    answers.append(requests.get(f'{chatelaine.url}/metrics', timeout=30))
    backup = tmp_path / 'backup.db'
    chatelaine.cli('--config', str(chatelaine.configuration), 'store', 'backup', str(backup))
    assert backup.stat().st_size > 0

    tokens = {'token': token.value, 'stranger': stranger.value, 'bad token': bad, 'service token': service}
    passwords = {name: keystone.users[name].password for name in ['chatelaine', 'cinder']}
    texts = {name: text.encode() for name, text in (tokens | passwords).items()}
    canaries = Canaries(keys | texts)
    files = [*chatelaine.files(), backup]
    text = chatelaine.server.log_text()
    for library in ['hyper_util', 'reqwest', 'chatelaine_server']:
        assert library in text, f'{library} has said nothing: is this the level meant?'
    assert any(request_id.encode() in path.read_bytes() for path in files), 'the search itself must find things'
    assert {'chatelaine.db', 'chatelaine.db-wal', 'chatelaine.log', 'backup.db'} <= {path.name for path in files}
    assert any(path.suffix == '.jsonl' for path in files)
    assert canaries.found_in(said) == []
    look(canaries, files, answers)


def wrong_payloads(member: Keys, secret: bytes) -> list[requests.Response]:
    """Requests of Barbican's interface that are refused, with a payload where payloads and passphrases stand."""
    text, binary = secret.hex(), encoded(secret)
    octets = {'payload_content_type': 'application/octet-stream', 'payload_content_encoding': 'base64'}
    plain = {'payload_content_type': 'text/plain'}
    pair = {'algorithm': 'rsa', 'bit_length': 2048}
    bodies = [
        {'payload': text},
        {'payload': [text]} | plain,
        {'payload': {text: text}} | plain,
        {'payload': text * 2000} | plain,
        {'payload': binary[:-1]} | octets,
        {'payload': binary, 'payload_content_type': 'application/octet-stream'},
        {'payload': text, 'payload_content_type': 'text/html'},
        {'payload': text, 'bit_length': 'many'} | plain,
        {'payload': text, 'expiration': '1999-01-01'} | plain,
        {'payload': text, 'transport_key_id': 'none'} | plain,
    ]
    answers = [member.call('POST', '/v1/secrets', body) for body in bodies]
    for meta in [
        pair | {'passphrase': [text]},
        pair | {'passphrase': text * 40},
        pair | {'passphrase': text, 'bit_length': 2047},
        pair | {'passphrase': text, 'payload': text},
    ]:
        answers.append(member.call('POST', '/v1/orders', {'type': 'asymmetric', 'meta': meta}))
    reference = expect(member.call('POST', '/v1/secrets', {}), 201)['secret_ref']
    for method, part, body in [
        ('POST', 'metadata', {'key': 'a', 'value': 'b', text: 1}),
        ('POST', 'metadata', {'key': binary, 'value': 'b'}),
        ('PUT', 'metadata', {'metadata': {binary: 'v'}}),
        ('PUT', 'metadata', {'metadata': {text: 1}}),
        ('PUT', 'metadata', {'metadata': {text: 'v' * 256}}),
        ('PUT', 'acl', {text: 1}),
        ('PATCH', 'acl', {'read': {text: 1}}),
    ]:
        answers.append(member.call(method, f'{reference}/{part}', body))
    return answers


@pytest.mark.parametrize('log_format', ['text', 'json'])
def test_nothing_secret_of_barbican_is_written_down(keystone, own_chatelaine, log_format):
    """Payloads and passphrases that come by Barbican's interface (T-PAYLOAD-SEEN, T-ORDER-PASSPHRASE)."""
    chatelaine = own_chatelaine({'log': {'level': EVERYTHING, 'requests': True, 'format': log_format}})
    token = keystone.token('demo', 'demo')
    member = Keys(chatelaine.url, token)
    planted = {name: random_key() for name in ['text', 'binary', 'later', 'late', 'passphrase', 'refused']}
    payloads = {name: key.hex() for name, key in planted.items()}
    text_type, octets = {'Content-Type': 'text/plain'}, {'Content-Type': 'application/octet-stream'}
    raw = {'X-Auth-Token': token.value}

    def made(path: str, body: dict, status: int = 201) -> dict:
        answer = member.call('POST', path, body)
        answers.append(answer)
        return expect(answer, status)

    answers: list[requests.Response] = []
    texts = made('/v1/secrets', {'payload': payloads['text'], 'payload_content_type': 'text/plain'})['secret_ref']
    kept = encoded(planted['binary'])
    binary = {'payload': kept, 'payload_content_type': 'application/octet-stream', 'payload_content_encoding': 'base64'}
    made('/v1/secrets', binary)
    for name, headers in [('later', text_type), ('late', octets)]:
        reference = made('/v1/secrets', {'name': name})['secret_ref']
        data = payloads[name].encode() if headers is text_type else planted[name]
        for status in [204, 409]:
            answers.append(requests.put(reference, data=data, headers=raw | headers, timeout=30))
            assert answers[-1].status_code == status
    meta = {'algorithm': 'ec', 'bit_length': 256, 'passphrase': payloads['passphrase']}
    order = made('/v1/orders', {'type': 'asymmetric', 'meta': meta}, 202)['order_ref']
    answers.append(member.call('GET', order))
    assert expect(answers[-1], 200)['status'] == 'ACTIVE'
    wrong = wrong_payloads(member, planted['refused'])
    assert [answer.status_code // 100 for answer in wrong] == [4] * len(wrong)
    released = requests.get(f'{texts}/payload', headers=raw | {'Accept': 'text/plain'}, timeout=30)
    assert released.text == payloads['text']
    answers += [requests.get(texts, headers=raw, timeout=30), member.call('GET', '/v1/secrets')]
    answers.append(requests.delete(texts, headers=raw, timeout=30))
    # As they were sent, too: words of hexadecimal digits.
    words = {f'{name} as text': text.encode() for name, text in payloads.items()}
    canaries = Canaries(planted | words | {'token': token.value.encode()})
    look(canaries, chatelaine.files(), answers + wrong)
    log = chatelaine.server.log_text()
    assert released.headers[REQUEST_ID] in log and 'hyper_util' in log
    assert canaries.found_in(released.content)


@pytest.mark.parametrize('log_format', ['text', 'json'])
def test_nothing_secret_of_http2_and_tls_is_written_down(tmp_path, log_format):
    """The libraries of TLS and HTTP/2 log much more than the server does."""
    authority = Authority(tmp_path)
    folder = tmp_path / 'house'
    folder.mkdir()
    settings = [f'log.level={EVERYTHING}', f'log.format={log_format}']
    certificate = authority.issue('server')
    house = Standalone(folder, *settings, certificate=certificate).trusting(authority).start()
    token, bad = house.token(), secrets.token_hex(32)
    first, second = random_key(), random_key()
    try:
        context = ssl.create_default_context(cafile=authority.file)
        with httpx.Client(http2=True, verify=context, base_url=house.url, timeout=30, trust_env=False) as client:
            key_id, headers = new_id(), {'X-Auth-Token': token}
            path = f'/v1/keys/{key_id}'
            body = {'key_string': encoded(first), 'algorithm': 'aes', 'bit_length': 256}
            answer = client.put(path, json=body, headers=headers)
            assert (answer.status_code, answer.http_version) == (201, 'HTTP/2')
            released = client.get(path, headers=headers)
            assert base64.b64decode(released.json()['key_string']) == first
            answers = [client.put(path, json=body | {'key_string': encoded(second)}, headers=headers)]
            answers += [client.put(path, json=wrong, headers=headers) for wrong in malformed_bodies(second)[-12:]]
            answers.append(client.get(f'/v1/{second.hex()}', headers=headers))
            answers.append(client.get(path, headers={'X-Auth-Token': bad}))
            assert {answer.http_version for answer in answers} == {'HTTP/2'}
            assert {answer.status_code // 100 for answer in answers} == {4}
        private = ''.join(certificate.key_pem.decode().splitlines()[1:-1])
        canaries = Canaries(
            {
                'put': first,
                'refused': second,
                'token': token.removeprefix('chatelaine_').encode(),
                'bad token': bad.encode(),
                'private key of TLS': base64.b64decode(private)[36:68],
            }
        )
        files = [path for path in house.data.rglob('*') if path.is_file() and path.name != 'clouds.yaml']
        assert 'token' in canaries.found_in((house.data / 'clouds.yaml').read_bytes())[-1]
        text = house.server.log_text()
        for library in ['rustls', 'h2::', 'chatelaine_server']:
            assert library in text, f'{library} has said nothing: is this the level meant?'
        look(canaries, [*files, house.server.log_path], answers)
    finally:
        assert house.server.stop() == 0
