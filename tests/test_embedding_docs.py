"""The programs of docs/embedding.md compile with the page's CMake file, and draw what Python draws."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from embedded import installed_library
from test_embedding_package import BUNDLE, FLAGS, HEADER, ROOT, read, required, run

from latentloop import Bundle, Sampler
from latentloop.environment.c_library import cmake_folder, onnxruntime_library

PAGE = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """Returns the page's only block of code in a language."""
    (code,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(code)


@pytest.mark.slow
def test_the_programs_draw_the_image_of_python(tmp_path: Path) -> None:
    required("cmake")
    installed_library()
    (tmp_path / "image.cpp").write_text(block("cpp"), encoding="utf-8")
    (tmp_path / "image.c").write_text(block("c"), encoding="utf-8")
    project = block("cmake")
    in_c = project.replace("CXX", "C").replace("image.cpp", "image.c")
    for name, text in {"cpp": project, "c": in_c}.items():
        (tmp_path / "CMakeLists.txt").write_text(text, encoding="utf-8")
        build = tmp_path / name
        run("cmake", "-S", tmp_path, "-B", build, f"-Dlatentloop_DIR={cmake_folder()}", FLAGS[name == "cpp"])
        run("cmake", "--build", build)
        with (tmp_path / "image.ppm").open("wb") as picture:
            place = {"LATENTLOOP_ONNXRUNTIME": str(onnxruntime_library())}
            subprocess.run([build / "image", BUNDLE], check=True, stdout=picture, env=place, timeout=60)
        expected = Sampler(Bundle.open(BUNDLE), "cpu").sample(1, seeds=0).images[0]
        np.testing.assert_array_equal(read(tmp_path / "image.ppm"), expected)
        for arguments, problem in (["/absent"], "/absent: no such directory"), ([], "null"):
            done = subprocess.run([build / "image", *arguments], capture_output=True, text=True, check=False)
            assert done.returncode == 1
            assert problem in done.stderr

    # The folder to deploy has all that the program needs.
    (recipe,) = re.findall(r"```sh\n(lib=.*?)```", PAGE, re.DOTALL)
    script = recipe.replace("path/to/bundle", str(BUNDLE)).replace("build/image", "cpp/image")
    *copies, last = script.strip().splitlines()
    subprocess.run(["sh", "-ec", "\n".join(copies)], check=True, cwd=tmp_path, timeout=60)
    shutil.rmtree(tmp_path / "cpp")
    (tmp_path / "deploy").rename(tmp_path / "deployed")
    subprocess.run(["sh", "-ec", last.replace("deploy", "deployed")], check=True, cwd=tmp_path, env={}, timeout=60)
    np.testing.assert_array_equal(read(tmp_path / "image.ppm"), expected)


@pytest.mark.slow
def test_the_commands_of_pkg_config_build_the_program(tmp_path: Path) -> None:
    required("pkg-config", "cc")
    installed_library()
    (commands,) = re.findall(r"```sh\n(export PKG_CONFIG_PATH.*?)```", PAGE, re.DOTALL)
    (tmp_path / "image.c").write_text(block("c"), encoding="utf-8")
    subprocess.run(["sh", "-ec", commands], check=True, cwd=tmp_path, timeout=60)
    run(
        "sh",
        "-c",
        f"{tmp_path}/image {BUNDLE} >{tmp_path}/image.ppm",
        LATENTLOOP_ONNXRUNTIME=str(onnxruntime_library()),
    )


@pytest.mark.slow
def test_the_program_of_the_header_compiles_and_draws(tmp_path: Path) -> None:
    required("cc")
    library = installed_library()
    (example,) = re.findall(
        r"^ \*     (#include .*?)^ \*\n \* Threads", HEADER.read_text(encoding="utf-8"), re.S | re.M
    )
    code = re.sub(r"^ \*(     )?", "", example, flags=re.M).replace("runtime/data/planets", str(BUNDLE))
    (tmp_path / "image.c").write_text(code, encoding="utf-8")
    include = library.parents[1] / "include"
    run(
        "cc",
        "-std=c99",
        "-Werror",
        tmp_path / "image.c",
        f"-I{include}",
        library,
        f"-Wl,-rpath,{library.parent}",
        "-o",
        tmp_path / "image",
    )
    place = {"LATENTLOOP_ONNXRUNTIME": str(onnxruntime_library())}
    run(tmp_path / "image", **place)


@pytest.mark.slow
def test_the_lines_of_the_readme_draw_the_images_of_python(tmp_path: Path) -> None:
    required("c++")
    library = installed_library()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```cpp\n#include <latentloop/latentloop.hpp>\n(.*?)```", readme, re.DOTALL)
    write = "fwrite(samples.images.pixels.data(), 1, samples.images.pixels.size(), stdout);"
    code = f"#include <latentloop/latentloop.hpp>\n#include <cstdio>\nint main() {{\n{lines}{write}\n}}\n"
    (tmp_path / "readme.cpp").write_text(code, encoding="utf-8")
    link = [f"-I{library.parents[1] / 'include'}", library, f"-Wl,-rpath,{library.parent}"]
    run("c++", "-std=c++17", "-Werror", tmp_path / "readme.cpp", *link, "-o", tmp_path / "readme")
    place = {"LATENTLOOP_ONNXRUNTIME": str(onnxruntime_library())}
    images = subprocess.run([tmp_path / "readme"], check=True, stdout=subprocess.PIPE, env=place, cwd=ROOT, timeout=60)
    expected = Sampler(Bundle.open(BUNDLE), "cpu").sample(4, labels=["ocean", "lava", "gas", "ringed"], seeds=1)
    assert images.stdout == expected.images.tobytes()


def test_the_page_lists_every_status() -> None:
    listed = re.findall(r"^\| `(LL_\w+)` \|", PAGE, re.MULTILINE)
    declared = re.findall(r"^  (LL_[A-Z_]+) = \d", HEADER.read_text(encoding="utf-8"), re.MULTILINE)
    assert ["LL_OK", *listed] == declared
