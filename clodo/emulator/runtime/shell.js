// Runs beside the user's Worker in the same workerd: passes on tail events, starts scheduled and queue events, and
// speaks D1's RPC mode for the Python back end, which only knows the HTTP one.
import { WorkerEntrypoint } from "cloudflare:workers";

let tailing = null;

export class Tail extends WorkerEntrypoint {
  async tail(events) {
    if (!(tailing ?? this.env.TAILING)) return;
    const body = JSON.stringify({ version: this.ctx.props.version, events });
    const answer = await this.env.CLOUD.fetch("http://cloud/tail", { method: "POST", body });
    await answer.body?.cancel();
  }
}

export class D1 extends WorkerEntrypoint {
  get #store() {
    return this.env[this.ctx.props.store];
  }

  fetch(request) {
    return this.#store.fetch(request);
  }

  async query({ queries, bookmark }) {
    const headers = { "content-type": "application/json" };
    if (bookmark) headers["x-cf-d1-session-commit-token"] = bookmark;
    const body = JSON.stringify(queries.map(({ sql, params }) => ({ sql, params: (params ?? []).map(plain) })));
    const url = "http://d1/query?resultsFormat=ROWS_AND_COLUMNS";
    const answer = await this.#store.fetch(url, { method: "POST", headers, body });
    const results = await answer.json();
    const failed = (Array.isArray(results) ? results : [results]).find((result) => !result.success);
    if (failed) throw new Error(failed.error);
    return {
      results: results.map(({ results: { columns, rows }, meta }) => ({ meta, data: { kind: "raw", columns, rows } })),
      bookmark: answer.headers.get("x-cf-d1-session-commit-token") ?? undefined,
    };
  }
}

// Serves the objects of this process to bindings of other Workers (objects.js).
export class Objects extends WorkerEntrypoint {
  #stub({ className, name, id }) {
    const namespace = this.env[`objects-${className}`];
    if (!namespace) throw new Error(`This Worker has no Durable Object class ${className} any more`);
    return namespace.get(name === undefined ? namespace.idFromString(id) : namespace.idFromName(name));
  }

  fetch(request) {
    const target = JSON.parse(decodeURIComponent(request.headers.get("x-clodo-object")));
    const headers = new Headers(request.headers);
    headers.delete("x-clodo-object");
    return this.#stub(target).fetch(new Request(request, { headers }));
  }

  call(target, path, args) {
    const last = path.at(-1);
    return path.slice(0, -1).reduce((object, name) => object[name], this.#stub(target))[last](...args);
  }

  read(target, path) {
    return path.reduce((object, name) => object[name], this.#stub(target));
  }
}

const plain = (value) =>
  value instanceof ArrayBuffer ? [...new Uint8Array(value)] : ArrayBuffer.isView(value) ? [...new Uint8Array(value.buffer, value.byteOffset, value.byteLength)] : value;

const decode = ({ body, contentType }) => {
  const bytes = Uint8Array.from(atob(body), (character) => character.charCodeAt(0));
  if (contentType === "v8") return { serializedBody: bytes };
  if (contentType === "bytes") return { body: bytes };
  const text = new TextDecoder().decode(bytes);
  return { body: contentType === "text" ? text : JSON.parse(text) };
};

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    const order = await request.json();
    switch (pathname) {
      case "/tailing":
        tailing = order.tailing;
        return Response.json({});
      case "/scheduled":
        return Response.json(
          await env[order.version].scheduled({ scheduledTime: new Date(order.scheduledTime), cron: order.cron }),
        );
      case "/tail":
        try {
          await env[order.version].tail(order.events);
          return Response.json({ outcome: "ok" });
        } catch (error) {
          return Response.json({ outcome: "exception", reason: String(error) });
        }
      case "/queue": {
        const messages = order.messages.map((message) => ({
          id: message.id,
          timestamp: new Date(message.timestamp),
          attempts: message.attempts,
          ...decode(message),
        }));
        return Response.json(await env[order.version].queue(order.queue, messages, order.metadata));
      }
    }
    return new Response("no such order", { status: 404 });
  },
};
