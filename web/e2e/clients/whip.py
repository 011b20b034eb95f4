"""WHIP (RFC 9725) as far as a client needs it that gathers before it offers."""

import urllib.parse
import urllib.request

TIMEOUT = 10  # seconds


def begin(endpoint, offer):
    """Posts the offer. Returns the answer and the session's URL."""
    request = urllib.request.Request(
        endpoint, data=offer.encode(), headers={"Content-Type": "application/sdp"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        if response.status != 201:
            raise RuntimeError(f"the server answers with {response.status}")
        session = urllib.parse.urljoin(endpoint, response.headers["Location"])
        return response.read().decode(), session


def end(session):
    """Leaves."""
    request = urllib.request.Request(session, method="DELETE")
    urllib.request.urlopen(request, timeout=TIMEOUT).close()
