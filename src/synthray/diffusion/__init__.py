"""The mathematics and the model: noise, schedules, objective, samplers, moving average, the UNet itself.

Everything here is a function of its arguments: no clock, no rank, no global generator. What concerns one
sample never depends on which other samples share its batch.
"""
