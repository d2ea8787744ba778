"""The child process of pixels.decode_pixels: `python -m al_service.learning.decoding_process FD`.

Takes (image_px, [bytes of a file, ...]) from the socket FD, gives the pixels of all of them as one block of bytes, or
(position, reason, message) of the first that cannot be decoded. Ends when the other side goes away. Loads no torch.
"""

import contextlib
import sys
from multiprocessing.connection import Connection

from al_service import images


def pixels_of(data: bytes, image_px: int) -> bytes:
    """Row by row, as `images.square_pixels` has them."""
    return images.plain_jpeg_bytes(data, image_px) or images.square_pixels(data, image_px).tobytes()


def main(descriptor: int) -> None:
    """Answer until the other side closes."""
    connection: Connection = Connection(descriptor)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            _answer(connection)


def _answer(connection: Connection) -> None:
    image_px, files = connection.recv()
    decoded = []
    for position, data in enumerate(files):
        try:
            decoded.append(pixels_of(data, image_px))
        except images.UnreadableImageError as error:
            connection.send((position, error.reason, error.message))
            return
    connection.send(None)
    connection.send_bytes(b"".join(decoded))


if __name__ == "__main__":
    main(int(sys.argv[1]))
