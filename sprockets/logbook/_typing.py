"""The names of ``typing`` without importing it, which costs a third of importing all the rest.

Type checkers see ``typing`` itself.  At run time there are stand-ins, which is enough where
annotations are not evaluated; whoever wants to evaluate them puts ``typing`` into ``sys.modules``
in this module's place before importing what uses it, as the documentation's build does.
"""

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import IO as IO
    from typing import Any as Any
    from typing import ClassVar as ClassVar
    from typing import Final as Final
    from typing import Generic as Generic
    from typing import Literal as Literal
    from typing import Protocol as Protocol
    from typing import Self as Self
    from typing import SupportsIndex as SupportsIndex
    from typing import TypeAlias as TypeAlias
    from typing import TypeVar as TypeVar
    from typing import cast as cast
    from typing import overload as overload
else:

    class _StandIn:
        """Takes the place of a name of ``typing`` in expressions that nobody looks at."""

        def __init__(self, name):
            self._name = name

        def __repr__(self):
            return self._name

        def __call__(self, *args, **kwargs):
            return self

        def __getitem__(self, item):
            return self

        def __or__(self, other):
            return self

        __ror__ = __or__

    class Generic:
        """A base that may be subscribed."""

        def __class_getitem__(cls, item):
            return cls

    class Protocol:
        """A base."""

    def cast(kind, value):
        """Return *value*."""
        return value

    def overload(function):
        """Return *function*, which another one is going to replace."""
        return function

    IO = _StandIn("IO")
    Any = _StandIn("Any")
    ClassVar = _StandIn("ClassVar")
    Final = _StandIn("Final")
    Literal = _StandIn("Literal")
    Self = _StandIn("Self")
    SupportsIndex = _StandIn("SupportsIndex")
    TypeAlias = _StandIn("TypeAlias")
    TypeVar = _StandIn("TypeVar")
