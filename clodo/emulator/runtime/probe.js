// Main module of the process that only finds out what a script exports. MAIN stands for the script's main module.
import * as script from MAIN;
import { DurableObject, WorkerEntrypoint, WorkflowEntrypoint } from "cloudflare:workers";
export * from MAIN;

const names = (object, end) => {
  const found = new Set();
  for (; object && object !== end && object !== Object.prototype; object = Object.getPrototypeOf(object)) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(object))) {
      if (name !== "constructor" && typeof value === "function") found.add(name);
    }
  }
  return [...found];
};

const describe = (value) => {
  if (typeof value === "function") {
    for (const [kind, base] of Object.entries({ DurableObject, WorkerEntrypoint, WorkflowEntrypoint })) {
      if (value.prototype instanceof base) return { kind, handlers: names(value.prototype, base.prototype) };
    }
    // Durable Objects of before `extends DurableObject`
    return value.prototype ? { kind: "Class", handlers: names(value.prototype) } : { kind: "function", handlers: [] };
  }
  if (typeof value === "object" && value !== null) return { kind: "object", handlers: names(value) };
  return { kind: typeof value, handlers: [] };
};

export default {
  fetch() {
    return Response.json(Object.fromEntries(Object.entries(script).map(([name, value]) => [name, describe(value)])));
  },
};
