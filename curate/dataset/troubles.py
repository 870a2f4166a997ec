"""What an object store, or the network before it, says when it does not do as asked: in the user's words."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from curate.errors import CurateError, ResumableError

__all__ = ["NO_CONDITIONS", "told"]

NO_CONDITIONS = (
    "the object store knows no conditional writes (If-None-Match, If-Match)",
    "a store needs them; docs/format.md says what else",
)
_SIGNS = (
    (r"builder error", "the object store's address is no https:// URL", "for http://, set AWS_ALLOW_HTTP=true"),
    (
        r"incorrectly configured region|AuthorizationHeaderMalformed|IllegalLocation",
        "the bucket is in another region",
        "set AWS_REGION to the bucket's",
    ),
    (r"501 Not Implemented|NotImplemented", *NO_CONDITIONS),
    (r"ExpiredToken|TokenRefreshRequired", "the credentials for the object store have expired", "get new ones"),
    (
        r"169\.254\.169\.254|[Cc]redential|Missing\w*(Key|Token)",
        "there are no credentials for the object store",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN, where they are for a while)",
    ),
)
"""Signs in the library's words, what they mean, what to do."""


@contextmanager
def told(location: str, name: str, *, reading: bool = False) -> Iterator[None]:
    """What goes wrong with a blob as an `OSError` where work can go on without it, else in the user's words.

    Args:
        location: The store's URL.
        name: The blob.
        reading: Who may not read is refused; who may not write may still read, so that is a `PermissionError`.
    """
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    place = f"{location}/{name}"
    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise _no_bucket(location) from None
        raise FileNotFoundError(errno.ENOENT, "no such object", place) from None
    except (PermissionDeniedError, UnauthenticatedError) as error:
        if not reading:
            raise PermissionError(errno.EACCES, f"permission denied ({_code(error)})", place) from None
        raise CurateError(
            f"the object store does not let you in ({_code(error)})",
            location,
            "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, and that they may read and list the bucket",
        ) from None
    except BaseError as error:
        raise _other(str(error), location, place) from None


def _no_bucket(location: str) -> CurateError:
    return CurateError(
        f"there is no bucket `{urlsplit(location).netloc}`",
        location,
        "make it, or check its name and where it is looked for (AWS_ENDPOINT_URL, AWS_REGION)",
    )


def _code(error: Exception) -> str:
    """The server's word for an error."""
    found = re.search(r"<Code>(\w+)</Code>", str(error)) or re.search(r"status code: (\d+ \w+)", str(error))
    return found[1] if found else type(error).__name__


def _other(words: str, location: str, place: str) -> Exception:
    """The error for what the library says in words alone."""
    if "NoSuchBucket" in words:
        return _no_bucket(location)
    for sign, problem, hint in _SIGNS:
        if re.search(sign, words):
            return CurateError(problem, location, hint)
    if "HTTP error" in words:
        return ResumableError(
            "the object store does not answer",
            location,
            "check the network and AWS_ENDPOINT_URL; what is finished is kept, and the same command goes on",
        )
    return OSError(errno.EIO, words.splitlines()[0][:300], place)
