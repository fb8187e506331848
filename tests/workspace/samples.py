"""Services of several kinds, each with what makes wrangler look for files by path."""

from __future__ import annotations

from typing import Any

_BASE: dict[str, Any] = {"compatibility_date": "2026-01-01", "routes": ["shop.example/*"]}

TYPESCRIPT: dict[str, Any] = {
    "wrangler.jsonc": {
        **_BASE,
        "name": "api",
        "main": "src/index.tsx",
        "compatibility_flags": ["nodejs_compat"],
        "tsconfig": "config/tsconfig.worker.json",
        "alias": {"replaced": "./src/replacement.ts", "bare-alias": "greeter"},
        "rules": [{"type": "Text", "globs": ["**/*.query"], "fallthrough": True}],
        "assets": {"directory": "public", "binding": "ASSETS"},
        "define": {"BUILD_NAME": '"x"'},
        "triggers": {"crons": ["0 * * * *"]},
        "build": {"command": "echo built"},
        "d1_databases": [{"binding": "DB", "database_name": "shop"}],
        "kv_namespaces": [{"binding": "CACHE"}],
        "env": {"staging": {}},
    },
    "config/tsconfig.worker.json": {
        "compilerOptions": {"jsx": "react", "jsxFactory": "h", "baseUrl": "..", "paths": {"@/*": ["src/*"]}}
    },
    "package.json": {"name": "api", "dependencies": {"greeter": "1.0.0"}},
    "node_modules/greeter/package.json": {"name": "greeter", "version": "1.0.0", "exports": {".": "./lib/main.js"}},
    "node_modules/greeter/lib/main.js": "export const greet = (name) => `hello ${name}`;\n",
    "src/index.tsx": """
import { greet } from "greeter";
import { greet as again } from "bare-alias";
import page from "./page.html";
import query from "./rows.query";
import { local } from "@/local";
import { replaced } from "replaced";
import { Buffer } from "node:buffer";
declare const BUILD_NAME: string;
const h = (tag: string) => `<${tag}>`;
const parts = [greet("a"), again("b"), page, query, local, replaced, BUILD_NAME, Buffer.from("x").toString("hex")];
export default { fetch: () => new Response([...parts, <b />].join()) };
""",
    "src/page.html": "<p>page</p>",
    "src/rows.query": "SELECT 1",
    "src/local.ts": "export const local: number = 1;",
    "src/replacement.ts": "export const replaced = 2;",
    "public/index.html": "<h1>hi</h1>",
}

PLAIN: dict[str, Any] = {
    "wrangler.toml": 'name = "plain"\nmain = "worker.js"\ncompatibility_date = "2026-01-01"\n',
    "worker.js": 'import text from "./note.txt";\nexport default { fetch: () => new Response(text) };\n',
    "note.txt": "note",
}

MODULES: dict[str, Any] = {
    "wrangler.json": {
        **_BASE,
        "name": "modules",
        "main": "src/index.mjs",
        "base_dir": "src",
        "find_additional_modules": True,
        "rules": [{"type": "ESModule", "globs": ["parts/*.mjs"]}, {"type": "Data", "globs": ["**/*.bin"]}],
    },
    "src/index.mjs": """
const parts = ["one", "two"];
export default { async fetch() { return new Response((await import(`./parts/${parts[0]}.mjs`)).default); } };
""",
    "src/parts/one.mjs": 'export default "one";\n',
    "src/parts/two.mjs": 'export default "two";\n',
    "src/deep/data.bin": "\u0001",
}

ASSETS_ONLY: dict[str, Any] = {
    "wrangler.json": {**_BASE, "name": "web", "assets": {"directory": "./dist/client"}},
    "dist/client/index.html": "<h1>web</h1>",
    "dist/client/_headers": "/*\n  X-Test: 1\n",
}

ENVIRONMENT: dict[str, Any] = {
    "wrangler.toml": """
name = "shop"
main = "src/index.ts"
compatibility_date = "2026-01-01"

[vars]
LEVEL = "info"

[env.production]
main = "src/production.ts"
minify = true
vars = { LEVEL = "warn" }

[[env.production.durable_objects.bindings]]
name = "ROOM"
class_name = "Room"

[[migrations]]
tag = "v1"
new_sqlite_classes = ["Room"]
""",
    "src/index.ts": "export default { fetch: () => new Response('index') };\n",
    "src/production.ts": """
import { shared } from "../../shared/code";
export class Room { fetch() { return new Response(shared); } }
export default { fetch: () => new Response(shared as string) };
""",
    "../shared/code.ts": "export const shared: string = 'from outside the folder';\n",
}

SAMPLES = {
    "typescript": TYPESCRIPT,
    "plain": PLAIN,
    "modules": MODULES,
    "assets-only": ASSETS_ONLY,
    "environment": ENVIRONMENT,
}
