"""What an operator fears: sudden death, full and read-only disks, damaged and tampered stores."""

import base64
import os
import pathlib
import random
import sqlite3
import subprocess
import threading
import time

import pytest
import requests

from support.native import encoded, new_id, random_key
from support.standalone import Standalone

ROUNDS = 20
WRITERS = 8


@pytest.fixture
def house(tmp_path):
    server = Standalone(tmp_path / 'house')
    (tmp_path / 'house').mkdir()
    yield server
    server.server.stop()


def stored(keys, key_id: str) -> bytes:
    answer = keys.call('GET', f'/v1/keys/{key_id}')
    assert answer.status_code == 200, answer.text
    return base64.b64decode(answer.json()['key_string'])


def put(keys, key_id: str, key: bytes, **more) -> requests.Response:
    return keys.call('PUT', f'/v1/keys/{key_id}', {'key_string': encoded(key), **more})


def test_acknowledged_keys_survive_sudden_death(house):
    """`kill -9` among eight writers, twenty times: what was acknowledged is there, nothing is torn."""
    acknowledged: dict[str, bytes] = {}
    begun: dict[str, bytes] = {}
    pause = random.Random(7)

    def write(stop: threading.Event) -> None:
        keys = house.keys()
        while not stop.is_set():
            key_id, key = new_id(), random_key()
            begun[key_id] = key
            try:
                if put(keys, key_id, key).status_code == 201:
                    acknowledged[key_id] = key
            except requests.RequestException:
                return

    for _ in range(ROUNDS):
        house.start()
        stop = threading.Event()
        writers = [threading.Thread(target=write, args=(stop,)) for _ in range(WRITERS)]
        before = len(acknowledged)
        for writer in writers:
            writer.start()
        time.sleep(pause.uniform(0.1, 0.4))
        while len(acknowledged) == before:
            time.sleep(0.01)
        house.server.kill()
        stop.set()
        for writer in writers:
            writer.join()
    house.start()
    keys = house.keys()
    assert len(acknowledged) >= ROUNDS
    for key_id, key in acknowledged.items():
        assert stored(keys, key_id) == key
    # One that was not acknowledged is there whole or not at all.
    for key_id in begun.keys() - acknowledged.keys():
        answer = keys.call('GET', f'/v1/keys/{key_id}')
        assert answer.status_code == 404 or base64.b64decode(answer.json()['key_string']) == begun[key_id]
    house.assert_good()


def test_a_full_disk_refuses_and_loses_nothing(tmp_path):
    """Nothing is released or changed without its audit event; with space again everything goes on."""
    disk = tmp_path / 'disk'
    disk.mkdir()
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=4m,mode=700', 'tmpfs', disk], check=True)
    house = Standalone(disk)
    try:
        house.start()
        keys = house.keys()
        good = {new_id(): random_key() for _ in range(20)}
        for key_id, key in good.items():
            assert put(keys, key_id, key).status_code == 201
        filler = disk / 'filler'
        with filler.open('wb', buffering=0) as file:
            with pytest.raises(OSError):
                while True:
                    file.write(b'x' * 4096)
        refused = None
        for _ in range(5000):
            refused = put(keys, new_id(), random_key())
            if refused.status_code != 201:
                break
        assert refused.status_code == 503, refused.text
        assert refused.headers['Retry-After']
        assert 'error' in refused.json()
        filler.unlink()
        for key_id, key in good.items():
            assert stored(keys, key_id) == key
        assert put(keys, new_id(), random_key()).status_code == 201
        house.assert_good()
    finally:
        house.server.stop()
        subprocess.run(['umount', disk], check=True)


def test_a_read_only_data_folder_is_refused_in_words(tmp_path):
    disk = tmp_path / 'disk'
    disk.mkdir()
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=16m,mode=700', 'tmpfs', disk], check=True)
    house = Standalone(disk)
    try:
        house.start()
        key_id, key = new_id(), random_key()
        assert put(house.keys(), key_id, key).status_code == 201
        house.server.stop()
        subprocess.run(['mount', '-o', 'remount,ro', disk], check=True)
        with pytest.raises(AssertionError, match='ended with'):
            house.start()
        assert 'Read-only' in house.server.log_text()
        assert str(house.data) in house.server.log_text()
        subprocess.run(['mount', '-o', 'remount,rw', disk], check=True)
        house.start()
        assert stored(house.keys(), key_id) == key
    finally:
        house.server.stop()
        subprocess.run(['umount', disk], check=True)


