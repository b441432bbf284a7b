"""Seeded images over HTTP, by Ray Serve: the same seed, the same bytes, whatever else is being asked.

Rooms below know nothing of requests; this one must not know how images are drawn or trained.
"""
