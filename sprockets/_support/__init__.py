"""Support: what every package here may stand on."""

from sprockets._support.deprecation import deprecated, moved
from sprockets._support.optional import MissingDependency, optional

__all__ = ["MissingDependency", "deprecated", "moved", "optional"]
