"""RSA-2048 keys, made ahead of need: one costs about 40 ms of a CPU, and the devices come all at once."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor

from cryptography.hazmat.primitives.asymmetric import rsa

from cvmd.issuer.keys import key_pair
from cvmd.model import KeyPair


class RsaKeyMaker:
    """Makes RSA-2048 keys (implements ports.KeyMaker). Safe to share between threads.

    One thread of its own keeps `ready` of them. It begins with the first that is taken, so a node whose products need
    none makes none. Who finds none ready makes one in its own thread.
    """

    def __init__(self, ready: int) -> None:
        self._ready = ready
        self._keys: deque[rsa.RSAPrivateKey] = deque()
        self._filler = ThreadPoolExecutor(1, thread_name_prefix="rsa-keys")
        self._closing = False

    def make(self, subject_cn: str) -> KeyPair:
        """A new key (PKCS#1 DER, about 1192 bytes) and a CSR (SHA-256) with that CN alone."""
        try:
            key = self._keys.popleft()
        except IndexError:
            key = _new_key()
        self._filler.submit(self._fill)
        return key_pair(key, subject_cn)

    def close(self) -> None:
        """Wait for the key that is being made; nobody may ask for another."""
        self._closing = True
        self._filler.shutdown(cancel_futures=True)

    def _fill(self) -> None:
        while len(self._keys) < self._ready and not self._closing:
            self._keys.append(_new_key())


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)
