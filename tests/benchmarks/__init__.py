"""Figures: what Gaia costs, measured on this machine; `make bench`. Nothing here runs in `make test`."""
