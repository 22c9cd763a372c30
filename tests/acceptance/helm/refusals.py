"""Values that the chart must refuse, with a message that names the key.

    refusals.py HELM CHART      the table is the file `refusals` beside this one
"""

import concurrent.futures
import pathlib
import subprocess
import sys


def main(helm, chart):
    lines = pathlib.Path(__file__).with_name("refusals").read_text().splitlines()
    table = [line.rsplit("|", 1) for line in lines if line and not line.startswith("#")]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        problems = list(pool.map(lambda row: problem(helm, chart, *row), table))
    print(f"{len(table)} wrong values")
    sys.exit("\n".join(it for it in problems if it) or None)


def problem(helm, chart, values, words):
    command = [
        helm, "template", "acceptance", chart, "--kube-version", "1.31",
        "--values", f"{chart}/ci/minimal-values.yaml", "--values", "-",
    ]
    ran = subprocess.run(command, input=values, capture_output=True, text=True)
    if ran.returncode == 0:
        return f"not refused: {values}"
    missing = [word for word in words.split() if word not in ran.stderr]
    return f"{values} is refused without {missing}:\n{ran.stderr}" if missing else None


if __name__ == "__main__":
    main(*sys.argv[1:])
