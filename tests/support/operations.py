"""A server of somebody else's contract: google.longrunning.Operations, with the code that Google generated for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc  # type: ignore[import-untyped]  # no stubs exist
from google.protobuf import empty_pb2, wrappers_pb2
from grpc_reflection.v1alpha import reflection

NAME = "google.longrunning.Operations"


class Operations(operations_pb2_grpc.OperationsServicer):  # type: ignore[misc]  # has no types
    """Operations in memory; `metadata` is that of the last call."""

    def __init__(self) -> None:
        self.metadata: dict[str, str | bytes] = {}
        self.operations = {name: self._operation(name) for name in ("operations/a", "operations/a/b")}

    async def ListOperations(self, request: Any, context: Any) -> Any:
        """Returns as many operations as asked for."""
        self.metadata = dict(context.invocation_metadata())
        listed = list(self.operations.values())[: request.page_size or None]
        return operations_pb2.ListOperationsResponse(operations=listed)

    async def GetOperation(self, request: Any, context: Any) -> Any:
        """Returns one operation."""
        if request.name not in self.operations:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no {request.name}")
        return self.operations[request.name]

    async def DeleteOperation(self, request: Any, context: Any) -> Any:
        """Forgets one operation."""
        del self.operations[request.name]
        return empty_pb2.Empty()

    async def CancelOperation(self, request: Any, context: Any) -> Any:
        """Marks one operation as done."""
        operation = self.operations[request.name]
        operation.done = True
        operation.error.code, operation.error.message = grpc.StatusCode.CANCELLED.value[0], "as you wished"
        return empty_pb2.Empty()

    @staticmethod
    def _operation(name: str) -> Any:
        operation = operations_pb2.Operation(name=name)
        operation.metadata.Pack(wrappers_pb2.StringValue(value=f"about {name}"))
        return operation


@asynccontextmanager
async def running_operations(
    credentials: grpc.ServerCredentials | None = None,
) -> AsyncIterator[tuple[Operations, str]]:
    """Serve the contract with reflection on a free port, and give the implementation with its address."""
    implementation = Operations()
    server = grpc.aio.server()
    operations_pb2_grpc.add_OperationsServicer_to_server(implementation, server)
    reflection.enable_server_reflection([NAME, reflection.SERVICE_NAME], server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield implementation, f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
