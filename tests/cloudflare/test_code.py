"""The code of a Worker, as Cloudflare answers it and as it is sent back."""

from __future__ import annotations

import httpx
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clodo.cloudflare.scripts import Code, Module, code_in

TYPES = ["application/javascript+module", "text/plain", "application/octet-stream", "application/wasm", "text/x-python"]
MODULES = st.dictionaries(
    st.from_regex(r"[a-z][a-z./-]{0,8}", fullmatch=True),
    st.tuples(st.sampled_from(TYPES), st.binary(max_size=80)),
    min_size=1,
)


@settings(max_examples=60, deadline=None)
@given(MODULES)
@example({"a": ("text/plain", b"\r\n"), "b": ("text/plain", b"\n--x--\r"), "c": ("application/wasm", b"\x00\xff\r")})
def test_whatever_is_in_a_module_comes_back_as_it_was_sent(modules):
    """Any bytes under any type: what an upload sends is what an answer of the same form is read to."""
    code = Code("main.js", tuple(Module(name, kind, content) for name, (kind, content) in sorted(modules.items())))
    sent = httpx.Request("PUT", "https://x", files=code.parts({})[1:]).read()

    found = code_in(sent, {"cf-entrypoint": "main.js"})

    assert found == code


def test_a_script_of_the_old_kind_is_a_body_without_a_form():
    """It is sent back as the body part, and a module as the main module."""
    script, nothing = code_in(b"addEventListener('fetch', f)", {}), code_in(b"", {})
    module = Code("index.js", (Module("index.js", "application/javascript+module", b""),))

    assert [item.content for item in script.modules] == [b"addEventListener('fetch', f)"]
    assert nothing == Code(None, ())
    assert '"body_part": "script"' in script.parts({})[0][1][1]
    assert '"main_module": "index.js"' in module.parts({})[0][1][1]
