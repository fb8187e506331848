"""No secret reaches a log, by whatever road."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections import namedtuple
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from clodo.logs import MASK, MaskingFilter, MaskSecrets, SecretMask, configure

SECRET = "s3cr3t/with+odd=chars.and\\back"
Point = namedtuple("Point", "x y")


@pytest.fixture
def mask() -> SecretMask:
    known = SecretMask()
    known.register(SECRET)
    return known


@pytest.fixture
def written(mask: SecretMask) -> Iterator[io.StringIO]:
    """Everything that is logged, with the logging of the test run put back afterwards."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers), structlog.get_config(), logging.getLogRecordFactory())
    root.handlers.clear()
    stream = io.StringIO()
    configure(level=logging.DEBUG, as_json=True, stream=stream, mask=mask)
    yield stream
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    structlog.configure(**before[2])
    logging.setLogRecordFactory(before[3])


# ── The mask ──


NESTED = st.recursive(
    st.just(SECRET) | st.text(max_size=10) | st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.just(SECRET), inner, max_size=3)
        | st.tuples(inner, inner)
        | st.builds(Point, inner, inner)
        | inner.map(lambda value: f"before {value} after")
        | inner.map(lambda value: str(value).encode())
        | inner.map(lambda value: ValueError(value))
    ),
    max_leaves=8,
)


@given(NESTED)
def test_a_known_secret_is_found_however_deep_it_lies(value):
    """In lists, keys and values, tuples, bytes, exceptions and inside longer text."""
    known = SecretMask()
    known.register(SECRET)

    shown = repr(known.value(value))

    assert SECRET not in shown
    assert repr(SECRET)[1:-1] not in shown


@given(st.text(alphabet="abc /_-.", max_size=30), st.integers(), st.booleans())
def test_what_holds_no_secret_stays_as_it_is(text, number, flag):
    """Ordinary values pass unchanged and keep their types."""
    known = SecretMask()
    known.register(SECRET)
    value = {"text": text, "rows": [number, flag, None, 1.5], "pair": (text, number), "point": Point(1, text)}

    assert known.value(value) == value


def test_a_secret_of_several_lines_is_masked_line_by_line():
    """A private key that a tool prints in part is masked in part."""
    known = SecretMask()
    known.register("-----BEGIN-----\nMIIEvQIBADANBg\n-----END-----")

    assert known.text("line: MIIEvQIBADANBg") == f"line: {MASK}"


def test_a_secret_that_holds_another_is_masked_whole():
    """The longest match wins, so no tail of it remains."""
    known = SecretMask()
    known.register("abcdef")
    known.register("abcdef-ghijkl")

    assert known.text("abcdef-ghijkl abcdef") == f"{MASK} {MASK}"


def test_a_secret_inside_json_text_is_found():
    """Quotes and line ends are escaped there."""
    known = SecretMask()
    known.register('quo"ted\nvalue')

    assert "ted" not in known.text(json.dumps({"k": 'quo"ted\nvalue'}))


@pytest.mark.parametrize("value", ["", "a", "short"])
def test_values_too_short_to_be_secrets_are_left_alone(value):
    """Masking every 'a' would hide the log, not the secret."""
    known = SecretMask()
    known.register(value)

    assert known.text("a short text") == "a short text"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Bearer abcdefgh12345", "Authorization: Bearer ***"),
        ("{'authorization': 'Bearer abcdefgh12345'}", "{'authorization': 'Bearer ***'}"),
        ("bearer abcdefgh12345 failed", "bearer *** failed"),
        ("CLOUDFLARE_API_TOKEN=abcdefgh12345 wrangler", "CLOUDFLARE_API_TOKEN=*** wrangler"),
        ('{"api_token": "abcdefgh12345", "n": 1}', '{"api_token": "***", "n": 1}'),
        ("X-Auth-Key: 0123456789abcdef", "X-Auth-Key: ***"),
        ("password=hunter2hunter2;x", "password=***;x"),
        ("token cfut_0123456789abcdefABCDEF here", "token *** here"),
        ("the bearer of bad news", "the bearer of bad news"),
        ("secret_text bindings: 3", "secret_text bindings: 3"),
        ("version 0a1b2c3d-0000-4000-8000-000000000001", "version 0a1b2c3d-0000-4000-8000-000000000001"),
    ],
)
def test_what_looks_like_a_token_is_masked_unregistered(text, masked):
    """Headers, assignments and prefixed tokens give themselves away; ids and prose don't."""
    assert SecretMask().text(text) == masked


@pytest.mark.parametrize("field", ["token", "api_token", "API_KEY", "Authorization", "password", "client_secret"])
def test_a_field_with_a_telling_name_is_masked_whatever_it_holds(field):
    """Its name says that it is a secret."""
    assert SecretMask().value({"deep": [{field: "x y"}]}) == {"deep": [{field: MASK}]}


def test_fields_that_only_sound_like_secrets_are_kept():
    """Names and counts of secrets are no secrets."""
    value = {"secret_names": ["A"], "secrets": 2, "tokens_left": 3, "token": None, "has_token": True}

    assert SecretMask().value(value) == value


