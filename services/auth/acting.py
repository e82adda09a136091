"""Who acts in a call, and from where."""

from typing import Any

from services.auth.audit import Act
from shared import telemetry
from shared.identity.principal import current_principal
from shared.rpc.peers import address_of


def act_of(context: Any) -> Act:
    """Returns the act of the current call, whose principal the auth interceptor has set."""
    return Act(current_principal(), telemetry.request_id.get(), address_of(context))
