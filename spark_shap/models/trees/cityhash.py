"""The hash by which CatBoost knows categories: the low 32 bits of CityHash64, version 1.0, of the UTF-8 text.

After Pike and Alakuijala (2011), "CityHash: fast hash functions for strings". Models saved without their
training data hold the hashes of categories and not the categories.
"""

from __future__ import annotations

__all__ = ["category_hash"]

_MASK = 2**64 - 1
_K0, _K1, _K2, _K3 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F, 0xC949D7C7509E6557
_MULTIPLIER = 0x9DDFEA08EB382D69


def category_hash(text: str) -> int:
    """Return the hash of a category, 0 to 2**32 - 1."""
    data = text.encode()
    if len(data) <= 16:
        return _up_to_16(data) & 0xFFFFFFFF
    if len(data) <= 32:
        return _up_to_32(data) & 0xFFFFFFFF
    return (_up_to_64(data) if len(data) <= 64 else _beyond_64(data)) & 0xFFFFFFFF


def _word(data: bytes, start: int, size: int = 8) -> int:
    return int.from_bytes(data[start : start + size], "little")


def _rotate(value: int, shift: int) -> int:
    value &= _MASK
    return ((value >> shift) | (value << (64 - shift))) & _MASK


def _mix(value: int) -> int:
    value &= _MASK
    return value ^ (value >> 47)


def _pair(low: int, high: int) -> int:
    low, high = low & _MASK, high & _MASK
    first = _mix((low ^ high) * _MULTIPLIER)
    return _mix((high ^ first) * _MULTIPLIER) * _MULTIPLIER & _MASK


def _up_to_16(data: bytes) -> int:
    size = len(data)
    if size > 8:
        last = _word(data, size - 8)
        return _pair(_word(data, 0), _rotate(last + size, size)) ^ last
    if size >= 4:
        return _pair(size + (_word(data, 0, 4) << 3), _word(data, size - 4, 4))
    if size:
        return _mix((data[0] + (data[size >> 1] << 8)) * _K2 ^ (size + (data[-1] << 2)) * _K3) * _K2 & _MASK
    return _K2


def _up_to_32(data: bytes) -> int:
    size = len(data)
    a, b = _word(data, 0) * _K1, _word(data, 8)
    c, d = _word(data, size - 8) * _K2, _word(data, size - 16) * _K0
    return _pair(_rotate(a - b, 43) + _rotate(c, 30) + d, a + _rotate(b ^ _K3, 20) - c + size)


def _half(data: bytes, start: int, a: int, z: int) -> tuple[int, int]:
    """Return two words of the 32 bytes from `start` on, and of two seeds."""
    b, c = _rotate(a + z, 52), _rotate(a, 37)
    a += _word(data, start + 8)
    c += _rotate(a, 7)
    a += _word(data, start + 16)
    return a + z, b + _rotate(a, 31) + c


def _up_to_64(data: bytes) -> int:
    size = len(data)
    a = _word(data, 0) + (size + _word(data, size - 16)) * _K0
    v = _half(data, 0, a, _word(data, 24))
    a = _word(data, 16) + _word(data, size - 32)
    w = _half(data, size - 32, a, _word(data, size - 8))
    return _mix(_mix((v[0] + w[1]) * _K2 + (w[0] + v[1]) * _K0) * _K0 + v[1]) * _K2 & _MASK


def _weak(data: bytes, start: int, a: int, b: int) -> tuple[int, int]:
    first, last = _word(data, start), _word(data, start + 24)
    a += first
    b = _rotate(b + a + last, 21)
    total = a + _word(data, start + 8) + _word(data, start + 16)
    return total + last, b + _rotate(total, 44) + a


def _beyond_64(data: bytes) -> int:
    size = len(data)
    x, y, z = _word(data, 0), _word(data, size - 16) ^ _K1, _word(data, size - 56) ^ _K0
    v, w = _weak(data, size - 64, size, y), _weak(data, size - 32, size * _K1, _K0)
    z += _mix(v[1]) * _K1
    x, y = _rotate(z + x, 39) * _K1, _rotate(y, 33) * _K1
    for start in range(0, (size - 1) // 64 * 64, 64):
        x = _rotate(x + y + v[0] + _word(data, start + 16), 37) * _K1 ^ w[1]
        y = _rotate(y + v[1] + _word(data, start + 48), 42) * _K1 ^ v[0]
        z = _rotate(z ^ w[0], 33)
        v = _weak(data, start, v[1] * _K1, x + w[0])
        w = _weak(data, start + 32, z + w[1], y)
        z, x = x, z
    return _pair(_pair(v[0], w[0]) + _mix(y) * _K1 + z, _pair(v[1], w[1]) + x)
