"""A frontend that runs beside the test, and a visitor that reads its pages as a browser does."""

import asyncio
import http.client
import threading
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin, urlsplit

from tornado.netutil import bind_sockets

from sprockets.http.testing import make_server
from sprockets.tickets.app import make_app

LIMIT = 60  # seconds, for whatever is waited for
_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr")
)
_BLOCKS = frozenset(
    (
        *("button", "dd", "details", "div", "dt", "footer", "form", "h1", "h2", "h3", "header"),
        *("label", "li", "nav", "ol", "option", "p", "pre", "section", "summary", "td", "th"),
        *("tr", "ul"),
    )
)


class Served:
    """A frontend in a thread of its own, until it is closed."""

    def __init__(self, store, **options):
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._failure = None
        self._thread = threading.Thread(target=self._run, args=(store, options), daemon=True)
        self._thread.start()
        assert self._ready.wait(LIMIT)
        if self._failure is not None:
            raise self._failure

    def _run(self, store, options):
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve(store, options))
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self, store, options):
        self._over = asyncio.Event()
        try:
            application = make_app(store=store, **options)
            server = make_server(application)
            (listener,) = bind_sockets(0, "127.0.0.1")
            server.add_sockets([listener])
        except BaseException as error:
            self._failure = error
            return
        self.base = options.get("base_path", "")
        self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}{self.base}"
        self._ready.set()
        await self._over.wait()
        for callback in application.on_shutdown_callbacks:
            callback(application)
        server.stop()
        await server.close_all_connections()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=LIMIT)

    def close(self):
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(LIMIT)
            assert not self._thread.is_alive()

    def visitor(self):
        return Visitor(self)


class Page:
    """An answer, and what is in it if it is HTML."""

    def __init__(self, response, body, url):
        self.status = response.status
        self.headers = response.headers
        self.url = url
        self.body = body
        self.text = body.decode("utf-8")
        if "text/html" in (response.headers.get("Content-Type") or ""):
            self.root = parse(self.text)

    def all(self, name, /, **attributes):
        """Return the elements of that name, with those attributes."""
        return [each for each in self.root.walk() if each.is_like(name, attributes)]

    def one(self, name, /, **attributes):
        found = self.all(name, **attributes)
        assert len(found) == 1, f"{len(found)} of {name} {attributes} in {self.url}"
        return found[0]

    @property
    def says(self):
        """What people read of the content, with single spaces."""
        return self.one("main").says

    @property
    def notice(self):
        return " ".join(each.says for each in self.all("p", class_="notice"))


class Element:
    def __init__(self, name, attributes):
        self.name = name
        self.attributes = attributes
        self.children = []

    def is_like(self, name, attributes):
        if self.name != name:
            return False
        for key, value in attributes.items():
            key_there = key.rstrip("_").replace("_", "-")
            found = self.attributes.get(key_there)
            if key == "class_":
                if value not in (found or "").split():
                    return False
            elif value is True:
                if key_there not in self.attributes:
                    return False
            elif found != value:
                return False
        return True

    def walk(self):
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    @property
    def text(self):
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    @property
    def says(self):
        """What people read, with single spaces."""
        return " ".join("".join(self._pieces()).split())

    def _pieces(self):
        edge = " " if self.name in _BLOCKS else ""
        yield edge
        for child in self.children:
            if isinstance(child, str):
                yield child
            else:
                yield from child._pieces()
        yield edge

    def __getitem__(self, name):
        return self.attributes[name]

    def all(self, name, /, **attributes):
        return [each for each in self.walk() if each.is_like(name, attributes)]


class _Parser(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]
        self.problems = []

    def handle_starttag(self, name, attributes):
        names = [key for key, _ in attributes]
        if len(set(names)) != len(names):
            self.problems.append(f"an attribute twice in {name}: {names}")
        element = Element(name, {key: "" if value is None else value for key, value in attributes})
        self.open[-1].children.append(element)
        if name not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, name, attributes):
        self.handle_starttag(name, attributes)
        if name not in _VOID:
            self.open.pop()

    def handle_endtag(self, name):
        if name in _VOID:
            self.problems.append(f"an end of {name}")
        elif self.open[-1].name == name:
            self.open.pop()
        else:
            self.problems.append(f"</{name}> within {[each.name for each in self.open]}")

    def handle_data(self, data):
        self.open[-1].children.append(data)


def parse(text):
    """Return the elements of a page whose tags are all where they belong."""
    parser = _Parser()
    parser.feed(text)
    parser.close()
    assert parser.problems == []
    assert parser.open == [parser.root]
    return parser.root


class Visitor:
    """Reads pages and sends their forms, one after the other, without a script."""

    def __init__(self, served, accept="text/html"):
        self.served = served
        self.base = served.base
        self.accept = accept
        self.cookies = {}

    def send(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=LIMIT)
        try:
            headers = {"Accept": self.accept, **headers}
            if self.cookies:
                headers["Cookie"] = "; ".join(
                    f"{name}={value}" for name, value in self.cookies.items()
                )
            if isinstance(body, (dict, list)):
                body = urlencode(body)
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            page = Page(response, response.read(), path)
            for cookie in response.headers.get_all("Set-Cookie", []):
                name, _, value = cookie.partition(";")[0].partition("=")
                self.cookies[name] = value
            return page
        finally:
            connection.close()

    def get(self, path="/", **headers):
        """Read a page, wherever it leads."""
        page = self.send("GET", f"{self.base}{path}", **headers)
        return self._follow(page)

    def _follow(self, page):
        for _ in range(5):
            if page.status not in (301, 302, 303, 307):
                return page
            target = urlsplit(urljoin(page.url, page.headers["Location"]))
            page = self.send(
                "GET", f"{target.path}?{target.query}" if target.query else target.path
            )
        raise AssertionError(f"{page.url} leads in a circle")

    def submit(self, page, action, /, **fields):
        """Fill in the form that posts to *action* on *page*, press its button, see what follows."""
        forms = [
            each
            for each in page.all("form")
            if each.attributes.get("action") == f"{self.base}{action}"
        ]
        wanted = [
            each
            for each in forms
            if fields.keys() <= {field.attributes.get("name") for field in _fields(each, page)}
        ]
        assert wanted, f"no form for {action} with {list(fields)} on {page.url}"
        form = wanted[0]
        values = [
            (field["name"], field.attributes.get("value", ""))
            for field in _fields(form, page)
            if field.attributes.get("name")
            and field.name == "input"
            and field.attributes.get("type") == "hidden"
        ]
        for name, value in fields.items():
            values += [(name, each) for each in (value if isinstance(value, list) else [value])]
        answer = self.send("POST", f"{self.base}{action}", values)
        return self._follow(answer)


def _fields(form, page):
    """Return the fields of *form*, those that name it elsewhere on the page included."""
    found = [each for each in form.walk() if each.name in ("input", "button", "textarea", "select")]
    name = form.attributes.get("id")
    if name:
        found += [each for each in page.all("input") if each.attributes.get("form") == name]
    return found
