"""The shapes of other servers on this one, beside the native one.

Each protocol is two pure functions: `decode` takes a body to the texts it holds, `encode` takes their scores
to the body of the answer. What lies between is the same for all.
"""
