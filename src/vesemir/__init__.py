"""Vesemir brings a new release to a company's virtual machines without anybody watching."""

from importlib.metadata import version

__version__ = version("vesemir")
