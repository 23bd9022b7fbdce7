"""A disk that loses power: replays what the shim recorded and says what could be left at any point.

What counts as durable is what POSIX promises and no more: a file's bytes once the file was synced, a name
once its folder was. Everything later may be there or not, and of the last write a part.
"""

import struct
from dataclasses import dataclass, field
from pathlib import Path

CREATE, WRITE, SYNC, TRUNCATE, RENAME, REMOVE, MAKE, MARK = (1 << bit for bit in range(8))
_HEAD = struct.Struct("<5Q")
SECTOR = 512


@dataclass
class File:
    """Bytes now and bytes on the disk, and what happened in between."""

    now: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    pending: list = field(default_factory=list)

    def apply(self, data, op, offset, piece):
        if op == TRUNCATE:
            del data[offset:]
            data.extend(bytes(offset - len(data)))
        else:
            data.extend(bytes(max(0, offset - len(data))))
            data[offset : offset + len(piece)] = piece

    def change(self, op, offset, piece=b""):
        self.apply(self.now, op, offset, piece)
        self.pending.append((op, offset, piece))

    def sync(self):
        self.durable, self.pending = bytes(self.now), []

    def torn(self, rng):
        """What is durable, and of what came later any part: whole writes, or some sectors of them."""
        data = bytearray(self.durable)
        for op, offset, piece in self.pending:
            fate = rng.random()
            if op == TRUNCATE or fate < 0.4:
                if fate < 0.7:
                    self.apply(data, op, offset, piece)
            elif fate < 0.6:
                for start in range(0, len(piece), SECTOR):
                    if rng.random() < 0.5:
                        self.apply(data, op, offset + start, piece[start : start + SECTOR])
        return bytes(data)


@dataclass
class Folder:
    """Names now and names on the disk, and what happened in between: name → file or folder, None: removed."""

    now: dict = field(default_factory=dict)
    durable: dict = field(default_factory=dict)
    pending: list = field(default_factory=list)

    def change(self, names):
        """Names that change at once, as in a rename."""
        for name, node in names.items():
            if node is None:
                self.now.pop(name, None)
            else:
                self.now[name] = node
        self.pending.append(names)

    def sync(self):
        self.durable, self.pending = dict(self.now), []

    def torn(self, rng):
        """What is durable, and of what came later the first so many: a journal keeps their order."""
        names = dict(self.durable)
        for change in self.pending[: rng.randint(0, len(self.pending))]:
            for name, node in change.items():
                if node is None:
                    names.pop(name, None)
                else:
                    names[name] = node
        return names


class Disk:
    """A folder and what happens to it.

    Parameters
    ----------
    root
        The folder as it is, all of it durable; the record tells of nothing before.
    """

    def __init__(self, root):
        self._root = str(root)
        self._inodes = {}
        self._top = self._load(Path(root))
        self.acknowledged = 0

    def _load(self, path):
        inode = path.stat().st_ino
        if path.is_dir():
            node = Folder({one.name: self._load(one) for one in path.iterdir()})
        else:
            node = File(bytearray(path.read_bytes()))
        node.sync()
        self._inodes[inode] = node
        return node

    def _find(self, path):
        """The folder that a path lies in, and its name there; None for what lies elsewhere."""
        if not path.startswith(self._root + "/"):
            return None, ""
        *folders, name = path[len(self._root) + 1 :].split("/")
        node = self._top
        for part in folders:
            node = node.now[part]
        return node, name

    def do(self, op, inode, offset, name, other):
        """One recorded operation."""
        if op == MARK:
            self.acknowledged = offset
        elif op in (CREATE, MAKE):
            folder, base = self._find(name.decode())
            self._inodes[inode] = Folder() if op == MAKE else File()
            folder.change({base: self._inodes[inode]})
        elif op in (WRITE, TRUNCATE):
            self._inodes[inode].change(op, offset, other)
        elif op == SYNC:
            self._inodes[inode].sync()
        else:
            folder, base = self._find(name.decode())
            node = folder.now[base]
            target, new = self._find(other.decode()) if op == RENAME else (None, "")
            if target is folder:
                folder.change({base: None, new: node})
                return
            if target is not None:
                target.change({new: node})
            folder.change({base: None})

    def save(self, path, rng=None):
        """Write to ``path`` what power loss leaves: nothing that wasn't synced, or, with ``rng``, some."""
        self._save(self._top, Path(path), rng)

    def _save(self, node, path, rng):
        if isinstance(node, Folder):
            path.mkdir()
            names = node.durable if rng is None else node.torn(rng)
            for name, child in names.items():
                self._save(child, path / name, rng)
        else:
            path.write_bytes(node.durable if rng is None else node.torn(rng))


def read_record(path):
    """The operations in a record, as arguments of `Disk.do`."""
    data, at = Path(path).read_bytes(), 0
    while at < len(data):
        op, inode, offset, n_name, n_other = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        name, other = data[at : at + n_name], data[at + n_name : at + n_name + n_other]
        at += n_name + n_other
        yield op, inode, offset, name, other
