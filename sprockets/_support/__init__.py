"""Support: what every package here may stand on."""

__all__: list[str] = []
