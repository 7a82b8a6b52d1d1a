"""A software TPM, with a boot that is measured into it."""

import hashlib
import os
import pathlib
import socket
import subprocess

from .servers import Server, wait_until

#: What GRUB's hosts bind: firmware, option ROMs, boot loader, Secure Boot, its configuration and what it runs.
REGISTERS = (0, 2, 4, 7, 8, 9)
START_SECONDS = 20
TOOL_SECONDS = 30


class Maker:
    """A maker of TPMs: its certificates vouch for their endorsement keys."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        folder.mkdir()
        (folder / 'authority.conf').write_text(
            f'statedir = {folder}\nsigningkey = {folder}/signkey.pem\nissuercert = {folder}/issuercert.pem\n'
            f'certserial = {folder}/certserial\n'
        )
        (folder / 'authority.options').write_text(
            '--tpm-manufacturer id:00001014\n--tpm-model swtpm\n--tpm-version id:20191023\n'
            '--platform-manufacturer Example\n--platform-version 1\n--platform-model Test\n'
        )
        (folder / 'setup.conf').write_text(
            f'create_certs_tool = swtpm_localca\ncreate_certs_tool_config = {folder}/authority.conf\n'
            f'create_certs_tool_options = {folder}/authority.options\n'
        )

    def make(self, state: pathlib.Path) -> None:
        """Puts the state of a new TPM into a folder."""
        command = [
            'swtpm_setup', '--tpm2', '--tpm-state', str(state), '--config', str(self.folder / 'setup.conf'),
            '--create-ek-cert',
        ]  # fmt: skip
        # Otherwise it would become another user, who may not enter the folder.
        command += ['--runas', 'root'] if os.geteuid() == 0 else []
        done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS)
        assert done.returncode == 0, done

    def trusted(self, folder: pathlib.Path) -> pathlib.Path:
        """A folder with its certificates, as `seal.tpm.makers` names it."""
        folder.mkdir()
        for file in [*self.folder.glob('*cert.pem'), *self.folder.glob('*rootca-cert.pem')]:
            (folder / file.name).write_bytes(file.read_bytes())
        return folder


class Tpm:
    """One machine's TPM: it loses power with the machine, and keeps what it has sealed."""

    def __init__(self, folder: pathlib.Path, maker: Maker | None = None):
        self.state, self.socket = folder / 'state', folder / 'tpm'
        self.state.mkdir()
        if maker is not None:
            maker.make(self.state)
        command = [
            'swtpm', 'socket', '--tpm2', '--flags', 'not-need-init,startup-clear', '--tpmstate', f'dir={self.state}',
            '--server', f'type=unixio,path={self.socket}', '--ctrl', f'type=unixio,path={self.socket}.ctrl',
        ]  # fmt: skip
        self.server = Server('swtpm', folder, command, {})
        self.address = f'swtpm:path={self.socket}'

    def power_on(self) -> None:
        self.socket.unlink(missing_ok=True)
        self.server.start_without_waiting()
        wait_until('swtpm', self._listens, START_SECONDS)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.socket))
            except OSError:
                return False
            return True

    def power_off(self) -> None:
        self.server.kill()

    def boot(self, **measured: str) -> None:
        """Starts the machine: every register gets a measurement, `pcr4='other loader'` another one than usual."""
        self.power_on()
        for register in REGISTERS:
            what = measured.get(f'pcr{register}', f'part {register}')
            self.tool('tpm2_pcrextend', f'{register}:sha256={hashlib.sha256(what.encode()).hexdigest()}')

    def reboot(self, **measured: str) -> None:
        self.power_off()
        self.boot(**measured)

    def tool(self, *arguments: str) -> str:
        done = subprocess.run(
            arguments,
            env={'PATH': os.environ['PATH'], 'TPM2TOOLS_TCTI': f'swtpm:path={self.socket}', 'TSS2_LOG': 'all+NONE'},
            capture_output=True,
            text=True,
            timeout=TOOL_SECONDS,
        )
        assert done.returncode == 0, done
        return done.stdout
