"""Choosing a device."""

import pytest
import torch

from al_service.errors import InvalidInputError
from al_service.learning import device


def test_auto_takes_a_gpu_where_there_is_one():
    assert device.choose("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device.choose("cpu") == torch.device("cpu")


def test_a_gpu_that_is_not_there_is_named():
    with pytest.raises(device.DeviceUnavailableError, match=r"cuda:99.*choose cpu"):
        device.choose("cuda:99")


@pytest.mark.parametrize("preference", ["gpu", "", "cpu:0", "cuda:", "cuda:x", "auto:1"])
def test_another_word_is_refused(preference):
    with pytest.raises(InvalidInputError, match="expected auto"):
        device.choose(preference)
