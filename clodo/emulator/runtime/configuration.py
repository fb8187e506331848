"""What workerd is told: versions as text in its configuration language, pure and without touching a process."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from clodo.emulator.runtime.ports import Module, ScriptInvalid, VersionSpec

#: Names of headers between workerd and the back ends; the router strips them from what clients send.
SECRET_HEADER = "x-clodo-secret"  # noqa: S105 - a name
CALLER_HEADER = "x-clodo-caller"
CF_HEADER = "x-clodo-cf"
#: Says http or https. Not the well-known name: workerd takes this header away, and Workers see that one on Cloudflare.
PROTOCOL_HEADER = "x-clodo-protocol"
RPC_HOST = "clodo.rpc"
#: Back ends whose requests and answers stream.
_STREAMED = frozenset(("r2", "outbound", "cache"))
#: Compatibility date of our own JavaScript.
SHELL_DATE = "2026-07-01"
#: What Cloudflare takes for an upload without a date.
OLDEST_DATE = "2021-11-02"

PROBE_MODULE = "clodo-probe.js"
USER_SERVICE = "user"
#: The entrypoint of a process with Durable Objects at which other Workers' bindings reach them; no name in JavaScript.
OBJECTS_ENTRYPOINT = "clodo-objects"

_PLAIN = re.compile(rb"[ !#-\[\]-~]*\Z")


class Raw(str):
    """Text that stands in the configuration as it is."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Configuration:
    """
    Text for workerd. It holds secrets: never log or print it.

    Attributes:
        sockets: How many sockets the process listens on when it is ready.
    """

    text: str = field(repr=False)
    sockets: int


@dataclass(frozen=True, slots=True)
class Entrypoint:
    """
    A socket of a running version.

    Attributes:
        version: Index of the version within its process.

        name: Of the entrypoint; empty for the default one, with the assets in front if there are any.
    """

    version: int
    name: str

    @property
    def socket(self) -> str:
        """Return the file name of the socket; short, since Unix socket paths may have 107 bytes."""
        return f"v{self.version}.sock" if not self.name else f"v{self.version}-{short_hash(self.name)}.sock"


@dataclass(frozen=True, slots=True)
class Callee:
    """
    The other end of a service binding.

    Attributes:
        entrypoint: By `entrypoint_name`.
    """

    account_id: str
    script: str
    entrypoint: str = ""


@dataclass(frozen=True, slots=True)
class Backends:
    """
    Where the Python end of the bindings listens.

    Attributes:
        calls: The socket for what is whole and small, in workerd's notation, ``unix:/…``.

        streams: The one for everything else.

        secret: Proves to them that the caller is a process of ours.

        callees: Address by service binding's target.

        objects: Unique key by script and class of Durable Objects that live in other Workers.
    """

    calls: str
    streams: str
    secret: str
    callees: Mapping[Callee, str]
    objects: Mapping[tuple[str, str], str] = field(default_factory=dict)


def short_hash(text: str) -> str:
    """Return 12 hex digits that stand for *text* in file names."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def quote(value: str | bytes) -> str:
    """Write *value* as a Cap'n Proto string: printable ASCII as it is, any other byte in hexadecimal."""
    data = value.encode() if isinstance(value, str) else value
    if _PLAIN.match(data):
        return '"' + data.decode("ascii") + '"'
    escaped = "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in data)
    return f'"{escaped}"'


def render(value: object) -> str:
    """Write *value* in Cap'n Proto's text form: mappings as structs, sequences as lists, strings quoted."""
    match value:
        case Raw():
            return str(value)
        case bool():
            return "true" if value else "false"
        case str() | bytes():
            return quote(value)
        case int():
            return str(value)
        case Mapping():
            return "(" + ", ".join(f"{key} = {render(item)}" for key, item in value.items() if item is not None) + ")"
        case Iterable():
            return "[" + ",\n ".join(render(item) for item in value) + "]"
        case _:
            raise TypeError(f"no text form for {type(value).__name__}")


def embed(path: Path) -> Raw:
    """Refer to the bytes of a file; workerd is started with ``--import-path=/`` for these."""
    return Raw(f"embed {quote(str(path))}")


@cache
def own_module(name: str) -> str:
    """Return the JavaScript that ships beside this module."""
    return resources.files("clodo.emulator.runtime").joinpath(name).read_text(encoding="utf-8")


