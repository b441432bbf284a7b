"""Whether this service can draw what is asked: its model, its size, its limits.

All raise BadField with the field, the value and the remedy.
"""

from synthray.api.v1alpha1.fields import SEED_MAX
from synthray.serving.failures import BadField
from synthray.serving.requests import ImagesRequest
from synthray.serving.service import Service


def name_model(uri: str) -> str:
    """A model's own name: the last part of its address."""
    return uri.rstrip("/").rpartition("/")[2]


def require_within_limits(service: Service, wanted: ImagesRequest, steps: int) -> None:
    """All but the number of images."""
    if wanted.seed + wanted.n - 1 > SEED_MAX:
        raise BadField(
            "seed", f"seed={wanted.seed} with n={wanted.n} goes beyond {SEED_MAX}; use a smaller one"
        )
    if wanted.size not in ("auto", service.size):
        raise BadField("size", f"size={wanted.size!r} is not the model's; use {service.size} or auto")
    if wanted.model:
        require_model(service, wanted.model)
    require_steps(service, steps)


def require_few(service: Service, wanted: ImagesRequest) -> None:
    """So few images as one answer may hold."""
    most = service.settings.limits.max_images_per_request
    if wanted.n > most:
        raise BadField(
            "n",
            f"n={wanted.n} is above {most}, the most images of one request; ask in parts, or at /v1/jobs",
        )


def require_steps(service: Service, steps: int) -> None:
    """No more steps than this service draws."""
    most = service.settings.limits.max_steps
    if steps > most:
        raise BadField("steps", f"steps={steps} is above {most}, the most that this service draws; use fewer")


def require_model(service: Service, name: str) -> bool:
    """Whether `name` is the model's own, which never means another one; raises BadField for another model."""
    own = name_model(service.model.uri)
    if name == own:
        return True
    if name == str(service.settings.which):
        return False
    raise not_served(service, name)


def not_served(service: Service, name: str) -> BadField:
    """The complaint about another model than the one that is served."""
    choice = f"{name_model(service.model.uri)} or {service.settings.which}"
    return BadField("model", f"{name!r} is not served here; use {choice}")
