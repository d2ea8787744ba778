"""Draws that anybody can repeat: a share of things by a keyed hash of what each is, however often one asks."""

import hashlib


def is_drawn(what: str, key: str, *, share: float, seed: int) -> bool:
    """True for that share of all keys, the same ones each time.

    Args:
        what: names the draw, so that two draws of one project do not pick the same things.
        key: what is drawn, e.g. an image's content hash.
        share: 0 to 1.

    >>> is_drawn("overlap", "ab" * 32, share=1.0, seed=0), is_drawn("overlap", "ab" * 32, share=0.0, seed=0)
    (True, False)
    """
    digest = hashlib.sha256(f"al-{what}:{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
