"""Master keys in a token: a server with a SoftHSM, which is taken out and put back."""

import os
import pathlib
import subprocess

import pytest

from support.master_key import House, assert_readable, assert_sealed, put_keys

LIBRARY = '/usr/lib/softhsm/libsofthsm2.so'
PIN = 'pin-of-the-token'


class Token:
    """A SoftHSM token in folders of its own."""

    def __init__(self, folder: pathlib.Path):
        assert pathlib.Path(LIBRARY).is_file(), f'{LIBRARY} is missing: apt-get install softhsm2'
        self.folder, self.away = folder / 'tokens', folder / 'away'
        self.folder.mkdir(mode=0o700)
        configuration = folder / 'softhsm2.conf'
        configuration.write_text(f'directories.tokendir = {self.folder}\nobjectstore.backend = file\nlog.level = ERROR\n')
        self.environment = {'SOFTHSM2_CONF': str(configuration)}
        self.pin_file = folder / 'pin'
        self.pin_file.touch(mode=0o600)
        self.pin_file.write_text(PIN + '\n')
        subprocess.run(
            ['softhsm2-util', '--init-token', '--free', '--label', 'house', '--pin', PIN, '--so-pin', 'officer-pin'],
            env={'PATH': os.environ['PATH'], **self.environment},
            check=True,
            capture_output=True,
        )

    def settings(self) -> list[str]:
        return [
            'seal.kind=pkcs11',
            'seal.retry_seconds=1',
            f'seal.pkcs11.module={LIBRARY}',
            'seal.pkcs11.token_label=house',
            f'seal.pkcs11.pin_file={self.pin_file}',
        ]

    def take_out(self) -> None:
        self.folder.rename(self.away)

    def put_back(self) -> None:
        self.away.rename(self.folder)


@pytest.fixture
def token(tmp_path):
    folder = tmp_path / 'hsm'
    folder.mkdir()
    return Token(folder)


@pytest.fixture
def home(standalone, token):
    server = standalone(*token.settings(), environment=token.environment)
    return House(server, token.environment)


def test_a_token_is_taken_out_and_put_back_while_serving(home, token):
    put = put_keys(home.server.keys(), 3)
    assert [seal['kind'] for seal in home.status()['keys'][0]['seals']] == ['pkcs11']
    token.take_out()
    # What is served needs no token.
    assert_readable(home.server.keys(), put)
    put |= put_keys(home.server.keys(), 2)
    home.run('rotate', expected=8)
    assert len(home.status()['keys']) == 1
    token.put_back()
    status = home.run('rotate')
    assert [key['epoch'] for key in status['keys']] == [2, 1]
    assert_readable(home.server.keys(), put)
    home.server.close()

    token.take_out()
    home.server.start()
    assert_sealed(home)
    assert 'house' in home.status()['problem']
    token.put_back()
    home.wait_until_open()
    assert_readable(home.server.keys(), put)
    home.server.close()
    home.server.start()
    home.wait_until_open()


def test_a_refused_pin_is_not_tried_again(home, token):
    home.server.close()
    token.pin_file.write_text('wrong-pin\n')
    home.server.start()
    assert_sealed(home)
    for _ in range(5):
        assert 'PIN' in home.run('unseal', expected=(1, 6, 8))
    assert PIN not in home.server.server.log_text() and 'wrong-pin' not in home.server.server.log_text()
    token.pin_file.write_text(PIN + '\n')
    home.wait_until_open()
    # SoftHSM would be locked by many; its flags say so.
    shown = subprocess.run(
        ['softhsm2-util', '--show-slots'],
        env={'PATH': os.environ['PATH'], **token.environment},
        check=True,
        capture_output=True,
        text=True,
    )
    assert 'User PIN init.:   yes' in shown.stdout


def test_keys_move_into_a_token(standalone, token):
    settings = [setting for setting in token.settings() if not setting.startswith('seal.kind')]
    home = House(standalone(*settings, environment=token.environment), token.environment)
    put = put_keys(home.server.keys(), 3)
    home.run('seal', 'add', 'pkcs11')
    assert 'restart the server first' in home.run('seal', 'remove', 'file', expected=7)
    assert 'would not hold a new one' in home.run('rotate', expected=7)
    home.server.close()
    (home.server.data / 'sealing-key').unlink()
    home.server.reconfigure('seal.kind=pkcs11')
    home.server.start()
    home.wait_until_open()
    home.run('seal', 'remove', 'file')
    home.run('rotate')
    assert_readable(home.server.keys(), put)
    home.server.assert_good()