def clamp_date(asked: str, newest: date) -> tuple[str, str | None]:
    """
    Return the compatibility date to use, and a warning if it isn't the one *asked* for.

    Raises:
        ScriptInvalid: *asked* is no date.
    """
    if not asked:
        return OLDEST_DATE, None
    try:
        wanted = date.fromisoformat(asked)
    except ValueError as error:
        raise ScriptInvalid(f"Invalid compatibility date: {asked}") from error
    if wanted <= newest:
        return asked, None
    return newest.isoformat(), (
        f"The compatibility date {asked} is newer than this workerd knows; running with {newest.isoformat()}"
    )


def module_kind(module: Module) -> str | None:
    """
    Return the field of workerd's ``Module`` that *module* goes into; None for what isn't part of the running script.

    Raises:
        ScriptInvalid: Of a kind that can't be run here.
    """
    content_type = module.content_type.split(";")[0].strip().lower()
    match content_type:
        case "application/javascript+module" | "text/javascript+module":
            return "esModule"
        case "application/javascript" | "text/javascript" | "application/x-javascript":
            return "commonJsModule"
        case "application/wasm":
            return "wasm"
        case "text/plain" | "text/html" | "text/sql" | "text/markdown":
            return "text"
        case "application/octet-stream":
            return "data"
        case "application/json":
            return "json"
        case "application/source-map":
            return None
        case "text/x-python" | "text/x-python-requirement":
            raise ScriptInvalid("Python Workers can't be run by the embedded cloud")
        case _:
            raise ScriptInvalid(f"Unknown module type {content_type} of {module.name}")


def script_fields(spec: VersionSpec) -> dict[str, object]:
    """
    Return the source of *spec* as fields of workerd's ``Worker``.

    Raises:
        ScriptInvalid: The main module is missing, or a module can't be run here.
    """
    if spec.body_part is not None:
        for module in spec.modules:
            if module.name == spec.body_part:
                return {"serviceWorkerScript": embed(module.path)}
        raise ScriptInvalid(f"No such module: {spec.body_part}")
    modules = [
        {"name": module.name, kind: embed(module.path)}
        for module in sorted(spec.modules, key=lambda module: module.name != spec.main_module)
        if (kind := module_kind(module)) is not None
    ]
    if not modules or modules[0]["name"] != spec.main_module:
        raise ScriptInvalid(f"No such module: {spec.main_module}")
    return {"modules": modules}


def _designator(service: str, entrypoint: str) -> dict[str, object]:
    name, _, props = entrypoint.partition(" ")
    return {"name": service, "entrypoint": name or None, "props": {"json": props} if props else None}


def version_metadata(spec: VersionSpec) -> str:
    """Return the JSON of a version metadata binding."""
    return json.dumps({"id": spec.version_id, "tag": spec.tag or "", "timestamp": spec.created_on})


class _Services:
    """Collects the services of one process, so that bindings can name external ones as they come."""

    def __init__(self, backends: Backends) -> None:
        self.backends = backends
        self.services: list[dict[str, object]] = []
        self._names: dict[str, str] = {}

    def backend(self, version: int, spec: VersionSpec, **target: object) -> str:
        """Return the name of a service that reaches the Python back end *target* in the name of *spec*."""
        address = self.backends.streams if target["kind"] in _STREAMED else self.backends.calls
        return self._external_service(version, spec, address, {}, target)

    def callee(self, version: int, spec: VersionSpec, callee: Callee) -> str:
        """Return the name of a service that reaches another script's live version, by HTTP or RPC."""
        target = {"kind": "service", "callee": [callee.account_id, callee.script, callee.entrypoint]}
        address = self.backends.callees[callee]
        return self._external_service(version, spec, address, {"capnpConnectHost": RPC_HOST}, target)

    def ids(self, script: str, class_name: str) -> dict[str, object] | None:
        """Return a namespace that makes the ids of another script's objects; None if it has no such class."""
        key = self.backends.objects.get((script, class_name))
        if key is None:
            return None
        name = f"ids-{short_hash(key)}"
        if name not in self._names:
            self._names[name] = name
            source = 'import {{ DurableObject }} from "cloudflare:workers"; export class {} extends DurableObject {{}}'
            worker = {
                "modules": [{"name": "ids.js", "esModule": source.format(class_name)}],
                "compatibilityDate": SHELL_DATE,
                "durableObjectNamespaces": [{"className": class_name, "uniqueKey": key}],
                "durableObjectStorage": {"inMemory": Raw("void")},
            }
            self.services.append({"name": name, "worker": worker})
        return {"className": class_name, "serviceName": name}

    def _external_service(
        self,
        version: int,
        spec: VersionSpec,
        address: str,
        options: Mapping[str, object],
        target: Mapping[str, object],
    ) -> str:
        caller = json.dumps(
            {"account": spec.account_id, "script": spec.script, "version": spec.version_id, "index": version, **target}
        )
        if caller not in self._names:
            self._names[caller] = f"external-{len(self._names)}"
            headers = [
                {"name": SECRET_HEADER, "value": self.backends.secret},
                {"name": CALLER_HEADER, "value": caller},
            ]
            http = {
                "injectRequestHeaders": headers,
                "forwardedProtoHeader": PROTOCOL_HEADER,
                "cfBlobHeader": CF_HEADER,
                **options,
            }
            self.services.append({"name": self._names[caller], "external": {"address": address, "http": http}})
        return self._names[caller]


