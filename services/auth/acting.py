"""Who acts in a call, and from where."""

from services.auth.audit import Act
from shared import telemetry
from shared.identity.principal import current_principal


def current_act() -> Act:
    """Returns the act of the current call, whose principal and address the interceptors have set."""
    return Act(current_principal(), telemetry.request_id.get(), telemetry.client_address.get())
