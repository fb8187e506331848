// What `env` holds for a binding that the embedded cloud doesn't serve: there, and clear when it is used.
export default function ({ name, type }) {
  const refuse = () => {
    throw new Error(`The embedded cloud does not serve the binding ${name} (${type})`);
  };
  return new Proxy(refuse, {
    get: (_, property) => (typeof property === "symbol" || property === "then" ? undefined : refuse),
    apply: refuse,
    construct: refuse,
  });
}
