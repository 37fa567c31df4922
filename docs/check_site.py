"""Check the built site: every internal link has its page and anchor; the search finds our words.

Usage: ``python docs/check_site.py docs/_build/html``. Prints what is wrong; the exit status
is 1 if there is any error.
"""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What people search for when their stream hangs: a text, and the page that it must find.
SOUGHT = {
    "Internal gRPC call error 8": "symptoms/internal-grpc-call-error-8",
    "anext(): asynchronous generator is already running": "symptoms/anext-already-running",
    "GRPC_CALL_ERROR_TOO_MANY_OPERATIONS": "symptoms/too-many-operations",
    "RPC already finished": "symptoms/rpc-already-finished",
    "Exception iterating requests": "symptoms/exception-iterating-requests",
    "attached to a different loop": "symptoms/different-loop",
    "receive_message": "symptoms/server-stops-answering",
    "false end of stream": "symptoms/false-end-of-stream",
    "Segmentation fault": "symptoms/segmentation-fault",
    "Wrong file descriptor generation": "symptoms/wrong-file-descriptor-generation",
    "Everything on one channel stands still": "symptoms/channel-stands-still",
    "Locally cancelled by application": "symptoms/cancelled-error-and-nothing-else",
}

# What people type without an error text, and more errors of grpcio: a page for each.
WORDS = {
    "deadlock": "howto/hangs",
    "hang": "howto/hangs",
    "stuck": "howto/hangs",
    "messages vanish": "howto/messages-vanish",
    "lost messages": "howto/messages-vanish",
    "metrics": "howto/production",
    "prometheus": "howto/production",
    "production": "howto/production",
    "overhead": "faq",
    "faq": "faq",
    "troubleshooting": "faq",
    "ignore": "faq",
    "suppress": "faq",
    "false alarm": "faq",
    "fastapi": "howto/frameworks",
    "django": "howto/frameworks",
    "celery": "howto/frameworks",
    "gunicorn": "howto/frameworks",
    "datadog": "howto/agents",
    "sentry": "howto/agents",
    "fork": "rules/use-after-fork",
    "Internal error from Core": "symptoms/too-many-operations",
    "ExecuteBatchError": "symptoms/too-many-operations",
    "InvalidStateError": "symptoms/too-many-operations",
    "Please report to": "symptoms/internal-grpc-call-error-8",
    "CancelledError": "symptoms/cancelled-error-and-nothing-else",
    "Task was destroyed but it is pending": "rules/parked-request-iterator",
    "Cannot invoke RPC on closed channel": "rules/closed-channel",
}


class Page(HTMLParser):
    """The links and the anchors of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.places: set[str] = {"", "top"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag links to and what it names."""
        for name, value in attrs:
            if value and (name == "id" or (tag == "a" and name == "name")):
                self.places.add(value)
            elif value and name in ("href", "src"):
                self.links.add(value)


def broken_links(site: Path) -> list[str]:
    """Return one sentence for each link without a target."""
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    wrong = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue  # out of the site
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            shown = f"{path.relative_to(site.resolve())}: {link}"
            if not target.exists():
                wrong.append(f"{shown} is not there")
            elif target in pages and unquote(parts.fragment) not in pages[target].places:
                wrong.append(f"{shown}: the page has no such place")
    return sorted(wrong)


def unfound(site: Path, sought: dict[str, str] | None = None) -> list[str]:
    """Return one sentence for each text by which the search does not find its page."""
    from sphinx.search.en import SearchEnglish  # as the script of the page does: conf.language

    english = SearchEnglish({})
    script = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(script[script.index("{") : script.rindex("}") + 1])
    names = index["docnames"]
    wrong = []
    for text, page in (sought or SOUGHT | WORDS).items():
        for word in filter(english.word_filter, english.split(text.lower())):
            found: set[str] = set()
            for terms in (index["terms"], index["titleterms"]):
                numbers = terms.get(english.stem(word), [])
                numbers = [numbers] if isinstance(numbers, int) else numbers  # a single one
                found |= {names[number] for number in numbers}
            if page not in found:
                wrong.append(f"the search for {text!r} does not find {page} by {word!r}")
    return wrong


def main(site: Path) -> int:
    """Print what is wrong with the site; return the exit status."""
    wrong = broken_links(site) + unfound(site)
    for complaint in wrong:
        print(complaint)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
