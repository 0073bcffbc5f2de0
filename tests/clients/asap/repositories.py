"""Key repositories for tests: real HTTPS servers on loopback, under a certificate authority of our own."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM_TYPE = "application/x-pem-file"

Answer = Callable[[socket.socket, str], None]
"""What a repository does with a request: the connection, and the path that was asked for."""


@dataclass(frozen=True)
class Authority:
    """A certificate authority of a test: `client` trusts it, `server` is certified by it for its names."""

    client: ssl.SSLContext
    server: ssl.SSLContext

    @classmethod
    def make(cls, folder: Path, names: Sequence[str] = ("127.0.0.1",)) -> Self:
        """Leaves root.pem and leaf.pem (with its key) in the folder."""
        key, name = ec.generate_private_key(ec.SECP256R1()), _name("Authority of a test")
        root = _certificate(name, name, key, key, x509.BasicConstraints(ca=True, path_length=0), names)
        server_key = ec.generate_private_key(ec.SECP256R1())
        leaf = _certificate(
            _name(names[0]), name, server_key, key, x509.BasicConstraints(ca=False, path_length=None), names
        )
        (folder / "root.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
        (folder / "leaf.pem").write_bytes(
            leaf.public_bytes(serialization.Encoding.PEM)
            + server_key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(folder / "leaf.pem")
        return cls(ssl.create_default_context(cafile=str(folder / "root.pem")), server)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    basic: x509.BasicConstraints,
    names: Sequence[str],
) -> x509.Certificate:
    today = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(basic, critical=True)
        .add_extension(x509.SubjectAlternativeName([_alternative(each) for each in names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )


def _alternative(name: str) -> x509.GeneralName:
    return x509.IPAddress(ip_address(name)) if name.replace(".", "").isdigit() else x509.DNSName(name)


@dataclass
class Repository:
    url: str
    answer: Answer
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving(authority: Authority, answer: Answer) -> Iterator[Repository]:
    """A repository that answers so; `answer` may be replaced while it serves."""
    listener = socket.create_server(("127.0.0.1", 0))
    repository = Repository(f"https://127.0.0.1:{listener.getsockname()[1]}/keys", answer)
    threading.Thread(target=_serve, args=(listener, authority, repository), daemon=True).start()
    try:
        yield repository
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _serve(listener: socket.socket, authority: Authority, repository: Repository) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_one, args=(plain, authority, repository), daemon=True).start()


def _one(plain: socket.socket, authority: Authority, repository: Repository) -> None:
    try:
        if repository.answer is silent_in_the_handshake:
            time.sleep(5)
            return
        with authority.server.wrap_socket(plain, server_side=True) as connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096)
            path = head.split(b" ")[1].decode()
            repository.asked.append(path)
            repository.answer(connection, path)
    except OSError:
        pass  # the client went away, which is what some of these tests are about
    finally:
        plain.close()


def keys(pems: Mapping[str, bytes]) -> Answer:
    """A repository as it should be."""

    def answer(connection: socket.socket, path: str) -> None:
        pem = pems.get(path.removeprefix("/keys/"))
        connection.sendall(response(200, pem) if pem is not None else response(404, b"not here"))

    return answer


def always(content: bytes) -> Answer:
    """The same bytes for everybody."""
    return lambda connection, _: connection.sendall(content)


def response(status: int, body: bytes, *, media_type: str = PEM_TYPE, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {media_type}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


def silent(connection: socket.socket, path: str) -> None:
    """Says nothing for a long time."""
    time.sleep(5)


def silent_in_the_handshake(connection: socket.socket, path: str) -> None:
    """Takes the connection, and says nothing at all."""


def drips(connection: socket.socket, path: str) -> None:
    """A byte now and then: no single read times out."""
    for byte in response(200, b"x" * 1000):
        connection.sendall(bytes([byte]))
        time.sleep(0.05)
