"""Run pyright on the package; fail if a file has more errors than ``pyright_baseline.json`` says.

    python tools/pyright_ratchet.py

If a file has fewer errors, the baseline is rewritten: commit it. So the number never grows. A new
file starts at 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BASELINE = Path(__file__).with_name("pyright_baseline.json")


def main() -> int:
    errors = run_pyright(ROOT / "ivy_models")
    found = Counter(str(Path(e["file"]).relative_to(ROOT)) for e in errors)
    allowed = json.loads(BASELINE.read_text("utf-8"))
    more = {name for name, count in found.items() if count > allowed.get(name, 0)}
    for error in errors:
        name = str(Path(error["file"]).relative_to(ROOT))
        if name in more:
            print(f"{name}:{error['range']['start']['line'] + 1}: {error['message']}")
    for name in sorted(more):
        print(f"{name}: {found[name]} errors, at most {allowed.get(name, 0)} allowed")
    if not more and found != allowed:
        text = json.dumps(found, indent=4, sort_keys=True) + "\n"
        BASELINE.write_text(text, "utf-8")
        print(f"{BASELINE.relative_to(ROOT)}: fewer errors; commit it.")
    print(f"pyright: {found.total()} errors, {sum(allowed.values())} allowed")
    return int(bool(more))


def run_pyright(folder: Path) -> list[dict[str, Any]]:
    """The errors, as pyright describes them."""
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    result = subprocess.run([*command, folder], cwd=ROOT, capture_output=True, text=True)
    if result.returncode > 1:  # 1: there are errors
        raise SystemExit(result.stdout + result.stderr)
    found = json.loads(result.stdout)["generalDiagnostics"]
    return [diagnostic for diagnostic in found if diagnostic["severity"] == "error"]


if __name__ == "__main__":
    sys.exit(main())
