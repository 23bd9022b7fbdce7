"""An index to which bad things happen one after another, and what it holds."""

import shutil
from pathlib import Path

from jobs import outcomes
from model import check, columns

from lfm2_retrieval.indexes import Index


class Life:
    """Runs jobs on one index, and checks it after each."""

    def __init__(self, zygote, folder):
        self.place = folder / "place"
        self.folder = self.place / "index"
        self.diary = str(folder / "diary")
        self.state = []
        self._fresh = folder / "fresh"
        self._zygote = zygote
        self._number = 0

    def begin(self):
        """A new index that a build finds something to do in."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.state = [(f"long{i}", i) for i in range(66)]
        if not self._fresh.exists():
            with Index.create(self._fresh, 16) as index:
                index.add(*columns(self.state[:-6]))
                index.build(force=True)
                index.add(*columns(self.state[-6:]))
        shutil.copytree(self._fresh, self.folder)

    def run(self, job, **fate):
        """Run a job and look at what it left; its exit status, commits acknowledged, and errors."""
        self._number += 1
        arguments = {"state": self.state, "seed": self._number}
        request = {"job": job, "folder": str(self.folder), "diary": self.diary, "arguments": arguments}
        request["watch"] = str(self.place)
        status = self._zygote.run({**request, **fate})[0]
        states, acknowledged, errors = outcomes(self.diary, self.state)
        copy = self.folder.with_name("backup")
        if copy.exists():  # then it is whole
            with Index.open(copy) as index:
                check(index, [self.state])
            shutil.rmtree(copy)
        with Index.open(self.folder) as index:
            self.state = check(index, states)
            probe = [(f"probe{self._number}", self._number % 10)]
            index.add(*columns(probe))
            self.state = check(index, [self.state + probe])
        return status, acknowledged, errors

    def operations(self):
        """How many operations below the folder the last job took."""
        return int(Path(self.diary + ".count").read_text())
