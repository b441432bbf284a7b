"""Bodies of requests and answers: OpenAI's images envelope, with seeds.

What OpenAI's clients always send and an unconditional model has no use for is accepted and named as such;
every other unknown field is refused, so that a misspelled seed is not a random one.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from synthray.api.v1alpha1.fields import SEED_MAX
from synthray.api.v1alpha1.generation_service import SamplerName
from synthray.generation.receipts import MAX_STEPS


class ImagesRequest(BaseModel):
    """Images for the seeds seed, seed + 1, ... seed + n - 1."""

    model_config = ConfigDict(extra="forbid")

    seed: Annotated[int, Field(strict=True, ge=0, le=SEED_MAX, description="Of the first image.")]
    n: Annotated[int, Field(strict=True, ge=1, le=10_000, description="Images; image i uses seed + i.")] = 1
    steps: Annotated[int, Field(strict=True, ge=1, le=MAX_STEPS)] | None = Field(
        default=None, description="Denoising steps; left out: the service's."
    )
    sampler: SamplerName | None = Field(default=None, description="Left out: the service's.")
    response_format: Literal["b64_json", "url"] = Field(
        default="b64_json", description="PNGs in the answer, or the addresses at which they are drawn again."
    )
    size: Annotated[str, Field(max_length=16)] = Field(
        default="auto", description="auto, or the model's own size, such as 512x512."
    )
    model: Annotated[str, Field(max_length=1024)] = Field(
        default="", description="Left out, or the model that is served, as GET /v1/models names it."
    )
    prompt: Annotated[str, Field(max_length=4096)] = Field(
        default="", description="Of no effect: the model is unconditional."
    )
    user: Annotated[str, Field(max_length=256)] = Field(default="", description="Of no effect.")


class ImageAnswer(BaseModel):
    """One image; `sha256` is over its raw pixels."""

    seed: int
    sha256: str
    url: str
    b64_json: str | None = None


class ImagesAnswer(BaseModel):
    """OpenAI's envelope, and all that an image depends on beside its seed."""

    created: int
    data: list[ImageAnswer]
    model: str
    model_digest: str
    sampler: str
    steps: int
    profile: str


class JobImageAnswer(BaseModel):
    """One image of a job that is done: where it is kept, and where this service hands it out."""

    seed: int
    sha256: str
    uri: str
    url: str


class JobAnswer(BaseModel):
    """A job; `results` are the images that are done, in the order of their seeds."""

    id: str
    object: Literal["job"] = "job"
    status: Literal["queued", "running", "succeeded", "failed", "canceled"]
    message: str = Field(description="Why it failed or waits; empty if all is well.")
    created: int
    seed: int
    n: int
    sampler: str
    steps: int
    model: str
    model_digest: str
    profile: str
    done: int = Field(description="Images that are done and kept.")
    progress: float = Field(description="0 to 1.")
    uri: str = Field(description="Where all of it is kept.")
    csv: str | None = Field(default=None, description="The list of seeds and hashes, once all are done.")
    results: list[JobImageAnswer]


class JobProgress(BaseModel):
    """What a job's events tell."""

    id: str
    status: Literal["queued", "running", "succeeded", "failed", "canceled"]
    message: str
    done: int
    n: int


class ModelAnswer(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "synthray"
    uri: str
    digest: str
    size: str
    profile: str
    sampler: str = Field(description="If a request does not say.")
    steps: int = Field(description="If a request does not say.")
    max_steps: int


class PreviewAnswer(BaseModel):
    """An image that the model's run drew of a fixed seed while it trained."""

    images_seen: int
    epoch: int
    weights: str
    seed: int
    url: str


class PreviewsAnswer(BaseModel):
    """All of them, oldest first; none if the model is not of a run."""

    object: Literal["list"] = "list"
    data: list[PreviewAnswer]


class ModelsAnswer(BaseModel):
    """OpenAI's list of models."""

    object: Literal["list"] = "list"
    data: list[ModelAnswer]


class VerifyAnswer(BaseModel):
    """Whether an image is what its receipt says; `differences` say why not, `notes` do not matter."""

    verified: bool
    seed: int
    differences: list[str]
    notes: list[str]


class Problem(BaseModel):
    """What is wrong, with the remedy; `param` is the field."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ProblemAnswer(BaseModel):
    """OpenAI's envelope for errors."""

    error: Problem
