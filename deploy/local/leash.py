"""Starts a program that ends when its parent ends: `leash.py PARENT SIGNAL ACCOUNT PROGRAM [ARGUMENT…]`.

PARENT is the pid of the process that starts this one. Should it die, in whatever way, the kernel sends SIGNAL to the
program (prctl(2), PR_SET_PDEATHSIG; Linux alone has it, elsewhere the next start of the stack clears what was left).
ACCOUNT is `UID:GID` to run as, or `-` for no change.

Runs by its path in a bare interpreter, before the program replaces it: only the standard library, and little of it.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Never returns: becomes the program, or exits with what the system said."""
    parent, number, account, *command = sys.argv[1:]
    if account != "-":
        user, group = account.split(":")
        os.setgroups([])
        os.setgid(int(group))
        os.setuid(int(user))
    if sys.platform == "linux":
        # After setuid, which would clear it.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
            sys.exit(f"cannot ask for the parent's death: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != int(parent):
        sys.exit("the parent has ended already")
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
