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
  const refuse = () => {
    throw new Error(`The embedded cloud does not serve the binding ${name} (${type})`);
  };
  const method = PROMISING.includes(type) ? async () => refuse() : refuse;
  // Hyperdrive has values, such as `connectionString`; all others only have methods.
  const member = type === "hyperdrive" ? refuse : () => method;
  return new Proxy(refuse, {
    get: (_, property) => (typeof property === "symbol" || property === "then" ? undefined : member()),
    apply: refuse,
    construct: refuse,
  });
}
