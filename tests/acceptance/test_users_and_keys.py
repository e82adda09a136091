"""Administrators keep users, and users keep their keys, over REST."""

import asyncio
import secrets
import uuid

import pytest

from shared.identity import api_key
from tests.support.mesh import Caller, Mesh

USERS = "/api/v1/users"
KEYS = "/api/v1/api-keys"


def new_email() -> str:
    return f"{secrets.token_hex(8)}@gaia.test"


class TestUsers:
    async def test_a_user_lives_from_creation_to_deletion(self, mesh: Mesh):
        email = new_email()
        created = await mesh.admin.post(USERS, {"email": email, "name": "Ada"})
        user = created.json()
        assert created.status_code == 201
        fields = {"id", "email", "name", "is_active", "monthly_budget_usd", "created_at", "updated_at"}
        assert set(user) == fields
        assert (user["email"], user["name"], user["is_active"]) == (email, "Ada", True)
        path = f"{USERS}/{user['id']}"
        assert (await mesh.admin.get(path)).json() == user

        changed = await mesh.admin.patch(path, {"name": "Ada Lovelace"})
        assert changed.status_code == 200
        assert changed.json()["name"] == "Ada Lovelace"
        assert (changed.json()["email"], changed.json()["is_active"]) == (email, True)
        assert changed.json()["updated_at"] > user["updated_at"]

        key = await mesh.new_key(user["id"])
        deleted = await mesh.admin.delete(path)
        assert (deleted.status_code, deleted.content) == (204, b"")
        assert (await mesh.admin.get(path)).json()["is_active"] is False
        assert (await key.get("/api/v1/auth/me")).status_code == 401

    async def test_an_admin_gives_a_user_a_monthly_budget_and_takes_it_away(self, mesh: Mesh, caller: Caller):
        path = f"{USERS}/{caller.user_id}"
        assert (await mesh.admin.get(path)).json()["monthly_budget_usd"] is None
        given = await mesh.admin.patch(path, {"monthly_budget_usd": 12.000001})
        assert given.json()["monthly_budget_usd"] == 12.000001
        assert (await caller.get("/api/v1/auth/me")).json()["user"]["monthly_budget_usd"] == 12.000001
        renamed = await mesh.admin.patch(path, {"name": "Ada"})
        assert (renamed.json()["name"], renamed.json()["monthly_budget_usd"]) == ("Ada", 12.000001)
        nothing = await mesh.admin.patch(path, {"monthly_budget_usd": 0})
        assert nothing.json()["monthly_budget_usd"] == 0
        taken = await mesh.admin.patch(path, {"monthly_budget_usd": None}, params={"update_mask": "monthly_budget_usd"})
        assert taken.json()["monthly_budget_usd"] is None

    @pytest.mark.parametrize("budget", [-0.01, 1e300, "NaN", "a lot"])
    async def test_a_budget_that_cannot_be_is_refused_by_its_name(self, mesh: Mesh, caller: Caller, budget: object):
        reply = await mesh.admin.patch(f"{USERS}/{caller.user_id}", {"monthly_budget_usd": budget})
        assert reply.status_code == 400
        assert "monthly_budget_usd" in reply.json()["message"]

    async def test_who_keeps_users_but_is_no_admin_changes_no_budget(self, mesh: Mesh):
        manager = await mesh.new_caller(["users:manage"])
        for body in ({"monthly_budget_usd": 10**6}, {"name": "rich", "monthly_budget_usd": None}):
            reply = await manager.patch(f"{USERS}/{manager.user_id}", body, params={"update_mask": ",".join(body)})
            assert reply.status_code == 403
            assert "admin" in reply.json()["message"]
        unchanged = (await mesh.admin.get(f"{USERS}/{manager.user_id}")).json()
        assert (unchanged["name"], unchanged["monthly_budget_usd"]) == ("", None)

    async def test_an_email_address_that_is_taken_is_a_conflict_in_any_case(self, mesh: Mesh):
        email = new_email()
        assert (await mesh.admin.post(USERS, {"email": email})).status_code == 201
        for taken in (email, email.upper()):
            reply = await mesh.admin.post(USERS, {"email": taken})
            assert reply.status_code == 409
            assert reply.json()["code"] == 6

    @pytest.mark.parametrize("body", [{}, {"email": ""}, {"email": "nobody"}, {"email": "a@b", "name": "x" * 201}])
    async def test_what_is_no_user_is_refused(self, mesh: Mesh, body: dict[str, str]):
        assert (await mesh.admin.post(USERS, body)).status_code == 400

    async def test_a_field_that_may_not_change_is_refused_by_its_name(self, mesh: Mesh, caller: Caller):
        reply = await mesh.admin.patch(f"{USERS}/{caller.user_id}", {"email": new_email()})
        assert reply.status_code == 400
        assert "email" in reply.json()["message"]

    @pytest.mark.parametrize("user_id", [pytest.param(str(uuid.uuid4()), id="unknown"), "nobody"])
    async def test_a_user_that_is_not_there_is_404_in_every_method(self, mesh: Mesh, user_id: str):
        path = f"{USERS}/{user_id}"
        replies = await asyncio.gather(
            mesh.admin.get(path), mesh.admin.patch(path, {"name": "x"}), mesh.admin.delete(path)
        )
        assert [reply.status_code for reply in replies] == [404, 404, 404]

    async def test_pages_hold_every_user_once_the_newest_first(self, mesh: Mesh):
        made = [(await mesh.admin.post(USERS, {"email": new_email()})).json()["id"] for _ in range(5)]
        seen: list[str] = []
        params: dict[str, str | int] = {"page_size": 2}
        while not set(made) <= set(seen):
            page = (await mesh.admin.get(USERS, params=params)).json()
            assert 0 < len(page["users"]) <= 2
            seen += [user["id"] for user in page["users"]]
            params["page_token"] = page["next_page_token"]
        assert len(seen) == len(set(seen))
        assert [user_id for user_id in seen if user_id in made] == made[::-1]

    async def test_the_last_page_names_no_next_one(self, mesh: Mesh):
        body = (await mesh.admin.get(USERS, params={"page_size": 500})).json()
        assert body["next_page_token"] == ""

    @pytest.mark.parametrize("params", [{"page_size": -1}, {"page_size": "two"}, {"page_token": "?"}])
    async def test_a_page_that_cannot_be_is_refused(self, mesh: Mesh, params: dict[str, str]):
        reply = await mesh.admin.get(USERS, params=params)
        assert reply.status_code == 400
        assert next(iter(params)) in reply.json()["message"]

    async def test_only_administrators_of_users_see_them(self, mesh: Mesh, caller: Caller):
        manager = await mesh.new_caller(["users:manage"])
        assert (await manager.get(USERS)).status_code == 200
        assert (await caller.get(USERS)).status_code == 403
        assert (await caller.get(f"{USERS}/{caller.user_id}")).status_code == 403


