"""Run one exported model from every language that is here, and hold each to the lines that Python prints.

The one idea: a client is `client MODEL.onnx INPUT.bin`; a language is a row of LANGUAGES: what it needs, how it is
built, how it is run. Each client must print what clients/python prints, and must fail, naming the file, when there is
no model. Nothing is installed unless it is asked for (--install, or CI=true): then by apt-get, as root, and by npm into
the build directory. Otherwise a language that is not here is skipped, with the reason and the command that gets it.

Usage: python clients/run.py [--install] [--only NAME ...]   (make clients; make clients INSTALL=1)
"""

from __future__ import annotations

import argparse
import glob
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "clients"
MODEL, INPUT = BUILD / "digits.onnx", BUILD / "digits.bin"
FEWEST_IN_CI = 9
SHIM = "{here}/c/glueball_predict.c"
CC = "cc -O2 -std=c11 -Wall -Wextra"
LINK = "-ldl -lpthread"


@dataclass(frozen=True)
class Language:
    """What one language needs, and how its client is built and run; {here}, {build} and {jdk} are filled in."""

    name: str
    run: str
    debian: str = ""  # packages of Debian and its kin
    programs: str = ""
    probe: str = ""  # a command that succeeds where everything is here
    build: list[str] = field(default_factory=list)
    packages: str = "onnxruntime (C library)"  # what a user needs, for the table
    environment: dict[str, str] = field(default_factory=dict)
    npm: str = ""
    size: str = ""  # what npm's package takes on disk


LANGUAGES = [
    Language("Python", f"{shlex.quote(sys.executable)} {{here}}/python/client.py", packages="onnxruntime, NumPy"),
    Language(
        "C",
        "{build}/client_c",
        "gcc libc6-dev",
        "cc",
        build=[f"{CC} -o {{build}}/client_c {{here}}/c/client.c {SHIM} {LINK}"],
    ),
    Language(
        "C++",
        "{build}/client_cpp",
        "g++",
        "cc c++",
        build=[
            "c++ -O2 -std=c++11 -Wall -Wextra -I{here}/c -I{here}/cpp -o {build}/client_cpp {here}/cpp/client.cpp "
            "-L{build} -lglueball_predict -Wl,-rpath,{build}"
        ],
    ),
    Language(
        "Node",
        "node {here}/node/client.js",
        "nodejs npm",
        "node npm",
        packages="onnxruntime-node (npm)",
        environment={"NODE_PATH": "{build}/node/node_modules"},
        npm="onnxruntime-node",
        size="about 290 MB",
    ),
    Language(
        "Perl",
        "perl {here}/perl/client.pl",
        "libffi-platypus-perl",
        "cc perl",
        "perl -MFFI::Platypus -e 1",
        packages="FFI::Platypus",
    ),
    Language(
        "Java",
        "java -cp {build} Glueball",
        "default-jdk-headless",
        "cc java javac",
        build=[
            f"{CC} -shared -fPIC -I{{jdk}}/include -I{{jdk}}/include/linux -I{{jdk}}/include/darwin "
            f"-o {{build}}/libglueball_jni.so {{here}}/java/glueball_jni.c {SHIM} {LINK}",
            "javac -d {build} {here}/java/Glueball.java",
        ],
        packages="JDK (JNI)",
    ),
    Language(
        "R",
        "Rscript {here}/r/client.R",
        "r-base-core",
        "cc Rscript",
        build=[f"{CC} -shared -fPIC -o {{build}}/glueball_r.so {{here}}/r/glueball_r.c {SHIM} {LINK}"],
        packages="r-base-core",
    ),
    Language("Ruby", "ruby {here}/ruby/client.rb", "ruby", "cc ruby", "ruby -rfiddle -e 1", packages="Ruby (Fiddle)"),
    Language("Lua", "luajit {here}/lua/client.lua", "luajit", "cc luajit", packages="LuaJIT (ffi)"),
    Language(
        "Rust",
        "{build}/client_rust",
        "rustc",
        "cc rustc",
        build=[
            "rustc -O --edition 2021 -o {build}/client_rust {here}/rust/client.rs "
            "-L native={build} -l glueball_predict -C link-arg=-Wl,-rpath,{build}"
        ],
        packages="rustc",
    ),
    Language(
        "Scala",
        "scala -cp {build}/scala:{build} Client",
        "scala default-jdk-headless",
        "cc javac scala scalac",
        build=["mkdir -p {build}/scala", "scalac -cp {build} -d {build}/scala {here}/scala/Client.scala"],
        packages="Scala, the Java class",
    ),
    Language(
        "Go",
        "{build}/client_go",
        "golang-go",
        "cc go",
        build=["go build -o {build}/client_go {here}/go/client.go"],
        packages="Go (cgo)",
        environment={
            "CGO_ENABLED": "1",
            "CGO_LDFLAGS": "-L{build} -Wl,-rpath,{build}",
            "GOCACHE": "{build}/go",
            "GOFLAGS": "-mod=mod",
        },
    ),
    Language(
        "PHP",
        "php {here}/php/client.php",
        "php-cli",
        "cc php",
        "php -r 'exit(extension_loaded(\"FFI\") ? 0 : 1);'",
        packages="PHP (FFI)",
    ),
    Language(  # no Debian packages here: a browser is used where there is one, and never installed
        "Browser",
        f"{shlex.quote(sys.executable)} {{here}}/browser/client.py",
        programs="npm chromium",
        packages="onnxruntime-web (npm), Chromium",
        environment={"ORT_WEB": "{build}/node/node_modules/onnxruntime-web/dist"},
        npm="onnxruntime-web",
        size="about 140 MB",
    ),
]


