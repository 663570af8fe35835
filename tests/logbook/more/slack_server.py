"""A double of Slack, as its documentation has it: there is no other here.

It takes messages of one app for one channel, and of one incoming web-hook.
"""

from tests.logbook.more.service_server import ServiceHandler, ServiceServer

TOKEN = "xoxb-1"
CHANNEL = "C0123456789"
HOOK = "/services/T0/B0/s3cr3t"


class PostMessage(ServiceHandler):
    """``chat.postMessage``."""

    def post(self):
        login = self.request.headers.get("Authorization", "")
        if not login.startswith("Bearer "):
            self.refuse("not_authed")
        elif login != f"Bearer {TOKEN}":
            self.refuse("invalid_auth")
        elif self.body.get("channel") != CHANNEL:
            self.refuse("channel_not_found")
        elif not self.body.get("text"):
            self.refuse("no_text")
        elif self.contract.poison is not None and self.contract.poison in self.body["text"]:
            self.refuse("msg_too_long")
        else:
            self.expect(len(self.body["text"]) <= 40_000, "a text that would be cut off")
            self.contract.messages.append(self.body)
            self.answer(200, {"ok": True, "channel": CHANNEL, "ts": "1.2", "message": {}})

    def refuse(self, code):
        """Say no, as Slack does: with 200."""
        self.answer(200, {"ok": False, "error": code})


class Hook(ServiceHandler):
    """An incoming web-hook, which answers in plain text."""

    def post(self, name):
        if self.request.path != HOOK:
            self.say(404, "no_service")
        elif not self.body.get("text"):
            self.say(400, "no_text")
        else:
            self.contract.messages.append(self.body)
            self.say(200, "ok")

    def say(self, status, text):
        """Answer in plain text."""
        self.set_status(status)
        self.set_header("Content-Type", "text/html")
        self.finish(text)


class SlackServer(ServiceServer):
    """A workspace; `messages` are the bodies of what was posted."""

    routes = ((r"/api/chat\.postMessage", PostMessage), (r"/services/(.*)", Hook))

    def __init__(self):
        self.messages = []
        self.poison = None
        super().__init__()
        self.base_url = f"{self.url}/api/"

    @property
    def lines(self):
        """The lines of all messages."""
        return [line for message in self.messages for line in message["text"].split("\n")]
