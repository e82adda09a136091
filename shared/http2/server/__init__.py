"""A gRPC server over HTTP/2 of our own: the event loop's own sockets, and no thread beside it.

`grpc.aio`'s server costs some 600 µs of a call between threads that wake each other on a machine where that is dear.
Here a call costs part of a read, one task and one write. What makes that so:

- Clients are told to compress headers without a dynamic table, so that a block can be read by itself (`requests`).
- Answers are made of blocks that are ready; a unary one is written at once (`call`).
- Interceptors are put together once, not for each call (`serving`).
- Flow-control windows are given back in large steps (`call`, `connection`).
"""
