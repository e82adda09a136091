"""`gaia certs`: certificates for TLS between the processes."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.options import AsJson

app = typer.Typer(name="certs", help="Makes certificates for TLS between the processes.", no_args_is_help=True)


@app.command("dev")
def make(
    folder: Annotated[Path, typer.Option(help="Where they go; a new authority is made where there is none.")] = Path(
        ".gaia/certs"
    ),
    name: Annotated[
        list[str] | None, typer.Option(help="Whose, by the name that allow-lists know; default: Gaia's own processes.")
    ] = None,
    host: Annotated[
        list[str] | None, typer.Option(help="DNS name or address that it is also reached by; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Makes certificates from an authority for development; run it again to renew them."""
    from deploy.cli.output import note, show_json, show_rows
    from deploy.local.certificates import DevelopmentAuthority
    from deploy.local.settings import PROCESSES

    authority = DevelopmentAuthority(folder)
    rows = [
        {
            "name": issued.name,
            "GAIA_TLS_CERT": str(issued.certificate),
            "GAIA_TLS_KEY": str(issued.key),
            "GAIA_TLS_CA": str(authority.certificate_file),
        }
        for issued in (authority.issue(one, host or ()) for one in name or PROCESSES)
    ]
    if as_json:
        show_json(rows)
        return
    show_rows(rows, tuple(rows[0]))
    note(f"{folder / 'ca.key'} signs for everybody: keep this authority to development")
