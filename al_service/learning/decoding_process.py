"""The child process of decoding.Decoder: `python -m al_service.learning.decoding_process FD`.

Takes (image_px, pixels_max, [bytes of a file, ...]) from the socket FD, gives [(position, reason, message), ...] of
those that cannot be decoded and then the pixels of all as one block of bytes, zeros for those. Ends when the other side
goes away. Loads no torch.
"""

import contextlib
import sys
from multiprocessing.connection import Connection

from al_service import images

#: Position in a block, reason and message of a file that cannot be decoded.
Refusal = tuple[int, str, str]


def pixels_of(data: bytes, image_px: int, pixels_max: int) -> bytes:
    """Row by row, as `images.square_pixels` has them."""
    ready = images.plain_jpeg_bytes(data, image_px) if image_px * image_px <= pixels_max else None
    return ready or images.square_pixels(data, image_px, pixels_max=pixels_max).tobytes()


def main(descriptor: int) -> None:
    """Answer until the other side closes."""
    connection: Connection = Connection(descriptor)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            _answer(connection)


def _answer(connection: Connection) -> None:
    image_px, pixels_max, files = connection.recv()
    decoded: list[bytes] = []
    refused: list[Refusal] = []
    for position, data in enumerate(files):
        try:
            decoded.append(pixels_of(data, image_px, pixels_max))
        except images.UnreadableImageError as error:
            refused.append((position, error.reason, error.message))
            decoded.append(bytes(image_px * image_px * 3))
    connection.send(refused)
    connection.send_bytes(b"".join(decoded))


if __name__ == "__main__":
    main(int(sys.argv[1]))
