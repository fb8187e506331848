// What `env` holds for a binding that the embedded cloud doesn't serve: there, and clear when it is used.
export default function ({ name, type }) {
  const refuse = () => {
    throw new Error(`The embedded cloud does not serve the binding ${name} (${type})`);
  };
  // Hyperdrive has values, such as `connectionString`; all others only have methods.
  const member = type === "hyperdrive" ? refuse : () => refuse;
  return new Proxy(refuse, {
    get: (_, property) => (typeof property === "symbol" || property === "then" ? undefined : member()),
    apply: refuse,
    construct: refuse,
  });
}
