"""CIFAR's residual networks: three stages of basic blocks, shortcuts without parameters. Built by networks.py.

The names of the tensors (conv1, bn1, layer1.0.conv1, ..., and linear for the classifier, which is not here) are those
of the usual public files, so that these load unchanged.

Source: He, Zhang, Ren, Sun 2016, section 4.2 (option A shortcuts).
"""

from torch import Tensor, nn

#: Name -> blocks in each of the three stages; depth = 6 blocks + 2.
CIFAR_RESNETS = {"cifar_resnet20": 3, "cifar_resnet32": 5, "cifar_resnet44": 7, "cifar_resnet56": 9}
CLASSIFIER_NAME = "linear"


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: the input itself, or every second pixel of it with zero channels around."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self._stride = stride
        self._added_channels = channels - channels_in

    def forward(self, maps: Tensor) -> Tensor:
        """(N, channels_in, h, w) -> (N, channels, h / stride, w / stride)."""
        inner = nn.functional.relu(self.bn1(self.conv1(maps)))
        return nn.functional.relu(self.bn2(self.conv2(inner)) + self._shortcut(maps))

    def _shortcut(self, maps: Tensor) -> Tensor:
        if self._stride == 1 and self._added_channels == 0:
            return maps
        before = self._added_channels // 2
        padding = (0, 0, 0, 0, before, self._added_channels - before)
        return nn.functional.pad(maps[:, :, :: self._stride, :: self._stride], padding)


class CifarResNet(nn.Module):
    """(N, 3, H, W) normalised images -> (N, 64) embeddings: the mean of the last maps.

    Args:
        blocks: of each stage; 3 makes ResNet-20, which has 270 000 parameters and needs 41 million multiplications at
            32 px.
    """

    width = 64

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, self.width, blocks, stride=2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        maps = nn.functional.relu(self.bn1(self.conv1(images)))
        return self.layer3(self.layer2(self.layer1(maps))).mean((2, 3))  # (N, D, h, w) -> (N, D)


def _stage(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(channels_in, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))
