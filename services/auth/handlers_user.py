"""gaia.auth.v1.UserService, in the order of the contract: decode, call one domain function, encode."""

from typing import Any

from gaia.auth.v1 import user_service_pb2 as pb
from gaia.auth.v1 import user_service_pb2_grpc

from services.auth import users
from services.auth.acting import current_act
from services.auth.audit import MAX_ID, AuditTrail
from services.auth.encoding import decode_user, encode_user
from services.auth.store import Store
from shared.db.paging import Place, page_size, parse_token

Context = Any  # grpc.aio.ServicerContext, whose type arguments say nothing here


class UserHandlers(user_service_pb2_grpc.UserServiceServicer):
    """Creates and keeps users."""

    def __init__(self, store: Store, trail: AuditTrail) -> None:
        self._store = store
        self._trail = trail

    async def CreateUser(self, request: pb.CreateUserRequest, context: Context) -> pb.CreateUserResponse:
        """Creates a user."""
        act = current_act()
        with self._trail.attempt(act.event("user.create", users.USER)):
            user = await users.create_user(self._store, act, request.email, request.name)
        return pb.CreateUserResponse(user=encode_user(user))

    async def GetUser(self, request: pb.GetUserRequest, context: Context) -> pb.GetUserResponse:
        """Returns a user."""
        return pb.GetUserResponse(user=encode_user(await users.get_user(self._store, request.id)))

    async def ListUsers(self, request: pb.ListUsersRequest, context: Context) -> pb.ListUsersResponse:
        """Lists users."""
        size = page_size(request.page_size)
        found = await users.list_users(self._store, parse_token(request.page_token), size + 1)
        return pb.ListUsersResponse(
            users=[encode_user(user) for user in found[:size]],
            next_page_token=Place(found[size - 1].created_at, found[size - 1].id).token() if len(found) > size else "",
        )

    async def UpdateUser(self, request: pb.UpdateUserRequest, context: Context) -> pb.UpdateUserResponse:
        """Changes the named fields of a user."""
        act, wanted, fields = current_act(), decode_user(request.user), request.update_mask.paths
        user_id = request.user.id
        with self._trail.attempt(act.event("user.update", users.USER, user_id[:MAX_ID], fields=sorted(fields)[:10])):
            user = await users.update_user(self._store, act, user_id, fields, wanted)
        return pb.UpdateUserResponse(user=encode_user(user))

    async def DeleteUser(self, request: pb.DeleteUserRequest, context: Context) -> pb.DeleteUserResponse:
        """Makes a user inactive."""
        act = current_act()
        with self._trail.attempt(act.event("user.delete", users.USER, request.id[:MAX_ID])):
            await users.deactivate_user(self._store, act, request.id)
        return pb.DeleteUserResponse()
