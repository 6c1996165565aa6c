"""Installs the four top-level folders as subpackages of ``detailscribe``."""

from setuptools import find_packages, setup

FOLDERS = ("state", "prompts", "tools", "agent")


def packages() -> list[str]:
    """All packages of the four folders, by import name."""
    found = [name for folder in FOLDERS for name in (folder, *(f"{folder}.{part}" for part in find_packages(folder)))]
    return [f"detailscribe.{name}" for name in found]


setup(packages=packages(), package_dir={f"detailscribe.{folder}": folder for folder in FOLDERS})
