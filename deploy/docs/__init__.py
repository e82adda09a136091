"""Vendoring of the documentation page's parts."""
