// What a Worker may do with a bucket, one case a path.
const shown = (o) => o && { key: o.key, size: o.size, etag: o.etag, http: o.httpMetadata, custom: o.customMetadata,
  range: o.range, storageClass: o.storageClass, md5: o.checksums.toJSON().md5, sha256: o.checksums.toJSON().sha256,
  hasBody: "body" in o };
const failed = async (work) => { try { await work(); return null; } catch (e) { return e.message; } };
const text = async (o) => o && ("body" in o ? await o.text() : "no body");

const CASES = {
  async objects({ R2 }) {
    const put = await R2.put("a/\u00fc b", "0123456789", {
      httpMetadata: { contentType: "text/plain", cacheControl: "no-store", cacheExpiry: new Date(1e12) },
      customMetadata: { colour: "gr\u00fcn" }, sha256: await crypto.subtle.digest("SHA-256",
      new TextEncoder().encode("0123456789")), storageClass: "InfrequentAccess" });
    const got = await R2.get("a/\u00fc b");
    const headers = new Headers(); got.writeHttpMetadata(headers);
    return { put: shown(put), got: shown(got), text: await got.text(), head: shown(await R2.head("a/\u00fc b")),
      headers: Object.fromEntries(headers), missing: [await R2.head("no"), await R2.get("no")],
      wrong: await failed(() => R2.put("x", "y", { md5: "00".repeat(16) })), x: await R2.head("x") };
  },
  async ranges({ R2 }) {
    await R2.put("k", "0123456789");
    const get = async (range) => text(await R2.get("k", { range }));
    return { middle: await get({ offset: 2, length: 3 }), from: await get({ offset: 7 }), suffix: await get({ suffix: 2 }),
      header: await get(new Headers({ range: "bytes=1-4" })), beyond: await failed(() => get({ offset: 11 })),
      range: shown(await R2.get("k", { range: { offset: 8, length: 10 } })).range };
  },
  async conditions({ R2 }) {
    const first = await R2.put("k", "one");
    const etag = first.etag;
    const get = async (onlyIf) => text(await R2.get("k", { onlyIf }));
    const put = async (onlyIf) => (await R2.put("k", "two", { onlyIf })) !== null;
    return { same: await get({ etagMatches: etag }), other: await get({ etagMatches: "other" }),
      differs: await get({ etagDoesNotMatch: etag }), before: await get({ uploadedBefore: new Date(0) }),
      after: await get({ uploadedAfter: new Date(0) }), headers: await get(new Headers({ "if-none-match": `"${etag}"` })),
      stale: await put({ etagMatches: "other" }), create: await put(new Headers({ "if-none-match": "*" })),
      still: await get(), fresh: await put({ etagMatches: etag }), now: await get() };
  },
  async lists({ R2 }) {
    for (const key of ["a/1", "a/2", "b/1", "b/2", "b/3", "c", "d"]) {
      await R2.put(key, key, { customMetadata: { of: key }, httpMetadata: { contentType: "x/y" } });
    }
    const pages = []; let cursor;
    do {
      const page = await R2.list({ limit: 2, cursor });
      pages.push(page.objects.map((o) => o.key)); cursor = page.truncated ? page.cursor : undefined;
    } while (cursor);
    const folders = []; cursor = undefined;
    do {
      const page = await R2.list({ limit: 1, delimiter: "/", cursor });
      folders.push([...page.delimitedPrefixes, ...page.objects.map((o) => o.key)]);
      cursor = page.truncated ? page.cursor : undefined;
    } while (cursor);
    const included = await R2.list({ prefix: "c", include: ["customMetadata", "httpMetadata"] });
    await R2.delete(["a/1", "a/2", "b/1"]); await R2.delete("c"); await R2.delete("never");
    return { pages, folders, included: included.objects.map(shown), after: (await R2.list({ startAfter: "b/2" })).objects
      .map((o) => o.key), left: (await R2.list()).objects.map((o) => o.key),
      bad: await failed(() => R2.list({ cursor: "nonsense" })) };
  },
  async uploads({ R2 }) {
    const upload = await R2.createMultipartUpload("big", { customMetadata: { a: "b" } });
    const part = new Uint8Array(5 * 1024 * 1024).fill(1);
    const resumed = R2.resumeMultipartUpload("big", upload.uploadId);
    const parts = [await resumed.uploadPart(2, "end"), await upload.uploadPart(1, part)];
    const wrong = await failed(() => upload.complete([{ partNumber: 1, etag: "wrong" }]));
    const made = await upload.complete(parts);
    const small = await R2.createMultipartUpload("small");
    const tiny = [await small.uploadPart(1, "a"), await small.uploadPart(2, "b")];
    const tooSmall = await failed(() => small.complete(tiny));
    await small.abort();
    return { made: shown(made), head: shown(await R2.head("big")), wrong, tooSmall,
      gone: await failed(() => small.uploadPart(1, "a")), again: await failed(() => upload.complete(parts)),
      end: await text(await R2.get("big", { range: { suffix: 5 } })) };
  },
  async limits({ R2 }) {
    return { key: await failed(() => R2.put("k".repeat(1025), "x")),
      metadata: await failed(() => R2.put("k", "x", { customMetadata: { a: "b".repeat(8193) } })),
      left: (await R2.list()).objects.length };
  },
};

export default {
  async fetch(request, env) {
    const name = new URL(request.url).pathname.slice(1);
    if (name === "stream") {
      if (request.method === "PUT") return Response.json(shown(await env.R2.put("streamed", request.body)));
      return new Response((await env.R2.get("streamed")).body);
    }
    return Response.json(await CASES[name](env));
  },
};