def callees_of(specs: Iterable[VersionSpec]) -> set[Callee]:
    """Return the targets of the bindings of *specs* to other Workers and their objects."""
    services = {
        _callee_of(binding, spec) for spec in specs for binding in spec.bindings if binding.get("type") == "service"
    }
    return services | {Callee(account_id, script, OBJECTS_ENTRYPOINT) for account_id, script, _ in objects_of(specs)}


def objects_of(specs: Iterable[VersionSpec]) -> set[tuple[str, str, str]]:
    """Return account, script and class of the Durable Objects of other Workers that *specs* are bound to."""
    return {
        (spec.account_id, str(binding["script_name"]), str(binding["class_name"]))
        for spec in specs
        for binding in spec.bindings
        if binding.get("type") == "durable_object_namespace"
        and binding.get("script_name") not in (None, "", spec.script)
    }


def entrypoint_name(name: object, props: object = None) -> str:
    """
    Return a binding's entrypoint with the default one written as an empty string.

    Args:
        props: What callers through this binding find in `ctx.props`; written behind the name, which has no space.
    """
    known = "" if name in (None, "default") else str(name)
    return f"{known} {json.dumps(props, sort_keys=True)}" if props else known


def exported_name(entrypoint: str) -> str:
    """Return an entrypoint's name as the script exports it, empty for the default one."""
    return entrypoint.partition(" ")[0]


def _callee_of(binding: Mapping[str, Any], spec: VersionSpec) -> Callee:
    entrypoint = entrypoint_name(binding.get("entrypoint"), binding.get("props"))
    return Callee(spec.account_id, str(binding["service"]), entrypoint)


