"""Passwords at rest: Argon2id by argon2-cffi, with the parameters that OWASP advises (19 MiB, two passes, one lane).

About 30 ms and 19 MiB a check, on purpose; as many run at once as the web server has threads. Hashes of earlier
versions (scrypt) are still read, and replaced when their person signs in.

Source: OWASP Password Storage Cheat Sheet; RFC 9106 (Argon2).
"""

import hashlib
import hmac
from base64 import b64decode

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from al_service.errors import InvalidInputError

PASSWORD_LENGTH_MIN = 8
PASSWORD_LENGTH_MAX = 1000
_EARLIER = "scrypt$"
_MEMORY_KIB, _PASSES, _LANES = 19 * 1024, 2, 1
_HASHER = PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=_LANES)
#: Checked when there is no hash to check, so that guessing names by timing does not work. No password hashes to zeros.
_DUMMY_HASH = f"$argon2id$v=19$m={_MEMORY_KIB},t={_PASSES},p={_LANES}${'A' * 22}${'A' * 43}"


def hash_password(password: str) -> str:
    """The hash to store, salted, with its parameters in it.

    Raises:
        InvalidInputError: not 8 to 1000 characters.
    """
    if not PASSWORD_LENGTH_MIN <= len(password) <= PASSWORD_LENGTH_MAX:
        raise InvalidInputError(f"a password needs {PASSWORD_LENGTH_MIN} to {PASSWORD_LENGTH_MAX} characters")
    return _HASHER.hash(password)


def check_password(password: str, stored: str | None) -> bool:
    """True when the password fits; takes as long when there is nothing stored."""
    if stored is not None and stored.startswith(_EARLIER):
        return _fits_earlier(password, stored)
    try:
        fits = _HASHER.verify(stored or _DUMMY_HASH, password[:PASSWORD_LENGTH_MAX])
    except VerificationError:
        return False
    return fits and stored is not None


def is_outdated(stored: str) -> bool:
    """True for a hash that this version would make otherwise."""
    return stored.startswith(_EARLIER) or _HASHER.check_needs_rehash(stored)


def _fits_earlier(password: str, stored: str) -> bool:
    _, cost, salt, digest = stored.split("$")
    made = hashlib.scrypt(
        password[:PASSWORD_LENGTH_MAX].encode(), salt=b64decode(salt), n=int(cost), r=8, p=1, maxmem=2**26, dklen=32
    )
    return hmac.compare_digest(made, b64decode(digest))
