"""Which device a model runs on, by preference. Called by the worker once, and by `al doctor`."""

import torch

from al_service.errors import InvalidInputError, UnavailableError


class DeviceUnavailableError(UnavailableError):
    """The device asked for is not on this machine, or torch cannot use it."""

    code = "device_unavailable"


def choose(preference: str = "auto") -> torch.device:
    """The device to run on: "auto" takes a GPU where there is one.

    Args:
        preference: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        InvalidInputError: another word.
        DeviceUnavailableError: a GPU is asked for and there is none, or not that many.

    >>> choose("cpu")
    device(type='cpu')
    """
    kind, _, index = preference.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (":" in preference and not (kind == "cuda" and index.isdecimal())):
        raise InvalidInputError(f"device {preference!r} is unknown; expected auto, cpu, cuda or cuda:N")
    if kind == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "auto":
        return torch.device("cuda" if count else "cpu")
    if int(index or 0) >= count:
        raise DeviceUnavailableError(
            f"device {preference!r} is not usable: torch {torch.__version__} sees {count} CUDA devices. "
            "Check the driver, or choose cpu or auto."
        )
    return torch.device(preference)