@dataclass
class Outcome:
    """What came of one language: "yes", "skipped" or "FAILED", the seconds of one run, and what there is to say."""

    language: Language
    verdict: str
    seconds: float | None = None
    note: str = ""


def filled(text: str) -> str:
    """Fill the places of a command in."""
    java = shutil.which("javac")
    jdk = Path(java).resolve().parent.parent if java else Path("no-jdk")
    quote = shlex.quote
    return text.format(here=quote(str(HERE)), build=quote(str(BUILD)), jdk=quote(str(jdk)))


def execute(command: str, environment: dict[str, str], timeout: int = 300) -> subprocess.CompletedProcess[str]:
    """Run a command; what it prints comes back."""
    return subprocess.run(
        shlex.split(command),
        env=environment,
        cwd=BUILD,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )


def runtime_library() -> str:
    """Find onnxruntime's shared library: the variable, or the Python package, without importing it."""
    if os.environ.get("GLUEBALL_ORT"):
        return os.environ["GLUEBALL_ORT"]
    found = importlib.util.find_spec("onnxruntime")
    places = list(found.submodule_search_locations or []) if found else []
    libraries = [one for place in places for one in sorted(glob.glob(f"{place}/capi/libonnxruntime.*[0-9]*"))]
    if not libraries:
        sys.exit(
            "clients: onnxruntime's library is not here.\n"
            "  Fix: pip install onnxruntime; or set GLUEBALL_ORT to its path"
        )
    return libraries[0]


def environment_of(language: Language, library: str) -> dict[str, str]:
    """Give each client the same few variables, and its own."""
    own = {name: value.format(here=HERE, build=BUILD) for name, value in language.environment.items()}
    return {
        **os.environ,
        "GLUEBALL_ORT": library,
        "GLUEBALL_PREDICT": str(BUILD / "libglueball_predict.so"),
        "GLUEBALL_JNI": str(BUILD / "libglueball_jni.so"),
        "GLUEBALL_R": str(BUILD / "glueball_r.so"),
        **own,
    }


