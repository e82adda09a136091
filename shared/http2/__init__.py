"""HTTP/2 as gRPC uses it: what a client and a server have in common, and the server.

It works for any gRPC service and knows nothing of Gaia.
"""
