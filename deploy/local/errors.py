"""The error of the local stack."""


class StackError(Exception):
    """The stack cannot start or go on; the message is one line that names the setting and says what would be right."""
