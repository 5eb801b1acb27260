"""Compiles a C program that draws an image, runs it without Python, and compares its image with that of Python.

python examples/embed.py [FOLDER]     # default: ./embedded

Needs a C compiler, and liblatentloop: `latentloop info` says whether the package has it. CMake projects use
find_package(latentloop), as in examples/CMakeLists.txt.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from latentloop import Bundle, Sampler

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "embedded").absolute()
if folder.exists():
    sys.exit(f"{folder} exists: name another folder")
cc = shutil.which("cc") or sys.exit("cc is missing: install a C compiler")


def output(*command):
    """Runs a program, and returns what it prints. If it fails, it has said why, and this script ends."""
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    return done.stdout.strip() if done.returncode == 0 else sys.exit(1)


cmake = Path(output(sys.executable, "-m", "latentloop", "info", "--cmake-dir"))  # …/lib/cmake/latentloop
os.environ["LATENTLOOP_ONNXRUNTIME"] = output(sys.executable, "-m", "latentloop", "info", "--onnxruntime")
include, library = cmake.parents[2] / "include", cmake.parents[1] / "liblatentloop.so"
source, program, picture = Path(__file__).with_name("one_image.c"), folder / "one_image", folder / "image.ppm"
folder.mkdir(parents=True)
output(cc, "-std=c99", source, f"-I{include}", library, f"-Wl,-rpath,{library.parent}", "-o", program)
output(program, Bundle.default().path, 7, picture)
same = np.array_equal(np.asarray(Image.open(picture)), Sampler(Bundle.default(), "cpu").sample(1, seeds=7).images[0])
print(f"wrote {picture}: {'the same image as' if same else 'another image than'} Python draws")
