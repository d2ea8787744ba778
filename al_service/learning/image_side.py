"""Which square a network sees: chosen once from the images' own sizes, the same in the service and in a simulation."""

from collections.abc import Sequence

import numpy as np

from al_service.domain.project_config import ProjectConfig
from al_service.learning import networks

SMALL_CNN_SIDES = (8, 16, 24, 32, 48, 64)
SMALL_IMAGE_FAMILY = "cifar_"
TORCHVISION_PX = 224
SIZES_LOOKED_AT = 2000


def choose_image_px(config: ProjectConfig, sizes: Sequence[tuple[int, int]]) -> int:
    """Side of the square the model sees: as set, else from the images' median short side.

    Networks for small images (small_cnn, cifar_resnet20) take the smallest of the usual sides that is not below it (at
    most 64); the others take 224, or the images' own size when that is smaller and at least 32.
    """
    if config.image_px:
        return config.image_px
    short = int(np.median([min(size) for size in sizes])) if sizes else SMALL_CNN_SIDES[-1]
    if config.network == networks.SMALL_CNN or config.network.startswith(SMALL_IMAGE_FAMILY):
        return next((side for side in SMALL_CNN_SIDES if side >= short), SMALL_CNN_SIDES[-1])
    return min(TORCHVISION_PX, max(32, short))
