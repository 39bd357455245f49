"""`python -m tapml_fuzz --version`: every version that a report of a bug should name."""

from __future__ import annotations

import platform

import click

from tapml_fuzz.core.version import __version__, versions_of

# Requirements whose version decides about results.
_REQUIRED = ("torch", "numpy", "hypothesis", "apache-tvm", "apache-tvm-ffi", "onnx")
# What platforms of the extras run on, and what models to carve come from.
_OPTIONAL = ("onnxruntime", "openvino", "iree-base-compiler", "pyopencl", "wgpu", "transformers")


def version_text() -> str:
    """One `name version` a line: this package, Python, the system, requirements, and the optional ones installed.

    They are read from the metadata of installed distributions, so that nothing heavy is imported.
    """
    installed = versions_of((*_REQUIRED, *_OPTIONAL))
    versions = {"tapml_fuzz": __version__, "python": platform.python_version(), "system": platform.platform()}
    versions |= {name: installed.get(name, "not installed") for name in _REQUIRED}
    versions |= {name: installed[name] for name in _OPTIONAL if name in installed}
    return "\n".join(f"{name} {version}" for name, version in versions.items())


def print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the versions and end the command, where `--version` is `wanted`; the option's callback."""
    if wanted and not ctx.resilient_parsing:
        click.echo(version_text())
        ctx.exit()
