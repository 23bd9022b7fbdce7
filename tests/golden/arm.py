"""Compile the search kernels for Arm and print their assembly, kernel by kernel, as JSON.

Run by test_processors with numba's own optimisation off, which puts x86 instructions into the code, and
without a cache, as cached code can't be inspected.
"""

import json
import re

import llvmlite.binding as llvm
import numpy as np

from lfm2_retrieval.indexes.kernels import shortlist

TRIPLE = "aarch64-unknown-linux-gnu"
LAYOUT = "e-m:e-i8:8:32-i16:16:32-i64:64-i128:128-n32:64-S128"


def to_arm(kernel) -> str:
    (text,) = kernel.inspect_llvm().values()
    text = re.sub("target triple = .*", f'target triple = "{TRIPLE}"', text)
    module = llvm.parse_assembly(re.sub("target datalayout = .*", f'target datalayout = "{LAYOUT}"', text))
    module.verify()
    machine = llvm.Target.from_triple(TRIPLE).create_target_machine(cpu="generic", opt=3)
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(module, passes)
    return machine.emit_assembly(module)


def main() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    kernels = shortlist.for_lanes(16)
    table, ids = np.zeros((4, 16), np.int16), np.zeros(3, np.uint16)
    where = np.zeros(1, np.int64), np.full(1, 3), np.zeros(1, np.int32)
    kernels.by_centroids(np.zeros((4, 16), np.int8), ids, *where)
    codes, by_code = np.zeros((3, 32), np.uint8), np.zeros((32 * 256, 16), np.int16)
    kernels.refine(table, by_code, np.ones(16, np.int16), ids, codes, *where)
    rows, columns = np.zeros((1, 4, 32), np.int16), np.zeros(512, np.int16)
    kernels.tabulate(rows, columns, np.float32(1), 0, 4, table)
    names = ("by_centroids", "refine", "tabulate")
    print(json.dumps({name: to_arm(getattr(kernels, name)) for name in names}))


if __name__ == "__main__":
    main()
