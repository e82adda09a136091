"""The owner's way into the embedded Postgres, from outside of the supervisor."""

from urllib.parse import quote

from deploy.local import postgres
from deploy.local.database import OWNER
from deploy.local.home import Home

DATABASE = "gaia"


def owner_url(home: Home) -> str | None:
    """Returns a URL that acts as the schema's owner, None when the local stack does not run.

    The superuser, who is let in without a password, takes the owner's role, so that what it makes is the owner's.
    """
    cluster = postgres.running_cluster(home)
    if cluster is None:
        return None
    return f"{cluster.url(postgres.SUPERUSER, DATABASE)}&options={quote(f'-c role={OWNER}')}"
