"""From raw images to micro-batches: prepare, shards, index, order, node cache, stream.

It knows nothing of torch: workers hand its arrays to the loop, and the command line prepares without a GPU
stack. It must import neither torch nor ray nor `synthray.checkpoints`.
"""