class TestKeys:
    async def test_a_key_lives_from_creation_to_deletion(self, mesh: Mesh, caller: Caller):
        created = await caller.post(KEYS, {"name": "laptop", "scopes": ["chat:read"]})
        key = created.json()
        assert created.status_code == 201
        assert api_key.is_well_formed(key["key"])
        assert key["key"].startswith(key["prefix"])
        assert key["key"].endswith(key["last_four"])
        assert (key["user_id"], key["name"], key["scopes"]) == (caller.user_id, "laptop", ["chat:read"])
        assert key["is_active"] is True
        path = f"{KEYS}/{key['id']}"
        found = (await caller.get(path)).json()
        assert "key" not in found
        assert found == {name: value for name, value in key.items() if name != "key"}

        changed = await caller.patch(path, {"name": "old laptop"})
        assert changed.json()["name"] == "old laptop"
        assert changed.json()["scopes"] == ["chat:read"]
        assert "key" not in changed.json()

        revoked = await caller.post(f"{path}:revoke")
        assert (revoked.status_code, revoked.json()["is_active"]) == (200, False)
        assert (await caller.get(path)).json() == revoked.json()
        revived = await caller.patch(path, {"is_active": True})
        assert revived.status_code == 400

        assert (await caller.delete(path)).status_code == 204
        assert (await caller.get(path)).status_code == 404
        assert key["id"] not in [listed["id"] for listed in (await caller.get(KEYS)).json()["api_keys"]]
        trail = (await mesh.admin.get("/api/v1/audit", params={"target_id": key["id"]})).json()["events"]
        assert [event["action"] for event in trail] == [
            "api_key.delete", "api_key.revoke", "api_key.update", "api_key.create"
        ]  # fmt: skip
        assert trail[0]["details"] == {"user_id": caller.user_id, "name": "old laptop", "last_four": key["last_four"]}

    async def test_the_text_of_a_key_is_in_no_list_and_not_in_the_database(self, mesh: Mesh, caller: Caller):
        key = (await caller.post(KEYS, {"name": "secret"})).json()["key"]
        assert key not in (await caller.get(KEYS)).text
        rows = await mesh.rows("SELECT * FROM api_keys WHERE user_id = $1", caller.user_id)
        assert rows
        secret = key.removeprefix("gaia_test_")[:-6]
        assert not any(secret in str(value) for row in rows for value in row.values())

    async def test_a_new_key_may_do_the_usual_things_as_far_as_its_maker_may(self, mesh: Mesh):
        maker = await mesh.new_caller(["chat:read", "keys:manage"])
        assert (await maker.post(KEYS, {"name": "usual"})).json()["scopes"] == ["chat:read"]

    async def test_nobody_gives_away_or_takes_scopes_that_they_lack(self, mesh: Mesh):
        maker = await mesh.new_caller(["chat:read", "keys:manage"])
        given = await maker.post(KEYS, {"name": "too much", "scopes": ["chat:read", "admin"]})
        assert given.status_code == 403
        assert "admin" in given.json()["message"]
        taken = await maker.patch(f"{KEYS}/{maker.key_id}", {"scopes": ["chat:read", "keys:manage", "users:manage"]})
        assert taken.status_code == 403

    async def test_keys_of_others_are_not_there(self, mesh: Mesh, caller: Caller):
        other = await mesh.new_caller()
        path = f"{KEYS}/{other.key_id}"
        replies = await asyncio.gather(
            caller.get(path), caller.patch(path, {"name": "mine"}), caller.delete(path), caller.post(f"{path}:revoke")
        )
        assert [reply.status_code for reply in replies] == [404, 404, 404, 404]
        listed = (await caller.get(KEYS)).json()["api_keys"]
        assert {key["user_id"] for key in listed} == {caller.user_id}
        assert (await caller.get(KEYS, params={"user_id": other.user_id})).status_code == 403
        assert (await caller.post(KEYS, {"name": "theirs", "user_id": other.user_id})).status_code == 403

    async def test_pages_hold_every_key_once_the_newest_first(self, caller: Caller):
        made = [(await caller.post(KEYS, {"name": f"key {number}"})).json()["id"] for number in range(4)]
        first = (await caller.get(KEYS, params={"page_size": 3})).json()
        rest = (await caller.get(KEYS, params={"page_size": 3, "page_token": first["next_page_token"]})).json()
        listed = [key["id"] for key in first["api_keys"] + rest["api_keys"]]
        assert listed == [*made[::-1], caller.key_id]
        assert rest["next_page_token"] == ""

    async def test_every_violation_is_named_at_once(self, caller: Caller):
        body = {"name": " ", "scopes": ["fly"], "expires_at": "2001-01-01T00:00:00Z"}
        reply = await caller.post(KEYS, body)
        assert reply.status_code == 400
        [detail] = reply.json()["details"]
        assert {violation["field"].partition("[")[0] for violation in detail["field_violations"]} == set(body)