def _binding(
    binding: Mapping[str, Any],
    spec: VersionSpec,
    index: int,
    services: _Services,
    stores: list[dict[str, object]],
    *,
    objects_in: str | None,
) -> dict[str, object] | None:
    """Return one of *spec*'s bindings as workerd's ``Binding``; None if it isn't part of `env`."""
    name, kind = str(binding["name"]), str(binding["type"])
    parts = {module.name: module for module in spec.modules}
    match kind:
        case "plain_text" | "secret_text":
            return {"name": name, "text": str(binding.get("text", ""))}
        case "json":
            value = binding.get("json")
            return {"name": name, "json": value if isinstance(value, str) else json.dumps(value)}
        case "text_blob" | "data_blob" | "wasm_module":
            field = {"text_blob": "text", "data_blob": "data", "wasm_module": "wasmModule"}[kind]
            part = parts.get(str(binding.get("part", name)))
            if part is None:
                raise ScriptInvalid(f"No such part for the binding {name}")
            return {"name": name, field: embed(part.path)}
        case "version_metadata":
            return {"name": name, "json": version_metadata(spec)}
        case "secret_key":
            return {"name": name, "cryptoKey": _crypto_key(binding)}
        case "kv_namespace":
            return {"name": name, "kvNamespace": services.backend(index, spec, kind="kv", id=binding["namespace_id"])}
        case "d1":
            database = binding.get("database_id") or binding.get("id")
            store = services.backend(index, spec, kind="d1", id=database)
            fetcher: dict[str, object] = {"name": store}
            if "d1_binding_jsrpc" in spec.compatibility_flags:
                stores.append({"name": store, "service": store})
                fetcher = {"name": "shell", "entrypoint": "D1", "props": {"json": json.dumps({"store": store})}}
            inner = [{"name": "fetcher", "service": fetcher}]
            return {"name": name, "wrapped": {"moduleName": "cloudflare-internal:d1-api", "innerBindings": inner}}
        case "queue":
            return {"name": name, "queue": services.backend(index, spec, kind="queue", id=binding["queue_name"])}
        case "analytics_engine":
            dataset = binding.get("dataset", name)
            return {"name": name, "analyticsEngine": services.backend(index, spec, kind="events", id=dataset)}
        case "r2_bucket":
            # A bucket's name is unique in its jurisdiction only.
            where = f"{binding.get('jurisdiction') or 'default'}/{binding['bucket_name']}"
            bucket = services.backend(index, spec, kind="r2", id=where)
            return {"name": name, "r2Bucket": bucket}
        case "service":
            return {"name": name, "service": services.callee(index, spec, _callee_of(binding, spec))}
        case "assets":
            if spec.assets is None:
                raise ScriptInvalid(f"The binding {name} needs assets, and this version has none")
            return {"name": name, "service": {"name": f"assets-{index}", "entrypoint": "AssetWorker"}}
        case "durable_object_namespace" if objects_in and binding.get("script_name") in (None, "", spec.script):
            return {
                "name": name,
                "durableObjectNamespace": {"className": binding["class_name"], "serviceName": objects_in},
            }
        case "durable_object_namespace" if ids := services.ids(
            str(binding.get("script_name")), str(binding["class_name"])
        ):
            owner = Callee(spec.account_id, str(binding["script_name"]), OBJECTS_ENTRYPOINT)
            inner = [
                {"name": "ids", "durableObjectNamespace": ids},
                {"name": "remote", "service": services.callee(index, spec, owner)},
                {"name": "className", "text": binding["class_name"]},
            ]
            return {"name": name, "wrapped": {"moduleName": "clodo:objects", "innerBindings": inner}}
        case "ratelimit":
            simple = binding.get("simple") or {}
            inner = [
                {"name": "limit", "json": json.dumps(simple.get("limit", 0))},
                {"name": "period", "json": json.dumps(simple.get("period", 60))},
            ]
            return {"name": name, "wrapped": {"moduleName": "clodo:ratelimit", "innerBindings": inner}}
        case "inherit":
            raise ScriptInvalid(f"The binding {name} inherits from a version that has none of that name")
        case _:
            inner = [{"name": "name", "text": name}, {"name": "type", "text": kind}]
            return {"name": name, "wrapped": {"moduleName": "clodo:absent", "innerBindings": inner}}


def _crypto_key(binding: Mapping[str, Any]) -> dict[str, object]:
    algorithm = binding.get("algorithm") or {}
    key: dict[str, object]
    if binding.get("format") == "jwk":
        key = {"jwk": json.dumps(binding.get("key_jwk"))}
    elif binding.get("format") == "raw":
        key = {"base64": str(binding.get("key_base64", ""))}
    else:
        label = "PRIVATE KEY" if binding.get("format") == "pkcs8" else "PUBLIC KEY"
        try:
            encoded = base64.b64encode(base64.b64decode(str(binding.get("key_base64", "")))).decode()
        except binascii.Error as error:
            raise ScriptInvalid(f"The key of the binding {binding['name']} is not base64") from error
        pem = "\n".join([f"-----BEGIN {label}-----", encoded, f"-----END {label}-----"])
        key = {str(binding.get("format")): pem}
    named = {"name": algorithm} if isinstance(algorithm, str) else {"json": json.dumps(algorithm)}
    usages = [Raw(_camel(str(usage))) for usage in binding.get("usages", [])]
    return {**key, "algorithm": named, "extractable": False, "usages": usages}


def _camel(usage: str) -> str:
    return usage[:1].lower() + usage[1:]


def user_service(index: int) -> str:
    """Return the name of the service that is the user's script."""
    return f"{USER_SERVICE}-{index}"


def _extensions() -> list[dict[str, object]]:
    modules = [
        {"name": f"clodo:{name}", "internal": True, "esModule": own_module(f"{name}.js")}
        for name in ("absent", "objects", "ratelimit")
    ]
    modules.append({"name": "cloudflare-internal:email", "internal": True, "esModule": own_module("email.js")})
    return [{"modules": modules}]


