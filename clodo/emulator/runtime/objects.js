// The binding to another Worker's Durable Objects, which live in that Worker's process. Ids are made here, by a namespace
// of the same key that holds no objects; requests and calls go there, to `Objects` in shell.js.
export default function ({ ids, remote, className }) {
  const described = (id) => ({ className, name: id.name, id: id.toString() });

  const member = (target, path) =>
    new Proxy(function () {}, {
      apply: (_, __, args) => remote.call(target, path, args),
      get: (_, property) => {
        if (property === "then") return (resolve, reject) => remote.read(target, path).then(resolve, reject);
        return typeof property === "symbol" ? undefined : member(target, [...path, property]);
      },
    });

  const stub = (id) => {
    const target = described(id);
    const own = {
      id,
      name: id.name,
      fetch(input, init) {
        const request = new Request(input, init);
        const headers = new Headers(request.headers);
        headers.set("x-clodo-object", encodeURIComponent(JSON.stringify(target)));
        return remote.fetch(new Request(request, { headers }));
      },
    };
    return new Proxy(own, {
      get: (_, property) => {
        if (typeof property === "symbol" || property === "then") return undefined;
        return property in own ? own[property] : member(target, [property]);
      },
    });
  };

  const namespace = {
    idFromName: (name) => ids.idFromName(name),
    idFromString: (text) => ids.idFromString(text),
    newUniqueId: (options) => ids.newUniqueId(options),
    get: (id) => stub(id),
    getByName: (name) => stub(ids.idFromName(name)),
    // Jurisdictions are all on this machine.
    jurisdiction: () => namespace,
  };
  return namespace;
}
