"""A long run of Gaia's own HTTP/2, server and client, in search of what is lost a little at a time.

`python -m tests.soak` is no part of `make test`.
"""
