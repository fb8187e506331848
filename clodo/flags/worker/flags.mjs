/**
 * Feature flags as Clodo delivers them, decided in the Worker. Copy it with `clodo flag module > src/flags.mjs`.
 *
 *   import { flagsFrom } from "./flags.mjs";
 *   const flags = await flagsFrom(env);
 *   if (flags.get("new-checkout", userId)) { … }
 *
 * The same hash as in Python (clodo/flags/hashing.py); a test compares them on thousands of ids.
 */

const BUCKETS = 10_000;
const encoder = new TextEncoder();

/** 32 bits that depend on every byte of a text: FNV-1a, then MurmurHash3's finaliser. */
export function stableHash(text) {
  let value = 0x811c9dc5;
  for (const byte of encoder.encode(text)) value = Math.imul(value ^ byte, 0x01000193);
  value ^= value >>> 16;
  value = Math.imul(value, 0x85ebca6b);
  value ^= value >>> 13;
  value = Math.imul(value, 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}

/** The bucket, 0 to 9,999, that a subject falls into for a flag. */
export function bucketOf(flag, subject) {
  return Math.floor((stableHash(`${flag}\0${subject}`) * BUCKETS) / 0x100000000);
}

/** What a subject gets of a flag; without a subject, a percent rollout gives the default. */
export function evaluate(document, name, subject, fallback) {
  const flag = Object.hasOwn(document, name) ? document[name] : undefined;
  if (flag === undefined) return fallback;
  if (!Object.hasOwn(flag, "percent")) return flag.value;
  const known = subject !== undefined && subject !== null;
  return known && bucketOf(name, String(subject)) < Math.round((flag.percent * BUCKETS) / 100)
    ? flag.value
    : flag.default;
}

/**
 * The flags of this Worker: from the variable, or, when `binding` is a KV namespace, from its document there. KV answers
 * from its cache for a minute, so that a change takes that long; a document that is missing or broken counts as empty,
 * and every flag then has the fallback that the code names.
 */
export async function flagsFrom(env, binding = "FLAGS") {
  const source = env[binding];
  let document = source;
  if (source && typeof source.get === "function") {
    try {
      document = await source.get(env[`${binding}_KEY`], { type: "json", cacheTtl: 60 });
    } catch {
      document = undefined;
    }
  }
  const known = document && typeof document === "object" ? document : {};
  return { document: known, get: (name, subject, fallback) => evaluate(known, name, subject, fallback) };
}
