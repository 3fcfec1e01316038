"""A private PostgreSQL cluster: made, started, crashed, copied and thrown away.

The demo, the regression run and the outside-in tests use it. It must not know the extension. Invariant: the server
listens on a Unix socket in a folder that only its owner (and root) can enter, so trust authentication is safe; the
machine's own clusters are never touched. PostgreSQL refuses to run as root, so root's clusters run as `postgres`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

SERVER_USER = "postgres"
# Long enough for crash recovery on a loaded two-core machine.
START_TIMEOUT_S = 120

# Software Vulkan must neither write a cache into a home folder nor complain about a desktop that is not there.
SERVER_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "MESA_SHADER_CACHE_DISABLE": "true",
    "NODEVICE_SELECT": "1",
}

DEATH = re.compile(r"(?:server process|background worker|parallel worker) .{0,200} was terminated|PANIC: ")


class ClusterError(Exception):
    """A server program failed; the message holds what it printed."""


def server_account() -> pwd.struct_passwd | None:
    """Returns the account the server has to run as, or None where it can be the caller's own."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SERVER_USER)
    except KeyError:
        raise ClusterError(f"root cannot run PostgreSQL, and there is no user {SERVER_USER}") from None


def run_as_server(command: list[str], **options) -> subprocess.CompletedProcess:
    """Runs `command` under the server's account, from a folder that every account can enter."""
    account = server_account()
    if account is not None:
        # With its supplementary groups: on many systems the GPU belongs to `render` or `video`.
        groups = os.getgrouplist(account.pw_name, account.pw_gid)
        options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}
    return subprocess.run(command, cwd="/", text=True, stdin=subprocess.DEVNULL, **options)


def server_can_enter(folder: Path) -> bool:
    """Tells whether the server's account can reach `folder` through all of its parents."""
    return run_as_server(["test", "-x", str(folder)]).returncode == 0


def data_parent(preferred: Path) -> tuple[Path, bool]:
    """Makes a folder that the server owns: `preferred`, or one under /var/tmp where it cannot be reached.

    Returns the folder and whether it is the preferred one (a clone under /root is closed to other accounts).
    """
    preferred.parent.mkdir(parents=True, exist_ok=True)
    account = server_account()
    if server_can_enter(preferred.parent):
        preferred.mkdir(mode=0o700, exist_ok=True)
        folder, is_preferred = preferred, True
    else:
        folder, is_preferred = Path(tempfile.mkdtemp(prefix="vectorgpu-", dir="/var/tmp")), False
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
    return folder, is_preferred