def _objects(spec: VersionSpec) -> list[dict[str, object]]:
    return [
        {"className": item.class_name, "uniqueKey": item.unique_key, "enableSql": item.sqlite}
        for item in spec.durable_objects
    ]


def _document(services: Sequence[object], sockets: Sequence[object]) -> Configuration:
    config = {"services": services, "sockets": sockets, "extensions": _extensions()}
    text = f'using Workerd = import "/workerd/workerd.capnp";\nconst config :Workerd.Config = {render(config)};\n'
    return Configuration(text, len(sockets))


def serving(
    specs: Sequence[VersionSpec],
    *,
    backends: Backends,
    sockets: Path,
    entrypoints: Sequence[Sequence[str]],
    assets: Mapping[int, Path],
    objects: Path | None,
    newest: date,
    tailing: bool,
) -> Configuration:
    """
    Return the configuration of a process that serves *specs*.

    Args:
        specs: Versions of one script; the first is the one whose classes implement its Durable Objects.

        sockets: Folder for the sockets, named by `Entrypoint.socket`, and ``control.sock``.

        entrypoints: Named entrypoints of each version.

        assets: Folder of composed assets by index of the version.

        objects: Folder where Durable Objects keep their data; None if the script has none.

        newest: Latest compatibility date that this workerd takes.

        tailing: Whether somebody wants tail events from the start.

    Raises:
        ScriptInvalid: Something in a version can't be run.
    """
    services = _Services(backends)
    stores: list[dict[str, object]] = []
    listening: list[dict[str, object]] = []
    http = {"cfBlobHeader": CF_HEADER, "forwardedProtoHeader": PROTOCOL_HEADER, "capnpConnectHost": RPC_HOST}
    objects_in = user_service(0) if objects is not None else None

    for index, spec in enumerate(specs):
        day, _ = clamp_date(spec.compatibility_date, newest)
        front = user_service(index)
        if spec.main_module is not None or spec.body_part is not None:
            bindings = [
                made
                for binding in spec.bindings
                if (made := _binding(binding, spec, index, services, stores, objects_in=objects_in)) is not None
            ]
            tail = {
                "name": "shell",
                "entrypoint": "Tail",
                "props": {"json": json.dumps({"version": spec.version_id})},
            }
            worker: dict[str, object] = {
                **script_fields(spec),
                "compatibilityDate": day,
                "compatibilityFlags": list(spec.compatibility_flags),
                "bindings": bindings,
                "globalOutbound": services.backend(index, spec, kind="outbound"),
                "cacheApiOutbound": services.backend(index, spec, kind="cache"),
                "tails": [tail],
            }
            if objects is not None and index == 0:
                worker["durableObjectNamespaces"] = _objects(spec)
                worker["durableObjectStorage"] = {"localDisk": "objects"}
            services.services.append({"name": front, "worker": worker})
            listening += [
                {
                    "name": entry.socket,
                    "address": f"unix:{sockets / entry.socket}",
                    "service": _designator(front, name),
                    "http": http,
                }
                for name in entrypoints[index]
                if (entry := Entrypoint(index, name))
            ]
        if spec.assets is not None:
            user = front if spec.main_module is not None or spec.body_part is not None else None
            front = f"assets-{index}"
            service: dict[str, object] = {"path": str(assets[index]), "config": assets_config(spec), "userWorker": user}
            if user is None:
                service |= {"compatibilityDate": day, "compatibilityFlags": list(spec.compatibility_flags)}
            services.services.append({"name": front, "assets": service})
        default = Entrypoint(index, "").socket
        listening.append({"name": default, "address": f"unix:{sockets / default}", "service": front, "http": http})
        if objects is not None:
            own = Entrypoint(index, OBJECTS_ENTRYPOINT).socket
            service = {"name": "shell", "entrypoint": "Objects"}
            listening.append({"name": own, "address": f"unix:{sockets / own}", "service": service, "http": http})

    cloud = services.backend(0, specs[0], kind="tail")
    shell = {
        "modules": [{"name": "shell.js", "esModule": own_module("shell.js")}],
        "compatibilityDate": min(SHELL_DATE, newest.isoformat()),
        "compatibilityFlags": ["service_binding_extra_handlers"],
        "bindings": [
            {"name": "CLOUD", "service": cloud},
            {"name": "TAILING", "json": json.dumps(tailing)},
            *(
                {"name": str(index), "service": user_service(index)}
                for index, spec in enumerate(specs)
                if spec.main_module is not None or spec.body_part is not None
            ),
            *{str(store["name"]): store for store in stores}.values(),
            *(
                {
                    "name": f"objects-{item.class_name}",
                    "durableObjectNamespace": {"className": item.class_name, "serviceName": objects_in},
                }
                for item in (specs[0].durable_objects if objects is not None else ())
            ),
        ],
        "globalOutbound": cloud,
    }
    services.services.append({"name": "shell", "worker": shell})
    if objects is not None:
        services.services.append({"name": "objects", "disk": {"path": str(objects), "writable": True}})
    listening.append({"name": "control", "address": f"unix:{sockets / 'control.sock'}", "service": "shell", "http": {}})
    return _document(services.services, listening)


