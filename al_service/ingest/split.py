"""The protected evaluation split: which images may never be trained on, decided by their content alone.

In words: hash the seed together with the image's content hash, read the result as a number in [0, 1), and take the
image if that number is below the fraction. So the answer for one image depends on no other image: the same in any
order, after a killed and repeated import, for a copy under another name, and when more images come later. A larger
fraction keeps all members of a smaller one. What this cannot do: hit the fraction exactly (the count is binomial: of
100 images at 0.2, 12 to 28 in 95 of 100 cases), or give every class its share. Callers that need a least number say so
to the user instead of drawing again, which would let chance choose until it fits.
"""

import hashlib

from al_service.errors import InvalidInputError


class InvalidFractionError(InvalidInputError):
    """A share outside 0..1."""

    code = "invalid_fraction"


def in_evaluation(content_sha256: str, *, fraction: float, seed: int) -> bool:
    """Return True if the image with this content hash (hex) belongs to the evaluation split.

    Raises:
        InvalidFractionError: fraction is outside [0, 1] or NaN.
    """
    if not 0.0 <= fraction <= 1.0:
        raise InvalidFractionError(f"fraction is {fraction}, expected 0 to 1, such as 0.2")
    digest = hashlib.sha256(f"al-evaluation:{seed}:{content_sha256.lower()}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64
