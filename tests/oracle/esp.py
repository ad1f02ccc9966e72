"""ESP as RFC 4303, 4106 and 4868 say it, on Python's cryptography: independent of both ESPs of ours."""
import hashlib
import hmac
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# name: (kind, encryption key octets, integrity key octets, salt octets, IV octets, ICV octets, pad to)
SUITES = {
    "ESP_AES128_GCM16": ("gcm", 16, 0, 4, 8, 16, 4),
    "ESP_AES256_GCM16": ("gcm", 32, 0, 4, 8, 16, 4),
    "ESP_AES128_CBC_HMAC_SHA2_256": ("cbc", 16, 32, 0, 16, 16, 16),
    "ESP_AES256_CBC_HMAC_SHA2_256": ("cbc", 32, 32, 0, 16, 16, 16),
}


class BadIcv(Exception):
    """The integrity check value is wrong."""


@dataclass
class Sa:
    """One direction of an SA with its keys, and what was seen of it."""
    spi: int
    src: bytes
    dst: bytes
    suite: str
    encr: bytes
    integ: bytes = b""
    salt: bytes = b""
    iv_key: bytes = b""
    esn: bool = False
    mode: str = "tunnel"
    encap: str = "none"
    sport: int = 0
    dport: int = 0
    policy: str = ""
    first: int | None = 1    # what the first number on the wire must be; None: it is not checked
    name: str = ""
    packets: int = 0
    octets: int = 0          # of inner packets
    icv_checked: int = 0
    seen_first: int = 0
    last: int = 0
    runs: list = field(default_factory=list)   # [first, last] of unbroken numbers, rising

    def __post_init__(self):
        self.kind, encr, integ, salt, self.iv_len, self.icv_len, self.align = SUITES[self.suite]
        if (len(self.encr), len(self.integ), len(self.salt)) != (encr, integ, salt):
            raise ValueError(f"key lengths of {self.suite}")
        if self.kind == "gcm":
            self.gcm = AESGCM(self.encr)
        else:
            self.iv_cipher = Cipher(algorithms.AES(self.iv_key), modes.ECB())

    def number(self, low):
        """The 64-bit number of a packet from its low half and the numbers before (RFC 4303, A2)."""
        if not self.esn:
            return low
        high, last_low = self.last >> 32, self.last & 0xffffffff
        if low < last_low and last_low - low > 1 << 31:
            high += 1
        return high << 32 | low

    def iv(self, number):
        """The IV that the contract demands for this number."""
        if self.kind == "gcm":
            return number.to_bytes(8, "big")
        e = self.iv_cipher.encryptor()
        return e.update(bytes(8) + number.to_bytes(8, "big")) + e.finalize()

    def open(self, packet, number):
        """Verifies the ICV under the number and decrypts; returns the octets with the trailer."""
        body, icv = packet[8 + self.iv_len:-self.icv_len], packet[-self.icv_len:]
        if self.kind == "gcm":
            aad = packet[:4] + (number.to_bytes(8, "big") if self.esn else packet[4:8])
            try:
                return self.gcm.decrypt(self.salt + packet[8:16], body + icv, aad)
            except InvalidTag:
                raise BadIcv from None
        signed = packet[:-self.icv_len] + ((number >> 32).to_bytes(4, "big") if self.esn else b"")
        if not hmac.compare_digest(hmac.digest(self.integ, signed, hashlib.sha256)[:16], icv):
            raise BadIcv
        return self.cbc_open(packet[8:24], body)

    def cbc_open(self, iv, body):
        d = Cipher(algorithms.AES(self.encr), modes.CBC(iv)).decryptor()
        return d.update(body) + d.finalize()

    def seal(self, number, inner, next_header):
        """Makes the ESP packet: for the tests of this oracle, and for packets made by hand."""
        pad = -(len(inner) + 2) % self.align
        clear = inner + bytes(range(1, pad + 1)) + bytes((pad, next_header))
        head = self.spi.to_bytes(4, "big") + (number & 0xffffffff).to_bytes(4, "big")
        iv = self.iv(number)
        if self.kind == "gcm":
            aad = head[:4] + (number.to_bytes(8, "big") if self.esn else head[4:8])
            return head + iv + self.gcm.encrypt(self.salt + iv, clear, aad)
        e = Cipher(algorithms.AES(self.encr), modes.CBC(iv)).encryptor()
        packet = head + iv + e.update(clear) + e.finalize()
        signed = packet + ((number >> 32).to_bytes(4, "big") if self.esn else b"")
        return packet + hmac.digest(self.integ, signed, hashlib.sha256)[:16]

    def missing(self):
        """Numbers between the first and the last that were not on the wire."""
        return self.last - self.seen_first + 1 - self.packets if self.packets else 0