def probing(spec: VersionSpec, *, backends: Backends, sockets: Path, newest: date) -> Configuration:
    """
    Return the configuration of a process that starts *spec* once and tells at ``v0.sock`` what it exports.

    Raises:
        ScriptInvalid: Something in the version can't be run.
    """
    services = _Services(backends)
    stores: list[dict[str, object]] = []
    day, _ = clamp_date(spec.compatibility_date, newest)
    fields = script_fields(spec)
    if spec.body_part is None:
        main = json.dumps("./" + str(spec.main_module).removeprefix("./"))
        probe = own_module("probe.js").replace("MAIN;", f"{main};")
        modules = fields["modules"]
        assert isinstance(modules, list)
        fields = {"modules": [{"name": PROBE_MODULE, "esModule": probe}, *modules]}
    bindings = [
        made
        for binding in spec.bindings
        if binding["type"] != "assets"
        and (
            made := _binding(
                binding, spec, 0, services, stores, objects_in=user_service(0) if spec.durable_objects else None
            )
        )
        is not None
    ]
    worker: dict[str, object] = {
        **fields,
        "compatibilityDate": day,
        "compatibilityFlags": list(spec.compatibility_flags),
        "bindings": bindings,
        "globalOutbound": services.backend(0, spec, kind="outbound"),
        "cacheApiOutbound": services.backend(0, spec, kind="cache"),
    }
    if spec.durable_objects:
        worker["durableObjectNamespaces"] = _objects(spec)
        worker["durableObjectStorage"] = {"inMemory": Raw("void")}
    services.services.append({"name": user_service(0), "worker": worker})
    if stores:
        shell = {
            "modules": [{"name": "shell.js", "esModule": own_module("shell.js")}],
            "compatibilityDate": min(SHELL_DATE, newest.isoformat()),
            "bindings": list({str(store["name"]): store for store in stores}.values()),
        }
        services.services.append({"name": "shell", "worker": shell})
    socket = {
        "name": "v0.sock",
        "address": f"unix:{sockets / 'v0.sock'}",
        "service": user_service(0),
        "http": {},
    }
    return _document(services.services, [socket])


def empty(*, sockets: Path, newest: date) -> Configuration:
    """Return the configuration of a process that serves a script of nothing, to see how long that takes."""
    worker = {
        "modules": [{"name": "empty.js", "esModule": "export default {};"}],
        "compatibilityDate": min(SHELL_DATE, newest.isoformat()),
    }
    socket = {"name": "v0.sock", "address": f"unix:{sockets / 'v0.sock'}", "service": "empty", "http": {}}
    return _document([{"name": "empty", "worker": worker}], [socket])


def assets_config(spec: VersionSpec) -> str:
    """Return the JSON that workerd's assets service takes for *spec*'s assets."""
    assert spec.assets is not None
    config = spec.assets.config
    fields = {
        "html_handling": config.get("html_handling"),
        "not_found_handling": config.get("not_found_handling"),
        "base_path": config.get("base_path"),
        "run_worker_first": config.get("run_worker_first"),
        "headers": config.get("_headers"),
        "redirects": config.get("_redirects"),
        # What the upload lists is what is served: wrangler has applied .assetsignore already.
        "ignore": "",
    }
    return json.dumps({key: value for key, value in fields.items() if value is not None})
