"""The plugin for pytest, for those who name their plugins; pytest also finds it by itself."""

from sprockets._support.pytest_http import pytest_addoption, pytest_configure, run_service

__all__ = ["pytest_addoption", "pytest_configure", "run_service"]
