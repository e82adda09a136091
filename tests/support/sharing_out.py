"""How several worker processes of pytest share the tests out among themselves: `make test` has two of them."""

from pathlib import PurePosixPath

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

TOGETHER = ("tests/acceptance/faults", "tests/acceptance")
"""Folders whose tests share a mesh; elsewhere the tests of a module share their servers."""


class FromBothEnds(LoadScopeScheduling):
    """The first worker goes through the tests in their order and the others backwards, until they meet.

    The tests of whole platforms stand at one end, and wait most of their time; those that compute stand at the other.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        folders = [str(folder) for folder in PurePosixPath(module).parents]
        return next((folder for folder in TOGETHER if folder in folders), module)

    def _assign_work_unit(self, node: WorkerController) -> None:
        if node is not self.nodes[0]:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)
