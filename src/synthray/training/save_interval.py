"""How often to save: the interval that loses least, by Young's and Daly's models of random faults.

A save stops training for C seconds, faults come at random every M seconds on average, and each costs the work
since the last save. J. W. Young, "A first order approximation to the optimum checkpoint interval",
Communications of the ACM 17 (1974) 530-531; J. T. Daly, "A higher order estimate of the optimum checkpoint
interval for restart dumps", Future Generation Computer Systems 22 (2006) 303-312. Pure arithmetic.

The upload goes on beside training and stops nothing: it adds its own time to what a fault costs, whatever the
interval, and bounds the interval from below.
"""

import math


def young_interval(save_seconds: float, fault_seconds: float) -> float:
    """Young's T = sqrt(2 C M): seconds of training between two saves."""
    return math.sqrt(2 * save_seconds * fault_seconds)


def daly_interval(save_seconds: float, fault_seconds: float) -> float:
    """Daly's equation 37: T = sqrt(2 C M) (1 + sqrt(C / 2M) / 3 + (C / 2M) / 9) - C, and M if C >= 2M."""
    if save_seconds >= 2 * fault_seconds:
        return fault_seconds
    ratio = save_seconds / (2 * fault_seconds)
    return young_interval(save_seconds, fault_seconds) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - save_seconds


def lost_ratio(interval_seconds: float, save_seconds: float, fault_seconds: float) -> float:
    """The share of time lost to saves and to work done twice: Daly's equation 20, with restarts at no cost.

    A useful interval T takes M (exp((T + C) / M) - 1) seconds on average.
    """
    exponent = (interval_seconds + save_seconds) / fault_seconds
    if exponent > 700:  # the largest that a double can raise e to
        return 1.0
    return 1 - interval_seconds / (fault_seconds * math.expm1(exponent))