def database(house: Standalone) -> pathlib.Path:
    return house.data / 'chatelaine.db'


def three_keys(house: Standalone) -> list[str]:
    house.start()
    ids = [new_id() for _ in range(3)]
    for key_id in ids:
        assert put(house.keys(), key_id, random_key()).status_code == 201
    return ids


def test_a_corrupted_page_is_found_and_nothing_else_is_lost(house):
    ids = three_keys(house)
    house.server.stop()
    connection = sqlite3.connect(database(house))
    connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    body = connection.execute('SELECT body FROM records WHERE id = ?', [ids[0]]).fetchone()[0]
    connection.close()
    content = bytearray(database(house).read_bytes())
    place = content.index(body) + len(body) // 2
    content[place : place + 8] = os.urandom(8)
    database(house).write_bytes(content)
    house.start()
    keys = house.keys()
    refused = keys.call('GET', f'/v1/keys/{ids[0]}')
    assert refused.status_code == 500
    assert 'damaged' in refused.json()['error']['message']
    for key_id in ids[1:]:
        assert len(stored(keys, key_id)) == 32
    assert any('does not open' in problem for problem in house.findings())


def test_swapped_and_edited_records_are_found(house):
    ids = three_keys(house)
    house.server.stop()
    with sqlite3.connect(database(house)) as connection:
        bodies = dict(connection.execute('SELECT id, body FROM records WHERE kind = "secret"'))
        connection.execute('UPDATE records SET body = ? WHERE id = ?', [bodies[ids[1]], ids[0]])
        connection.execute('UPDATE records SET body = ? WHERE id = ?', [bodies[ids[0]], ids[1]])
    connection.close()
    house.start()
    keys = house.keys()
    for key_id in ids[:2]:
        assert keys.call('GET', f'/v1/keys/{key_id}').status_code == 500
    assert len(stored(keys, ids[2])) == 32
    assert len(house.findings()) >= 2


def test_a_record_rolled_back_to_an_older_state_is_found(house):
    ids = three_keys(house)
    house.server.stop()
    with sqlite3.connect(database(house)) as connection:
        columns = [row[1] for row in connection.execute('PRAGMA table_info(records)')]
        old = connection.execute('SELECT * FROM records WHERE id = ?', [ids[0]]).fetchone()
    connection.close()
    house.start()
    answer = house.keys().call('PATCH', f'/v1/keys/{ids[0]}', {'name': 'new'}, {'If-Match': '"1"'})
    assert answer.status_code == 200, answer.text
    house.server.stop()
    with sqlite3.connect(database(house)) as connection:
        places = ', '.join('?' * len(columns))
        connection.execute('DELETE FROM records WHERE id = ?', [ids[0]])
        connection.execute(f'INSERT INTO records VALUES ({places})', old)
    connection.close()
    house.start()
    assert [problem for problem in house.findings() if 'rolled back' in problem]


def test_a_changed_line_of_the_trail_is_found(house):
    ids = three_keys(house)
    house.server.stop()
    (segment,) = sorted((house.data / 'audit').glob('*.jsonl'))
    text = segment.read_text()
    assert ids[0] in text
    segment.write_text(text.replace(ids[0], new_id(), 1))
    code, report = house.cli('audit', 'verify')
    assert code == 1
    assert any(finding['line'] for finding in report['findings']), report


def test_a_cut_trail_shows_against_the_noted_head(house):
    three_keys(house)
    house.server.stop()
    (segment,) = sorted((house.data / 'audit').glob('*.jsonl'))
    lines = segment.read_text().splitlines(keepends=True)
    segment.write_text(''.join(lines[:-3]))
    code, report = house.cli('audit', 'verify')
    assert code == 1, report
