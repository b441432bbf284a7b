"""Seeded pictures: the same seed gives the same bytes, whatever else is being drawn.

`serve`, `generate`, `verify` and a run's previews all draw here, in slots of one fixed batch shape. This
package knows models and stores; it must import neither Ray nor the training loop.
"""
