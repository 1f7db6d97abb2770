"""Run every benchmark, one after the other, each in a process of its own: ``python -m benchmarks [NAME ...]``."""

import subprocess
import sys
from pathlib import Path

folder = Path(__file__).parent
known = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
asked = sys.argv[1:] or known
unknown = sorted(set(asked) - set(known))
if unknown:
    sys.exit(f"no benchmark called {', '.join(unknown)}; there are: {', '.join(known)}")
failed = []
for name in asked:
    print(f"=== {name}", flush=True)
    if subprocess.run([sys.executable, folder / f"{name}.py"], check=False).returncode:
        failed.append(name)
sys.exit(f"failed: {', '.join(failed)}" if failed else 0)
