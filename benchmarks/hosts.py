"""Two hosts with a network between them, on one machine: Linux network namespaces.

What crosses the network between them crosses a virtual cable whose rate can be limited and which
can be cut, which loopback offers neither of. Needs the superuser, and `ip` and `tc` of iproute2.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

_SUBNET = "10.97.{}.{}"
_BURST_BYTES = 128 * 1024
# Behind so much delay the cable drops packets, as a switch with full buffers does.
_QUEUE = "50ms"
_BUFFER_BYTES = 2**20
_PATIENCE_SECONDS = 60.0
_ANY_NAMESPACE = 0


class NoHostsError(ValueError):
    """This machine or user cannot make network namespaces."""


@dataclass(frozen=True)
class Host:
    """A network namespace.

    Attributes:
        name: of the namespace.
        address: IPv4, reachable from the other host and from nowhere else.
    """

    name: str
    address: str

    def command(self, command: Sequence[str]) -> list[str]:
        """The command that runs another one on this host, as the same process."""
        return ["ip", "netns", "exec", self.name, *command]

    def socket(self) -> socket.socket:
        """A TCP socket of this host, whichever one this process is on."""
        # A thread may move to another network, and ends there.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._socket_there).result()

    def _socket_there(self) -> socket.socket:
        library = ctypes.CDLL(None, use_errno=True)
        with open(f"/var/run/netns/{self.name}", encoding="ascii") as namespace:
            if library.setns(namespace.fileno(), _ANY_NAMESPACE) != 0:
                raise NoHostsError(f"setns: {os.strerror(ctypes.get_errno())}")
        made = socket.socket()
        made.settimeout(_PATIENCE_SECONDS)
        return made


class Cable:
    """What two hosts are connected by; full duplex."""

    def __init__(self, hosts: tuple[Host, Host]) -> None:
        self.hosts = hosts
        self._limited = False

    def limit(self, gigabits: float | None) -> None:
        """Sets the rate in each direction, in 1e9 bits a second; None for as fast as it goes."""
        for host in self.hosts:
            if self._limited:
                _run("tc", "-n", host.name, "qdisc", "del", "dev", _device(host), "root")
            if gigabits is not None:
                rate = f"{round(gigabits * 1e9)}bit"
                _run(
                    *("tc", "-n", host.name, "qdisc", "add", "dev", _device(host), "root"),
                    *("tbf", "rate", rate, "burst", str(_BURST_BYTES), "latency", _QUEUE),
                )
        self._limited = gigabits is not None

    def carried(self, count: int) -> float:
        """Sends so many bytes from the second host to the first; returns bytes a second.

        Raises:
            NoHostsError: they do not arrive.
        """
        first, second = self.hosts
        try:
            return self._carried(first, second, count)
        except OSError as error:
            raise NoHostsError(f"the cable carries nothing: {error}") from error

    @staticmethod
    def _carried(first: Host, second: Host, count: int) -> float:
        with first.socket() as listener, second.socket() as sender:
            listener.bind((first.address, 0))
            listener.listen()
            sender.connect(listener.getsockname())
            with listener.accept()[0] as receiver:
                receiver.settimeout(_PATIENCE_SECONDS)
                return _sent_bytes_a_second(sender, receiver, count)

    def cut(self) -> None:
        """Takes the cable away: packets are lost from now on, and nobody is told."""
        for host in self.hosts:
            _run("ip", "-n", host.name, "link", "set", _device(host), "down")

    def mend(self) -> None:
        """Puts the cable back."""
        for host in self.hosts:
            _run("ip", "-n", host.name, "link", "set", _device(host), "up")


def _sent_bytes_a_second(sender: socket.socket, receiver: socket.socket, count: int) -> float:
    with ThreadPoolExecutor(1) as thread:
        start = time.monotonic()
        sending = thread.submit(sender.sendall, bytes(count))
        received = 0
        while received < count:
            data = receiver.recv(_BUFFER_BYTES)
            if not data:
                raise ConnectionError("the connection closed before all had come")
            received += len(data)
        seconds = time.monotonic() - start
        sending.result()
    return count / seconds


def reason_against() -> str | None:
    """Why hosts cannot be made here; None if they can."""
    missing = [program for program in ("ip", "tc") if shutil.which(program) is None]
    if missing:
        return f"needs {' and '.join(missing)} of iproute2"
    try:
        with two_hosts() as cable:
            cable.limit(1.0)
    except NoHostsError as error:
        return f"needs the right to make network namespaces ({error})"
    return None


@contextlib.contextmanager
def two_hosts() -> Iterator[Cable]:
    """Makes two hosts that reach each other, and takes them away again.

    Yields:
        The cable between them.

    Raises:
        NoHostsError: not on this machine, or not by this user.

    Example:
        >>> with two_hosts() as cable:
        ...     cable.limit(1.0)
        ...     subprocess.run(cable.hosts[0].command(["ip", "address"]))
    """
    number = os.getpid() % 250
    hosts = tuple(Host(f"aad_tf_{os.getpid()}_{i}", _SUBNET.format(number, i + 1)) for i in (0, 1))
    with contextlib.ExitStack() as made:
        for host in hosts:
            _run("ip", "netns", "add", host.name)
            made.callback(_run, "ip", "netns", "del", host.name)
        first, second = hosts
        _run(
            *("ip", "-n", first.name, "link", "add", _device(first), "type", "veth"),
            *("peer", "name", _device(second), "netns", second.name),
        )
        for host in hosts:
            address = f"{host.address}/24"
            _run("ip", "-n", host.name, "address", "add", address, "dev", _device(host))
            for device in ("lo", _device(host)):
                _run("ip", "-n", host.name, "link", "set", device, "up")
        yield Cable((first, second))


def _device(host: Host) -> str:
    """The host's end of the cable."""
    return f"cable{host.name[-1]}"


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NoHostsError(f"{command[0]} is not installed") from error
    if done.returncode != 0:
        raise NoHostsError(f"{' '.join(command)}: {done.stderr.strip()}")
