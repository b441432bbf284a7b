"""What is learned and how: the diffusion process, augmentation, and the optimizer."""

from typing import Annotated, Literal

from pydantic import Field

from synthray.api.v1alpha1.fields import ApiModel, Remedy

PredictionType = Literal["epsilon", "v_prediction", "sample"]
ScheduleName = Literal["linear", "cosine", "shifted_cosine"]
Precision = Literal["auto", "fp32", "fp16", "bf16"]
Decay = Literal["constant", "inverse_square_root", "linear"]

_MAX_IMAGES = 10**12


class Diffusion(ApiModel):
    """The noising process and what the network predicts of it."""

    prediction_type: PredictionType = Field(
        default="v_prediction",
        description="What the network answers: the noise (epsilon), the image (sample), or "
        "v = alpha noise - sigma image.",
    )
    schedule: ScheduleName = Field(
        default="cosine",
        description="How noise grows over the 1,000 timesteps. shifted_cosine adds more of it at higher "
        "resolutions, where neighbouring pixels repeat each other.",
    )
    zero_terminal_snr: bool = Field(
        default=True,
        description="Leave no trace of the image at the last timestep, so that sampling from pure noise "
        "sees what training saw. Undefined with predictionType epsilon.",
    )
    min_snr_gamma: float | None = Field(
        default=None,
        ge=0.01,
        le=1000,
        description="Weigh the loss by min-SNR with this gamma (5 in the paper, 2303.09556). Left out: "
        "every timestep weighs the same.",
    )


class Augmentation(ApiModel):
    """Changes of the training images; none by default."""

    horizontal_flip: bool = Field(
        default=False,
        description="Mirror half of the images. A mirrored chest is another diagnosis (situs inversus): "
        "leave it off for X-rays.",
    )


class LearningRateSchedule(ApiModel):
    """The learning rate by images seen: warm-up, then a decay with a length of its own.

    It never depends on epochs, so that raising epochs equals a longer unbroken run.
    """

    warmup_images: int = Field(
        default=10_000,
        ge=0,
        le=_MAX_IMAGES,
        description="Images over which the rate rises from 0 to its peak.",
    )
    decay: Decay = Field(
        default="constant",
        description="What follows the warm-up: constant; inverse_square_root, peak / "
        "sqrt(max(images / decayImages, 1)); or linear, to 0 over decayImages.",
    )
    decay_images: int = Field(
        default=0,
        ge=0,
        le=_MAX_IMAGES,
        description="Length of the decay; needed by inverse_square_root and linear, 0 for constant.",
    )


class ExponentialMovingAverage(ApiModel):
    """The average of the weights that models are made of, by images seen."""

    halflife_images: int = Field(
        default=500_000,
        ge=0,
        le=_MAX_IMAGES,
        description="Images after which a weight's share in the average has halved; 0: no averaging.",
    )
    rampup_ratio: float = Field(
        default=0.05,
        ge=0.001,
        le=1,
        description="The half-life is at most this share of the images seen, so that a young average forgets "
        "the untrained weights soon.",
    )


class Optimization(ApiModel):
    """Batches, AdamW, precision, and how long to train."""

    epochs: int = Field(
        ge=1,
        le=1_000_000,
        description="Passes over the training images. May be raised later: the run goes on as if it had "
        "never ended.",
        examples=[220],
    )
    global_batch_size: int = Field(
        default=64,
        ge=1,
        le=65_536,
        description="Images of one optimizer step over all workers, however many there are.",
    )
    micro_batch_size: int = Field(
        default=4,
        ge=1,
        le=1024,
        description="Images that a worker computes at once; divides globalBatchSize. Smaller needs less "
        "GPU memory.",
    )
    learning_rate: float = Field(default=1e-4, ge=1e-9, le=1, description="Peak learning rate of AdamW.")
    learning_rate_schedule: LearningRateSchedule = Field(
        default=LearningRateSchedule(), description="The learning rate by images seen."
    )
    beta1: float = Field(default=0.95, ge=0, le=0.9999, description="AdamW's decay of the mean of gradients.")
    beta2: float = Field(
        default=0.999, ge=0, le=0.999999, description="AdamW's decay of the mean of squared gradients."
    )
    epsilon: float = Field(default=1e-8, ge=1e-12, le=1, description="AdamW's term against division by zero.")
    weight_decay: float = Field(default=1e-6, ge=0, le=1, description="AdamW's decoupled weight decay.")
    gradient_clip_norm: Annotated[float, Remedy("for no clipping use 1000", when="below")] = Field(
        default=1.0, ge=1e-6, le=1e6, description="Scale a longer gradient down to this L2 norm."
    )
    ema: ExponentialMovingAverage = Field(
        default=ExponentialMovingAverage(), description="The moving average of the weights."
    )
    precision: Precision = Field(
        default="auto",
        description="Numbers of the forward and backward pass; weights, noise and loss are always fp32. "
        "auto: bf16 on NVIDIA Ampere and later, fp16 before, fp32 on a CPU; decided by the first attempt.",
    )
