"""How the documentation is built: ``make docs``."""

import builtins
import sys
import typing
from importlib.metadata import version as installed_version

# Annotations are evaluated here, so they need the real thing.
sys.modules["sprockets.logbook._typing"] = typing

project = "sprockets.http"
author = "The sprockets.http authors"
copyright = "2026, the sprockets.http authors"
version = release = installed_version("sprockets.http")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"{project} {version}"

default_role = "py:obj"
nitpicky = True
# There is no network where this is built, so names of the standard library are not looked up; a
# name of ours that starts with an underscore is no page's business.
nitpick_ignore_regex = [
    ("py:.*", rf"({'|'.join(sys.stdlib_module_names)})\..*"),
    ("py:.*", "|".join(vars(builtins))),
    ("py:.*", r"(sprockets\.(.*\.)?)?_.*"),
    # Names of types, as annotations have them; the pages say what they mean.
    ("py:class", "BatchReason|Entry|ExcInfo|Filter|Formatter|Level|ProcessorCallback"),
    ("py:class", "FrameType|SupportsHandle|SupportsLock|TracebackType"),
    ("py:class", r"(sprockets\..*\.)?[A-Z]"),
    # Tornado's names, which its own pages explain.
    ("py:.*", r"tornado(\..*)?"),
    ("py:class", r"web\.Application|LogConfig"),
    ("py:class", "Address|Event|Framing|Message|Oversize|Policy|Recipients|Secure|timedelta"),
    ("py:class", r"RemoteHandler|Callable.*"),
    # Twisted's, and names of annotations.
    ("py:.*", r"twisted(\..*)?"),
    (
        "py:class",
        "Deferred|Levels|PushMethod|Start|Timeout|JSONDefault|Source|Destination|Serializers?",
    ),
    ("py:exc", "MissingDependency|HTTPClientError|PyMongoError"),
    # A class of ours that is told under a longer name, and those of databases' libraries.
    ("py:exc", "Problem|RefusedError"),
    ("py:class", "Database|Document"),
    (
        "py:obj",
        "FingersCrossedHandler|(Failed|Gone|RateLimited|Refused|Unanswered|Unauthorised)Error",
    ),
    # Of libraries that are optional, and methods told beside the class.
    ("py:.*", r"(zmq|redis|kombu|nats)(\..*)?"),
    ("py:class", "AllowedKeys|Key|RLock|SimpleQueue|SupportsPut"),
    ("py:obj", "RemoteHandler"),
    ("py:meth", r"\w+"),
    # A sentence with a colon is taken for a type before it.
    ("py:class", ".* .*"),
    # Attributes that constructors set are told there.
    ("py:attr", r"\w+"),
]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
