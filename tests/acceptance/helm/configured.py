"""Every configuration that the chart renders, given to `switchboard check` in the root of the image,
with the files that it names.

    configured.py FOLDER ROOT SCRATCH       FOLDER has one NAME.yaml for each values file
"""

import pathlib
import sys

import material
from pod import Pod


def main(folder, root, scratch):
    stuff = material.Material(pathlib.Path(scratch) / "certificates")
    problems, checked = [], 0
    for path in sorted(pathlib.Path(folder).glob("*.yaml")):
        pod = Pod(path.read_text(), root, lambda name, key, path: stuff.of(path))
        command, *arguments = pod.container["args"]
        if command != "serve":
            continue  # the sandbox, which takes no configuration
        pod.mount()
        ran = pod.run("check", *arguments)
        checked += 1
        if ran.returncode:
            problems.append(f"{path.stem}: exit code {ran.returncode}: {ran.stderr.strip()}")
    print(f"{checked} configurations, {len(problems)} refused")
    sys.exit("\n".join(problems) or (None if checked else "nothing was checked"))


if __name__ == "__main__":
    main(*sys.argv[1:])
