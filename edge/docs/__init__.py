"""The documentation of the edge: its OpenAPI document, and a page that shows it."""
