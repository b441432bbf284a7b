"""What survives: committed models and states, the chain of attempts, and who may write to it.

Nothing here imports torch: the process that uploads must stay small, and a head node that looks for a state
to resume from has no GPU library.
"""