def missing(language: Language) -> str:
    """Say what a language lacks here; nothing: it can run."""
    absent = [program for program in language.programs.split() if not shutil.which(program)]
    if absent:
        return f"no {', '.join(absent)}"
    if language.probe and execute(language.probe, dict(os.environ)).returncode:
        return f"`{language.probe}` fails"
    if language.npm and not (BUILD / "node" / "node_modules" / language.npm).is_dir():
        return f"no {language.npm}"
    return ""


def debian_packages(absent: list[Language]) -> list[str]:
    """Name the packages of Debian that languages lack; where only npm's is missing, none."""
    needs = [language for language in absent if missing(language) != f"no {language.npm}"]
    return sorted({package for language in needs for package in language.debian.split()})


def install(languages: list[Language]) -> None:
    """Get what is missing: Debian packages as root, npm packages into the build directory."""
    absent = [language for language in languages if missing(language)]
    packages = debian_packages(absent)
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"Installing with apt-get: {' '.join(packages)}", flush=True)
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        execute("apt-get update -qq", quiet)
        done = execute(f"apt-get install -qq -y --no-install-recommends {' '.join(packages)}", quiet, timeout=900)
        if done.returncode:
            print(f"apt-get failed:\n{done.stderr[-1500:]}")
    elif packages:
        print(f"As root, on Debian: apt-get install --no-install-recommends {' '.join(packages)}")
    for language in absent:
        if language.npm and missing(language) == f"no {language.npm}":
            print(f"Installing with npm, into {BUILD / 'node'} ({language.size}): {language.npm}", flush=True)
            (BUILD / "node").mkdir(exist_ok=True)  # --ignore-scripts: the package's own one fetches CUDA libraries
            done = execute(
                f"npm install --silent --ignore-scripts --no-audit --no-fund --prefix {BUILD / 'node'} {language.npm}",
                dict(os.environ),
                timeout=900,
            )
            if done.returncode:
                print(f"npm failed:\n{done.stderr[-1500:]}")


def advise(languages: list[Language]) -> None:
    """Say what could be installed, and that nothing was."""
    absent = [language for language in languages if missing(language)]
    if not absent:
        return
    names, packages = ", ".join(language.name for language in absent), debian_packages(absent)
    print(f"Not here: {names}. Nothing was installed. `make clients INSTALL=1`, as root, does this:")
    if packages:
        print(f"  apt-get install --no-install-recommends {' '.join(packages)}")
    for language in absent:
        if language.npm and missing(language) == f"no {language.npm}":
            print(f"  npm install {language.npm}, into {BUILD / 'node'} ({language.size})")


def difference(found: str, wanted: str) -> str:
    """Compare two outputs: the same classes, and the same numbers but for the last digit. Nothing: they agree."""
    lines, others = found.splitlines(), wanted.splitlines()
    if len(lines) != len(others):
        return f"{len(lines)} lines instead of {len(others)}"
    for number, (line, other) in enumerate(zip(lines, others), 1):
        ours, theirs = line.split(), other.split()
        try:
            near = all(abs(float(a) - float(b)) < 2e-6 for a, b in zip(ours[1::2], theirs[1::2]))
        except ValueError:
            near = False
        if len(ours) != len(theirs) or ours[::2] != theirs[::2] or not near:
            return f"line {number} is {line!r} instead of {other!r}"
    return ""