def test_secrets_may_be_registered_while_others_log():
    """Registering from eight threads loses none."""
    known = SecretMask()
    values = [f"value-{number:04d}-x" for number in range(120)]

    def register(part: list[str]) -> None:
        for value in part:
            known.register(value)
            assert known.text(value) == MASK

    threads = [threading.Thread(target=register, args=(values[start::8],)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert known.text(" ".join(values)) == " ".join([MASK] * 120)


# ── structlog ──


def test_the_processor_masks_event_and_fields(mask):
    """Text, fields, keys."""
    event = {"event": f"got {SECRET}", "deep": [{"x": SECRET}], SECRET: 1, "token": "anything"}

    masked = MaskSecrets(mask)(None, "info", dict(event))

    assert masked == {"event": f"got {MASK}", "deep": [{"x": MASK}], MASK: 1, "token": MASK}


def raise_with_secret() -> None:
    raise RuntimeError(f"refused {SECRET}")


def test_an_event_of_ours_is_written_without_secrets(written):
    """Message, field and traceback, as one JSON line."""
    log = structlog.get_logger("clodo.test")
    try:
        raise_with_secret()
    except RuntimeError:
        log.exception("failed with %s", SECRET, header=f"Bearer {SECRET}", deep={"a": (SECRET,)})

    (line,) = written.getvalue().splitlines()
    assert json.loads(line)["logger"] == "clodo.test"
    assert "RuntimeError" in line
    assert SECRET not in line
    assert json.dumps(SECRET)[1:-1] not in line


# ── The standard library ──


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        (f"plain {SECRET}", ()),
        ("one %s", (SECRET,)),
        ("several %s %d %r", ("x", 3, SECRET)),
        ("named %(a)s", ({"a": SECRET},)),
        ("half %s" + SECRET[6:], (SECRET[:6],)),
        ("nested %s", ([{"k": SECRET}],)),
        ("an error %s", (ValueError(SECRET),)),
    ],
)
def test_a_record_of_others_is_written_without_secrets(written, message, arguments, capsys):
    """Also where a secret is put together from parts."""
    logging.getLogger("somebody.else").warning(message, *arguments)

    seen = written.getvalue() + capsys.readouterr().err
    assert SECRET not in seen
    assert repr(SECRET)[1:-1] not in seen
    assert json.dumps(SECRET)[1:-1] not in seen


def test_an_exception_of_others_is_written_without_secrets(written):
    """The traceback is kept, the secret in it is not, nor in its cause."""
    try:
        try:
            raise_with_secret()
        except RuntimeError as error:
            raise ValueError("outer") from error
    except ValueError:
        logging.getLogger("somebody.else").exception("it broke", extra={"header": f"Bearer {SECRET}"}, stack_info=True)

    text = written.getvalue()
    assert "RuntimeError" in text
    assert "outer" in text
    assert SECRET not in text
    assert json.dumps(SECRET)[1:-1] not in text


def test_the_filter_alone_masks_for_a_foreign_formatter(mask):
    """A handler of somebody else's (Prefect's, say) is safe with the filter, whatever its formatter prints."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s %(header)s"))
    handler.addFilter(MaskingFilter(mask))
    logger = logging.Logger("alone")
    logger.addHandler(handler)

    try:
        raise_with_secret()
    except RuntimeError:
        logger.exception("token %s", SECRET, extra={"header": {"Authorization": f"Bearer {SECRET}"}})

    assert SECRET not in stream.getvalue()
    assert f"ERROR token {MASK}" in stream.getvalue()
    assert f"RuntimeError: refused {MASK}" in stream.getvalue()


def test_a_record_whose_arguments_do_not_fit_is_masked_too(mask, capsys):
    """Logging complains about it on stderr, with the message and the arguments; the secret isn't among them."""
    handler = logging.StreamHandler(io.StringIO())
    handler.addFilter(MaskingFilter(mask))
    logger = logging.Logger("alone")
    logger.addHandler(handler)

    logger.warning("too few %s %s", SECRET)

    complaint = capsys.readouterr().err
    assert "too few %s %s" in complaint
    assert MASK in complaint
    assert SECRET not in complaint
    assert repr(SECRET)[1:-1] not in complaint


def test_handlers_of_others_get_masked_records(written):
    """A handler that was there before us, without our filter, sees no secret either."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("somebody.else")
    logger.addHandler(handler)

    try:
        raise_with_secret()
    except RuntimeError:
        logger.exception("token %s", SECRET)
    finally:
        logger.removeHandler(handler)

    assert SECRET not in stream.getvalue()
    assert "RuntimeError: refused" in stream.getvalue()


def test_records_without_secrets_keep_their_arguments(written):
    """Who counts or groups records by their template still can."""
    record = logging.getLogRecordFactory()("n", logging.INFO, "f", 1, "%s failed %d times", ("host", 3), None)

    assert (record.msg, record.args) == ("%s failed %d times", ("host", 3))


def test_a_record_keeps_its_sense(written):
    """Level, logger and arguments that hold no secret are written as they were."""
    logging.getLogger("somebody.else").error("%s failed %d times", "host", 3)

    (line,) = written.getvalue().splitlines()
    entry: dict[str, Any] = json.loads(line)
    assert (entry["event"], entry["level"], entry["logger"]) == ("host failed 3 times", "error", "somebody.else")


def test_setting_up_twice_writes_once(mask, written):
    """The second call replaces the first, and lines for people are masked too."""
    again = io.StringIO()
    configure(stream=again, mask=mask)

    structlog.get_logger("clodo").info("hello", value=SECRET)
    logging.getLogger("other").debug("below the level")

    assert written.getvalue() == ""
    assert again.getvalue().count("hello") == 1
    assert "below" not in again.getvalue()
    assert SECRET not in again.getvalue()
