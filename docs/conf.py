"""How the documentation is built: ``make docs``."""

import builtins
import os
import shlex
import subprocess
import sys
import typing
from importlib.metadata import version as installed_version

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

# Annotations are evaluated here, so they need the real thing.
sys.modules["sprockets.logbook._typing"] = typing

project = "sprockets.http"
author = "The sprockets.http authors"
copyright = "2026, the sprockets.http authors"
version = release = installed_version("sprockets.http")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
pygments_dark_style = "github-dark"
html_theme = "furo"
html_title = f"{project} {version}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b5c6b",
        "color-brand-content": "#0b5c6b",
        "color-brand-visited": "#54497a",
    },
    "dark_css_variables": {
        "color-brand-primary": "#63c5d8",
        "color-brand-content": "#63c5d8",
        "color-brand-visited": "#b3a4e0",
    },
}

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
    ("py:class", r"web\.Application|httputil\.\w+|LogConfig"),
    ("py:class", "HTTP1Connection(Parameters)?|IOStream"),
    # What an exchange has, which only the server makes.
    ("py:class", "Activity|RequestAction"),
    # PEP 3333's, and a class that is told with what takes it.
    ("py:class", "WSGIApplication|Anonymous"),
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
    ("py:.*", r"(jinja2|zmq|redis|kombu|nats)(\..*)?"),
    ("py:class", "Console"),  # rich's
    # How an annotation that is a text is taken apart.
    ("py:class", r"Way|dict\[str"),
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


# What pip makes of our entry point, whatever is first on the path.
_SPROCKETS = "import sys; from sprockets.commands.__main__ import main; sys.exit(main())"


class CommandHelp(SphinxDirective):
    """``.. command-help:: sprockets run`` shows what that says with ``--help``."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec: typing.ClassVar = {"without-help": lambda text: True}

    def run(self) -> list[nodes.Node]:
        """Ask the command, and return what it says."""
        words = shlex.split(self.arguments[0])
        program = [sys.executable, "-P", "-c", _SPROCKETS, *words[1:]]
        if words[0] == "python":
            program = [sys.executable, "-P", *words[1:]]
        shown = self.arguments[0]
        if "without-help" not in self.options:
            program.append("--help")
            shown += " --help"
        done = subprocess.run(
            program,
            env={**os.environ, "COLUMNS": "90", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        if done.returncode and "without-help" not in self.options:
            raise self.error(f"{shown} ended with {done.returncode}: {done.stdout}")
        text = f"$ {shown}\n{done.stdout.rstrip()}"
        # What a build reads anew: another help is another page.
        self.env.note_reread()
        return [nodes.literal_block(text, text, language="text", classes=["command-help"])]


def setup(app: Sphinx) -> None:
    """Tell Sphinx of the directive."""
    app.add_directive("command-help", CommandHelp)
