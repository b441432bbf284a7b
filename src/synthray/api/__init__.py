"""What users write: the objects, their rules and messages, and every derived name.

It holds no behaviour of training or of a cluster, so that the command line, the operator and a pod can all
read the same file in the same way. It imports neither torch nor numpy nor any client.
"""