def attempt(language: Language, library: str, wanted: str | None) -> tuple[Outcome, str]:
    """Build one client, run it, and compare; wanted is None for the one that the others are compared with."""
    lacking = missing(language)
    if lacking:
        return Outcome(language, "skipped", note=lacking), ""
    environment = environment_of(language, library)
    try:
        for command in language.build:
            done = execute(filled(command), environment)
            if done.returncode:
                return Outcome(
                    language, "FAILED", note=f"{filled(command)}\n{done.stdout[-1500:]}{done.stderr[-1500:]}"
                ), ""
        command = filled(language.run)
        start = time.perf_counter()
        done = execute(f"{command} {shlex.quote(str(MODEL))} {shlex.quote(str(INPUT))}", environment)
        seconds = time.perf_counter() - start
        if done.returncode:
            return Outcome(language, "FAILED", seconds, f"exit {done.returncode}: {done.stderr[-1500:]}"), ""
        wrong = "" if wanted is None else difference(done.stdout, wanted)
        without = execute(f"{command} absent.onnx {shlex.quote(str(INPUT))}", environment)
        if not wrong and (without.returncode <= 0 or "absent.onnx" not in without.stderr):
            wrong = f"without a model: exit {without.returncode}, {without.stderr[-300:]!r}"
    except subprocess.TimeoutExpired as error:
        return Outcome(language, "FAILED", note=f"no end within {error.timeout:.0f} s: {error.cmd}"), ""
    return Outcome(language, "FAILED" if wrong else "yes", seconds, wrong), done.stdout


def prepare(library: str) -> tuple[Outcome, str]:
    """Make model, input and shared library; return what came of Python, and the lines that it prints."""
    BUILD.mkdir(parents=True, exist_ok=True)
    if not (MODEL.is_file() and INPUT.is_file()):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
        }
        made = subprocess.run([sys.executable, str(HERE / "make_model.py"), str(BUILD)], env=environment, check=False)
        if made.returncode:
            sys.exit("clients: the model could not be made (above).")
    if shutil.which("cc"):
        command = filled(f"{CC} -shared -fPIC -o {{build}}/libglueball_predict.so {SHIM} {LINK}")
        built = execute(command, dict(os.environ))
        if built.returncode:
            sys.exit(f"clients: the shared library does not compile.\n{built.stderr}")
    outcome, wanted = attempt(LANGUAGES[0], library, None)
    if outcome.verdict != "yes":
        sys.exit(f"clients: the Python client, which the others are compared with, fails: {outcome.note}")
    print(wanted, end="", flush=True)
    return outcome, wanted


def report(outcomes: list[Outcome]) -> int:
    """Print the table, and what went wrong; the exit status."""
    print(f"\n{'language':9} {'runs':8} {'time':>7}  packages")
    for one in outcomes:
        seconds = "" if one.seconds is None else f"{one.seconds:.2f} s"
        note = f" ({one.note})" if one.verdict == "skipped" else ""
        print(f"{one.language.name:9} {one.verdict:8} {seconds:>7}  {one.language.packages}{note}")
    for one in outcomes:
        if one.verdict == "FAILED":
            print(f"\n{one.language.name}: {one.note}")
    running = sum(one.verdict == "yes" for one in outcomes)
    print(f"\n{running} of {len(outcomes)} languages print the same lines.")
    if os.environ.get("CI") == "true" and running < min(FEWEST_IN_CI, len(outcomes)):
        print(f"With CI=true at least {FEWEST_IN_CI} must run.")
        return 1
    return int(any(one.verdict == "FAILED" for one in outcomes))


def main() -> int:
    """Install if asked, prepare, run every client, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true", default=os.environ.get("CI") == "true")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="these languages, beside Python")
    options = parser.parse_args()
    chosen = [one for one in LANGUAGES[1:] if not options.only or one.name in options.only]
    BUILD.mkdir(parents=True, exist_ok=True)
    (install if options.install else advise)(chosen)
    library = runtime_library()
    first, wanted = prepare(library)
    # Scala uses what Java has built, so it waits; the others go two at a time.
    early, late = [one for one in chosen if one.name != "Scala"], [one for one in chosen if one.name == "Scala"]
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda one: attempt(one, library, wanted)[0], early))
    outcomes += [attempt(one, library, wanted)[0] for one in late]
    outcomes.sort(key=lambda one: LANGUAGES.index(one.language))
    return report([first, *outcomes])


if __name__ == "__main__":
    sys.exit(main())