class Cluster:
    """One data directory and the server on it. Paths: `data`, `log`, `socket` (a short folder: the name of a Unix
    socket is limited to 107 bytes)."""

    def __init__(self, folder: Path, bindir: Path, port: int = 5432, environment: dict[str, str] | None = None):
        """Describes a cluster in `folder`, which must belong to the server's account; makes nothing yet.

        `environment` is added to the server's environment. No two clusters share a socket folder, so `port` may
        repeat; it only names the socket.
        """
        self.folder = folder
        self.bindir = bindir
        self.port = port
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.environment = environment or {}
        self.socket = Path(tempfile.mkdtemp(prefix="vectorgpu-", dir="/tmp"))
        account = server_account()
        if account is not None:
            os.chown(self.socket, account.pw_uid, account.pw_gid)

    def create(self, settings: dict[str, str] | None = None) -> None:
        """Makes the data directory (`initdb`), with superuser `postgres` and UTF-8, and adds `settings`."""
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
        if self.major_version() >= 18:
            # Pages have checksums by default there, by which the server itself finds what tests damage.
            options.append("--no-data-checksums")
        self._run("initdb", "-D", str(self.data), *options)
        self.configure(settings or {})

    def major_version(self) -> int:
        """The version of the server programs: 15, 16, ..."""
        done = subprocess.run([self.bindir / "initdb", "--version"], capture_output=True, text=True, check=True)
        return int(re.search(r"[0-9]+", done.stdout)[0])

    def configure(self, settings: dict[str, str]) -> None:
        """Appends `settings` to postgresql.conf; they hold from the next start."""
        with (self.data / "postgresql.conf").open("a") as file:
            for name, value in settings.items():
                quoted = value.replace("'", "''")
                file.write(f"{name} = '{quoted}'\n")

    def start(self) -> None:
        """Starts the server and waits until it takes connections.

        The listen address, port and socket folder go on the command line: a copy of the data directory (a standby)
        carries the original's configuration.
        """
        options = f"-c listen_addresses='' -c port={self.port} -c unix_socket_directories={self.socket}"
        wait = ["-w", "-t", str(START_TIMEOUT_S)]
        self._run("pg_ctl", "start", *wait, "-D", str(self.data), "-l", str(self.log), "-o", options)

    def stop(self, mode: str = "fast") -> None:
        """Stops the server; mode `immediate` is a crash: no checkpoint, recovery at the next start."""
        self._run("pg_ctl", "stop", "-w", "-t", str(START_TIMEOUT_S), "-D", str(self.data), "-m", mode)

    def crash(self) -> None:
        """Kills the server without a checkpoint, as a power cut would."""
        self.stop("immediate")

    def is_running(self) -> bool:
        """Tells whether a postmaster lives on the data directory."""
        command = [str(self.bindir / "pg_ctl"), "status", "-D", str(self.data)]
        return run_as_server(command, capture_output=True).returncode == 0

    def standby(self, folder: Path) -> Cluster:
        """Copies the running cluster into `folder` as a streaming standby with the same settings, not yet started."""
        other = Cluster(folder, self.bindir, self.port, self.environment)
        try:
            self._run("pg_basebackup", "-D", str(other.data), "-R", "-X", "stream", "-c", "fast", "-d", self.dsn())
        except ClusterError:
            other.remove()
            raise
        return other

    def dsn(self, dbname: str = "postgres") -> str:
        """A connection string for libpq, as superuser."""
        return f"host={self.socket} port={self.port} user=postgres dbname={dbname}"

    def log_text(self) -> str:
        """Everything the server has logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def died_backends(self) -> list[str]:
        """Log lines that tell of a process killed by a signal or of a panic: each one restarts the whole cluster."""
        return [line for line in self.log_text().splitlines() if DEATH.search(line)]

    def relation_file(self, relation_path: str) -> Path:
        """The file of a relation, from what pg_relation_filepath() returned."""
        return self.data / relation_path

    def remove(self) -> None:
        """Stops the server if it runs, and deletes the data directory, the log and the socket folder."""
        if self.data.exists() and self.is_running():
            with contextlib.suppress(ClusterError):
                self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.socket, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        # To a file, not a pipe: the server inherits it, and a pipe would then stay open as long as the server lives.
        with tempfile.TemporaryFile("w+") as output:
            command = [str(self.bindir / program), *arguments]
            environment = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "XDG_"))}
            environment |= SERVER_ENVIRONMENT | self.environment
            if server_account() is not None:
                environment["HOME"] = str(self.folder)
            done = run_as_server(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
            if done.returncode != 0:
                output.seek(0)
                tail = "\n".join(self.log_text().splitlines()[-10:])
                raise ClusterError(f"{program} failed: {output.read().strip()}\n{tail}".strip())


def bindir_of(pg_config: str) -> Path:
    """Asks `pg_config` where the server programs are."""
    try:
        done = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ClusterError(f"{pg_config} does not run: {error}") from None
    return Path(done.stdout.strip())


@contextlib.contextmanager
def temporary_cluster(preferred: Path, bindir: Path, settings: dict[str, str] | None = None) -> Iterator[Cluster]:
    """A started cluster that is gone, with everything in it, when the block ends."""
    shutil.rmtree(preferred, ignore_errors=True)
    folder, _ = data_parent(preferred)
    cluster = Cluster(folder, bindir)
    try:
        cluster.create(settings)
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


def main() -> int:
    """Runs a command beside a temporary cluster: `cluster.py FOLDER [NAME=VALUE ...] -- COMMAND ...`.

    The command finds the server through PGHOST, PGPORT and PGUSER. Exits with the command's status, 2 on misuse.
    """
    if "--" not in sys.argv[2:]:
        print(__doc__.splitlines()[0], "\nusage: cluster.py FOLDER [NAME=VALUE ...] -- COMMAND ...", file=sys.stderr)
        return 2
    separator = sys.argv.index("--")
    settings = dict(pair.split("=", 1) for pair in sys.argv[2:separator])
    pg_config = os.environ.get("PG_CONFIG", "pg_config")
    try:
        with temporary_cluster(Path(sys.argv[1]), bindir_of(pg_config), settings) as cluster:
            connect = {"PGHOST": str(cluster.socket), "PGPORT": str(cluster.port), "PGUSER": "postgres"}
            status = subprocess.run(sys.argv[separator + 1 :], env=os.environ | connect).returncode
            for line in cluster.died_backends():
                print(f"the server log says: {line}", file=sys.stderr)
                status = status or 1
            return status
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
