// What `env` holds for a binding that the embedded cloud doesn't serve: there, and clear when it is used.

// Whatever these are asked is answered by a promise.
const PROMISING = [
  "browser",
  "mtls_certificate",
  "pipelines",
  "secrets_store_secret",
  "send_email",
  "vectorize",
  "workflow",
];

export default function ({ name, type }) {
  function refuse() {
    throw new Error(`The embedded cloud does not serve the binding ${name} (${type})`);
  }
  // Members may have members: `env.STREAM.videos.list()`. Hyperdrive has values instead, such as `connectionString`.
  const member = PROMISING.includes(type) ? async () => refuse() : refuse;
  const refusing = (call) =>
    new Proxy(refuse, {
      get(_, property) {
        if (typeof property === "symbol" || property === "then") return undefined;
        return type === "hyperdrive" ? refuse() : refusing(member);
      },
      apply: call,
      construct: refuse,
    });
  return refusing(refuse);
}
