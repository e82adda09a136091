"""The `gaia` command."""
