"""Text forms of 32-byte ids: bech32m (BIP-350), `claw1…` accounts and `clawval1…` authorities.

Pure. One id has one text: lower case out; in, upper case as a whole is read too (QR codes are
denser in upper case), mixed case is not. A text that was mistyped in up to four characters is
always refused, other damage with all but one chance in a billion (BIP-173, "Checksum design").
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import getitem, xor
from types import MappingProxyType
from typing import Final

from clawpurse.ledger.crypto import KEY_BYTES
from clawpurse.ledger.errors import Malformed

ACCOUNT_PREFIX: Final = "claw"
AUTHORITY_PREFIX: Final = "clawval"

# BIP-173: what the code's error detection was designed for.
TEXT_MAX: Final = 90
_PREFIX_MAX: Final = 83
_CHECKSUM_CHARS: Final = 6

_CHARSET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUE_OF: Final = {char: value for value, char in enumerate(_CHARSET)}
_BECH32M: Final = 0x2BC830A3
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def _reduction(top: int) -> int:
    """What the five bits above the remainder reduce to, modulo the generator."""
    total = 0
    for bit, factor in enumerate(_GENERATOR):
        if top >> bit & 1:
            total ^= factor
    return total


# Worked out once: pages of events are full of addresses, and this is most of their cost.
_REDUCTION: Final = tuple(_reduction(top) for top in range(32))


# An id is 52 values, the last of which ends in four bits of padding; a checksum has six.
_ID_PADDING_BITS: Final = 4
_CHECKSUM_BITS: Final = 5 * _CHECKSUM_CHARS
_ID_SHIFT: Final = _ID_PADDING_BITS + _CHECKSUM_BITS
_ID_CHARS: Final = (8 * KEY_BYTES + _ID_SHIFT) // 5
# The digits of our texts as Python reads them in base 32.
_BASE_32: Final = bytes.maketrans(_CHARSET.encode(), b"0123456789abcdefghijklmnopqrstuv")
# The octets 0…31 as the characters of our texts.
_CHARACTERS: Final = _CHARSET.encode().ljust(256, b"?")


def _spreading() -> tuple[tuple[int, int, int], ...]:
    """How 64 values of five bits, side by side, come to lie one in each octet: by halves.

    Each step is (what stays, what moves up, how far), over a number as wide as a text.
    """
    steps = []
    values = 64
    while values > 1:
        half = values // 2
        keep = sum(((1 << 5 * half) - 1) << 8 * start for start in range(0, 64, values))
        steps.append((keep, keep << 5 * half, 3 * half))
        values = half
    return tuple(steps)


_SPREADING: Final = _spreading()


def account_text(account: bytes) -> str:
    """Return `claw1…` for a 32-byte account id."""
    return _id_text(ACCOUNT_PREFIX, account)


def account_from_text(text: str, field: str = "account") -> bytes:
    """Return the 32-byte account id of `claw1…`; `Malformed` names what is wrong with it."""
    return _id_from_text(ACCOUNT_PREFIX, text, field)


def authority_text(authority: bytes) -> str:
    """Return `clawval1…` for a 32-byte authority id."""
    return _id_text(AUTHORITY_PREFIX, authority)


def authority_from_text(text: str, field: str = "authority") -> bytes:
    """Return the 32-byte authority id of `clawval1…`; `Malformed` names what is wrong with it."""
    return _id_from_text(AUTHORITY_PREFIX, text, field)


def bech32m_encode(prefix: str, values: Sequence[int]) -> str:
    """Return the bech32m text of 5-bit `values` under a lower-case `prefix` (BIP-350).

    Raises `Malformed` on what the format cannot carry, so that nothing unreadable is printed.
    """
    _check_prefix(prefix, "prefix")
    if prefix != prefix.lower():
        raise Malformed("prefix", "has an upper-case letter")
    if not all(0 <= value < 32 for value in values):
        raise Malformed("values", "holds a number outside 0…31")
    if len(prefix) + 1 + len(values) + _CHECKSUM_CHARS > TEXT_MAX:
        raise Malformed("values", f"would make a text of more than {TEXT_MAX} characters")
    spread = _spread(prefix)
    tail = _polymod([*spread, *values, *(0,) * _CHECKSUM_CHARS]) ^ _BECH32M
    checksum = [(tail >> 5 * (_CHECKSUM_CHARS - 1 - i)) & 31 for i in range(_CHECKSUM_CHARS)]
    return prefix + "1" + "".join(_CHARSET[value] for value in (*values, *checksum))


def bech32m_decode(text: str, field: str = "text") -> tuple[str, list[int]]:
    """Return the lower-case prefix and the 5-bit values of a bech32m text, checksum removed.

    Raises `Malformed` on mixed case, foreign characters, wrong length or a wrong checksum.
    """
    if len(text) > TEXT_MAX:
        raise Malformed(field, f"is {len(text)} characters, at most {TEXT_MAX} are allowed")
    if not all("\x21" <= char <= "\x7e" for char in text):
        raise Malformed(field, "is mistyped (a character that no address has)")
    low = text.lower()
    if text not in (low, text.upper()):
        raise Malformed(field, "is mistyped (mixes upper and lower case)")
    prefix, separator, tail = low.rpartition("1")
    if not separator:
        raise Malformed(field, "is not an address (it has no 1 after its prefix)")
    _check_prefix(prefix, field)
    if len(tail) < _CHECKSUM_CHARS:
        raise Malformed(field, "is mistyped (too short)")
    values: list[int] = []
    for char in tail:
        value = _VALUE_OF.get(char)
        if value is None:
            raise Malformed(field, f"is mistyped (no address has {char!r} there)")
        values.append(value)
    if _polymod([*_spread(prefix), *values]) != _BECH32M:
        raise Malformed(field, "is mistyped (checksum)")
    return prefix, values[:-_CHECKSUM_CHARS]


def _id_text(prefix: str, key: bytes) -> str:
    if len(key) != KEY_BYTES:
        raise Malformed(prefix, f"is {len(key)} bytes, {KEY_BYTES} are required")
    checksum = reduce(xor, map(getitem, _SHARES, key), _CHECKSUM_OF_ZEROS[prefix])
    digits = int.from_bytes(key, "big") << _ID_SHIFT | checksum
    for keep, move, distance in _SPREADING:
        digits = digits & keep | (digits & move) << distance
    return f"{prefix}1{digits.to_bytes(_ID_CHARS, 'big').translate(_CHARACTERS).decode()}"


def _id_from_text(prefix: str, text: str, field: str) -> bytes:
    key = _plain_id(prefix, text)
    if key is not None:
        return key
    found, values = bech32m_decode(text, field)
    if found != prefix:
        raise Malformed(field, f"starts with {found}1, {prefix}1 is required")
    bits = len(values) * 5
    if bits // 8 != KEY_BYTES or bits % 8 >= 5:
        raise Malformed(field, f"holds {bits // 8} bytes, {KEY_BYTES} are required")
    octets = _regroup(values, 5, 8)
    if len(octets) > KEY_BYTES and octets[KEY_BYTES]:
        # Otherwise sixteen texts would name one account.
        raise Malformed(field, "has padding that is not zero")
    return bytes(octets[:KEY_BYTES])


def _plain_id(prefix: str, text: str) -> bytes | None:
    """Return the id if this is the very text that we print for it; None: look closer.

    Nearly every address that arrives is one, and reading it takes a fraction of the time.
    """
    digits = text[len(prefix) + 1 :]
    # Nothing but our characters: `int` would also read underscores, signs and blanks.
    if len(digits) != _ID_CHARS or not text.startswith(f"{prefix}1") or digits.strip(_CHARSET):
        return None
    number = int(digits.encode().translate(_BASE_32), 32)
    key = (number >> _ID_SHIFT).to_bytes(KEY_BYTES, "big")
    checksum = reduce(xor, map(getitem, _SHARES, key), _CHECKSUM_OF_ZEROS[prefix])
    # Padding that is not zero is refused here too: the checksum has none of it.
    return key if number & (1 << _ID_SHIFT) - 1 == checksum else None


def _regroup(values: Sequence[int], width_from: int, width_to: int) -> list[int]:
    """Re-cut a bit string, most significant bit first; the last group is padded with zeros."""
    pool, pool_bits, out = 0, 0, []
    for value in values:
        pool = pool << width_from | value
        pool_bits += width_from
        while pool_bits >= width_to:
            pool_bits -= width_to
            out.append(pool >> pool_bits)
            pool &= (1 << pool_bits) - 1
    if pool_bits:
        out.append(pool << width_to - pool_bits)
    return out


def _check_prefix(prefix: str, field: str) -> None:
    if not 1 <= len(prefix) <= _PREFIX_MAX:
        raise Malformed(field, f"has a prefix of {len(prefix)} characters")
    if not all("\x21" <= char <= "\x7e" for char in prefix):
        raise Malformed(field, "has a character outside printable ASCII")


def _spread(prefix: str) -> list[int]:
    """BIP-173: high bits of the prefix, zero, low bits, so that the checksum covers both."""
    return [ord(char) >> 5 for char in prefix] + [0] + [ord(char) & 31 for char in prefix]


def _polymod(values: Sequence[int]) -> int:
    """BIP-173: the remainder of the BCH code over GF(32) with our text as polynomial."""
    remainder = 1
    for value in values:
        remainder = (remainder & 0x1FFFFFF) << 5 ^ value ^ _REDUCTION[remainder >> 25]
    return remainder


def _shares() -> tuple[tuple[int, ...], ...]:
    """What each octet of an id, by its place and value, adds to the checksum.

    A remainder is linear over bits, so eight of each place, one a bit, make the other 248.
    """
    # By its place from the text's end, what one bit leaves: nothing is divided off the last six.
    of_bit = [1 << bit for bit in range(_CHECKSUM_BITS)]
    for bit in range(_CHECKSUM_BITS, 5 * _ID_CHARS):
        below = of_bit[bit - 5]
        of_bit.append((below & 0x1FFFFFF) << 5 ^ _REDUCTION[below >> 25])
    tables = []
    for end in range(_ID_SHIFT + 8 * (KEY_BYTES - 1), _ID_SHIFT - 1, -8):
        shares = [0]
        for share in of_bit[end : end + 8]:
            shares += [share ^ other for other in shares]
        tables.append(tuple(shares))
    return tuple(tables)


# Worked out once: nearly every question and answer has an address, and this is most of its cost.
_SHARES: Final = _shares()
_CHECKSUM_OF_ZEROS: Final = MappingProxyType(
    {
        prefix: _polymod([*_spread(prefix), *(0,) * _ID_CHARS]) ^ _BECH32M
        for prefix in (ACCOUNT_PREFIX, AUTHORITY_PREFIX)
    }
)
