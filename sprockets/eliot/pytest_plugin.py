"""The plugin for pytest, for those who name their plugins; pytest also finds it by itself."""

from sprockets._support.pytest_eliot import eliot_logger, pytest_runtest_makereport

__all__ = ["eliot_logger", "pytest_runtest_makereport"]
