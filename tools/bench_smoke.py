"""Run every benchmark very briefly: not for the figures, but so that none of them rots. Usage: python
tools/bench_smoke.py
"""

import os
import subprocess
import sys
import time
from pathlib import Path

root = Path(__file__).resolve().parent.parent
environment = {**os.environ, "PYTHONPATH": str(root)}
failed = []
folder = root / "benchmarks"
for program in [
    *sorted(folder.glob("*.py")),
    folder / "folding" / "overhead.py",
    *sorted(folder.glob("folding/f[0-9]_*.py")),
    *sorted(folder.glob("jit/*.py")),
    *sorted(folder.glob("portability/*.py")),
]:
    if "__main__" not in program.read_text():  # pairs.py, jit/drive.py ...: what the others share
        continue
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(program), "--smoke"], env=environment, capture_output=True, text=True, check=False
    )
    print(
        f"{program.name:32} {'ok' if done.returncode == 0 else 'FAILED'} {time.perf_counter() - start:6.1f} s",
        flush=True,
    )
    if done.returncode:
        failed.append(program.name)
        print(done.stdout[-2000:] + done.stderr[-4000:])
sys.exit(1 if failed else 0)
