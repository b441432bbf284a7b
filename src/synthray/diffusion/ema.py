"""How fast the moving average of the weights forgets.

By images and not by steps, so that it does not change with the batch size, and a function of the counter
alone, so that a resumed run goes on exactly.
"""


def ema_decay(batch_images: int, images_seen: int, *, halflife_images: float, rampup_ratio: float) -> float:
    """The factor in 0 to 1 that the average keeps over a batch: 0.5^(batch_images / half-life).

    The half-life is at most `rampup_ratio` x `images_seen` (counted after the batch), so that a young average
    forgets the untrained weights soon (EDM, 2206.00364, table 7 and section F). A half-life of 0 keeps none.
    """
    halflife = min(halflife_images, images_seen * rampup_ratio)
    return 0.5 ** (batch_images / halflife) if halflife > 0 else 0.0
