"""What `prepare` is asked for, judged before anything is read: values that no dataset can have are refused.

It must not read images or write anything.
"""

from synthray.errors import InvalidInput

# UNets halve the picture at least three times.
_SIZE_MULTIPLE_PX = 8
_MAX_SIZE_PX = 4096


def check_arguments(
    *, size_px: int, channels: int, holdout: float, max_bad: float | None, workers: int | None
) -> None:
    """Raise InvalidInput, naming the option, its value and a value to use instead."""
    _check_size(size_px)
    if channels not in (1, 3):
        raise InvalidInput(f"--channels={channels} is neither 1 (grey) nor 3 (RGB); X-rays need 1")
    if not 0 <= holdout < 1:
        raise InvalidInput(
            f"--holdout={holdout} is not a share from 0 to below 1; use the share of patients to hold"
            " out: 0.05"
        )
    if max_bad is not None and not 0 <= max_bad <= 1:
        raise InvalidInput(
            f"--max-bad={max_bad} is not a share from 0 to 1; use the share of images that may be bad: 0.05"
        )
    if workers is not None and workers < 1:
        raise InvalidInput(f"--workers={workers} is below 1; use the number of cores, or leave it out")


def allowed_bad_images(num_images: int, max_bad: float | None) -> int:
    """How many of a source's images may be bad: the share `max_bad`, to the letter.

    Left out, it is a twentieth; but in a small set, where a share says little, one in eight up to a dozen.
    """
    if max_bad is not None:
        return int(max_bad * num_images + 1e-9)  # 0.29 x 100 is 28.999...
    return max(num_images // 20, min(num_images // 8, 12))


def refuse_nesting(destination_uri: str, images_uri: str) -> None:
    """Raise InvalidInput for a destination where its own files would be taken for images of the source."""
    if f"{destination_uri}/".startswith(f"{images_uri}/"):
        raise InvalidInput(
            f"the destination {destination_uri} lies among the images of the source, {images_uri}; choose a"
            " destination beside it"
        )


def _check_size(size_px: int) -> None:
    if _SIZE_MULTIPLE_PX <= size_px <= _MAX_SIZE_PX and size_px % _SIZE_MULTIPLE_PX == 0:
        return
    bounded = min(max(size_px, _SIZE_MULTIPLE_PX), _MAX_SIZE_PX)
    lower = bounded - bounded % _SIZE_MULTIPLE_PX
    remedy = f"{lower} or {lower + _SIZE_MULTIPLE_PX}" if bounded == size_px else str(bounded)
    raise InvalidInput(
        f"--size={size_px} is not a multiple of {_SIZE_MULTIPLE_PX} from {_SIZE_MULTIPLE_PX} to"
        f" {_MAX_SIZE_PX} px; use {remedy}"
    )
