"""Training: a plain torch loop, and the Ray driver that starts it, watches it and starts it again."""
