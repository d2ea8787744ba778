"""The default network for small images. Built by backbones.py."""

from torch import Tensor, nn

SMALL_CNN = "small_cnn"
SMALL_CNN_PX = (8, 64)


class SmallCnn(nn.Module):
    """Four convolutions with group normalisation for images up to 64 px; the embedding is the mean of the last maps.

    Group normalisation, because a first round may train on two images. 130 000 parameters, 13 million multiplications
    at 32 px.
    """

    width = 128

    def __init__(self, image_px: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(3, 32, stride=2 if image_px >= 48 else 1),
            nn.MaxPool2d(2),
            *_convolution(32, 64),
            nn.MaxPool2d(2) if image_px >= 16 else nn.Identity(),
            *_convolution(64, 64),
            *_convolution(64, self.width),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images).mean((2, 3))  # (N, D, h, w) -> (N, D)


def _convolution(channels_in: int, channels_out: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(8, channels_out),
        nn.ReLU(inplace=True),
    )
