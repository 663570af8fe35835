"""The plugin for pytest, for those who name their plugins; pytest also finds it by itself."""

from sprockets._support.pytest_plugin import log_records, pytest_runtest_makereport

__all__ = ["log_records", "pytest_runtest_makereport"]
